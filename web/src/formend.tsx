// How a form in a dialog is saved, and how it ends: what is wrong with it, and its buttons.

import type { SubmitEventHandler } from "preact";
import { useState } from "preact/hooks";
import { wordsOf } from "./api";

interface Saving {
  problem: string;
  setProblem: (problem: string) => void;
  isSaving: boolean;
  onSubmit: SubmitEventHandler<HTMLFormElement>;
}

/** Saves a form when it is submitted; what `save` throws is its problem. */
export function useSaving(save: (form: FormData) => Promise<void>): Saving {
  const [problem, setProblem] = useState("");
  const [isSaving, setSaving] = useState(false);
  const onSubmit: Saving["onSubmit"] = (event) => {
    event.preventDefault();
    setSaving(true);
    void save(new FormData(event.currentTarget))
      .catch((error: unknown) => setProblem(wordsOf(error)))
      .finally(() => setSaving(false));
  };
  return { problem, setProblem, isSaving, onSubmit };
}

interface Props {
  problem: string;
  // What its main button is called.
  action: string;
  isHeld: boolean;
  onCancel: () => void;
}

export function FormEnd({ problem, action, isHeld, onCancel }: Props) {
  return (
    <>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <footer>
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={isHeld}>
          {action}
        </button>
      </footer>
    </>
  );
}
