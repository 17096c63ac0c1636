// What every dialog does: it opens when it appears, goes with its page, and gives the focus back then.

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { place } from "./place";

/** `close` is called when another page is shown; without it, the dialog stays whatever the page. */
export function useModal(close?: () => void): RefObject<HTMLDialogElement | null> {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const { current } = dialog;
    const opener = document.activeElement;
    const page = place.peek();
    current!.showModal();
    const forget = place.subscribe((shown) => {
      if (shown !== page) close?.();
    });
    return () => {
      forget();
      current!.close();
      // What opened it may be gone with what it was for, as the button for a first assistant is.
      requestAnimationFrame(() => {
        if (!opener?.isConnected) document.querySelector<HTMLElement>(".composer textarea")?.focus();
      });
    };
  }, []);
  return dialog;
}
