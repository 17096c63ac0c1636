// Deletions that can be taken back for a while.

import { ApiError, ask } from "./api";
import { complain, notify } from "./notices";

const UNDO_MS = 7000;
const LEFT = "threadkeep.left";

// What is deleted but for the chance to take that back, by its path in the API, with what carries it out.
const leaving = new Map<string, () => void>();
// What was sent off to be deleted when the page was left; it may not have arrived.
const left = new Set<string>(JSON.parse(sessionStorage.getItem(LEFT) ?? "[]") as string[]);

/** Whether it is deleted for those who look at the page. */
export const isGone = (path: string): boolean => leaving.has(path) || left.has(path);

/** Deletes what is at a path when that can no longer be taken back. `undone` is called after `putBack` when it is. */
export function deleteLater(path: string, name: string, putBack: () => void, undone: () => void): void {
  const carryOut = (): void => {
    leaving.delete(path);
    ask("DELETE", path, { keepalive: true }).catch((error: unknown) => {
      if (error instanceof ApiError && error.status === 404) return;
      putBack();
      complain(error);
    });
  };
  leaving.set(path, carryOut);
  notify(`Deleted “${name}”`, {
    ms: UNDO_MS,
    gone: carryOut,
    action: {
      label: "Undo",
      run: () => {
        leaving.delete(path);
        putBack();
        undone();
      },
    },
  });
}

/** Sends deletions once more that were sent off when the page was left. */
export function finishDeletions(): void {
  for (const path of left) {
    ask("DELETE", path).catch((error: unknown) => {
      if (!(error instanceof ApiError && error.status === 404)) left.delete(path);
    });
  }
}

// Who leaves the page can no longer take anything back.
addEventListener("pagehide", () => {
  if (leaving.size) sessionStorage.setItem(LEFT, JSON.stringify([...leaving.keys()]));
  else sessionStorage.removeItem(LEFT);
  for (const carryOut of [...leaving.values()]) carryOut();
});
