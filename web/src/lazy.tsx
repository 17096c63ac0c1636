// Parts of the page that are loaded when they are first shown, so that the first paint needs little.

import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { notify } from "./notices";

const SHOWN_MS = 60_000;

export function lazily<Props extends object>(load: () => Promise<ComponentType<Props>>): ComponentType<Props> {
  const part = signal<{ Part: ComponentType<Props> } | null>(null);
  return function Lazy(props: Props) {
    useEffect(() => {
      if (part.value) return;
      load().then(
        (Part) => {
          part.value = { Part };
        },
        () => {
          // The server is away, or has another version of the page by now.
          notify("This part of the page could not be loaded.", {
            isError: true,
            ms: SHOWN_MS,
            action: { label: "Reload the page", run: () => location.reload() },
          });
        },
      );
    }, []);
    return part.value && <part.value.Part {...props} />;
  };
}
