// What every dialog does: it opens when it appears, and gives the focus back when it goes.

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

export function useModal(): RefObject<HTMLDialogElement | null> {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const { current } = dialog;
    const opener = document.activeElement;
    current!.showModal();
    return () => {
      current!.close();
      // What opened it may be gone with what it was for, as the button for a first assistant is.
      requestAnimationFrame(() => {
        if (!opener?.isConnected) document.querySelector<HTMLElement>(".composer textarea")?.focus();
      });
    };
  }, []);
  return dialog;
}
