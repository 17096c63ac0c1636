// Which thread and run are shown. It stands in the address, behind `#`, so that it survives a reload.

import { computed, signal } from "@preact/signals";

export interface Place {
  // Empty: none; on a narrow screen the list is shown then. `new`: one that does not exist yet.
  thread: string;
  // Whether the runs are shown, and which of them.
  showsRuns: boolean;
  run: string;
}

const hash = signal(location.hash);

addEventListener("hashchange", () => {
  hash.value = location.hash;
});

export const place = computed<Place>(() => {
  const [, thread = "", runs = "", run = ""] = decodeURIComponent(hash.value.slice(1)).split("/");
  return { thread, showsRuns: runs === "runs", run };
});

export function go(thread: string, runs = false, run = ""): void {
  location.hash = `/${thread}${runs ? "/runs" : ""}${run ? `/${run}` : ""}`;
  hash.value = location.hash;
}
