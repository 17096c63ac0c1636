// What every dialog does: it opens when it appears, and gives the focus back when it goes.

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

export function useModal(): RefObject<HTMLDialogElement | null> {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const { current } = dialog;
    current!.showModal();
    return () => current!.close();
  }, []);
  return dialog;
}
