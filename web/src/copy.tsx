// The button that puts a text into the clipboard.

import { useState } from "preact/hooks";
import { complain } from "./notices";

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [isDone, setDone] = useState(false);
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  // A page without TLS that is not on this machine has no clipboard.
  if (!navigator.clipboard) return null;
  return (
    <button type="button" class="quiet" onClick={() => void copy().catch(complain)}>
      {isDone ? "Copied" : label}
    </button>
  );
}
