// Short notices at the foot of the page, and what screen readers are told.

import { signal } from "@preact/signals";
import { wordsOf } from "./api";

const SHOWN_MS = 6000;

interface Notice {
  id: number;
  text: string;
  isError: boolean;
  action: { label: string; run: () => void } | undefined;
  // Takes it away; `dismiss` as if its time were over.
  close: () => void;
  dismiss: () => void;
  // Who points at it or has the focus in it is given time.
  wait: (isHeld: boolean) => void;
}

const notices = signal<Notice[]>([]);
const announced = signal("");
let count = 0;

/** Shows a notice for a while; `gone` is called when its time is over, unless its action was taken. */
export function notify(
  text: string,
  options: { isError?: boolean; action?: { label: string; run: () => void }; ms?: number; gone?: () => void } = {},
): void {
  const id = ++count;
  let timer = 0;
  const close = (): void => {
    clearTimeout(timer);
    notices.value = notices.value.filter((notice) => notice.id !== id);
  };
  const dismiss = (): void => {
    close();
    options.gone?.();
  };
  const wait = (isHeld: boolean): void => {
    clearTimeout(timer);
    if (!isHeld) timer = window.setTimeout(dismiss, options.ms ?? SHOWN_MS);
  };
  wait(false);
  const { isError = false, action } = options;
  notices.value = [...notices.value, { id, text, isError, action, close, dismiss, wait }];
}

export function complain(error: unknown): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  notify(wordsOf(error), { isError: true });
}

/** Says something to screen readers, and to nobody else. */
export function announce(text: string): void {
  // The same words twice must be a change, or they are not said again.
  announced.value = announced.value === text ? `${text}\u00a0` : text;
}

export function Notices() {
  return (
    <>
      <div class="notices" role="region" aria-label="Notices">
        {notices.value.map((notice) => (
          <div
            key={notice.id}
            class={notice.isError ? "notice error" : "notice"}
            role={notice.isError ? "alert" : "status"}
            onMouseEnter={() => notice.wait(true)}
            onMouseLeave={() => notice.wait(false)}
            onFocusIn={() => notice.wait(true)}
            onFocusOut={() => notice.wait(false)}
          >
            <span>{notice.text}</span>
            {notice.action && (
              <button
                type="button"
                class="link"
                onClick={() => {
                  notice.close();
                  notice.action?.run();
                }}
              >
                {notice.action.label}
              </button>
            )}
            <button type="button" class="icon" aria-label="Close" onClick={notice.dismiss}>
              ×
            </button>
          </div>
        ))}
      </div>
      <div class="unseen" role="status" aria-live="polite">
        {announced.value}
      </div>
    </>
  );
}
