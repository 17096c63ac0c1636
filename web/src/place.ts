// Which thread and run are shown, or which webhook. It stands in the address, behind `#`, so that it survives a reload.

import { computed, signal } from "@preact/signals";

export interface Place {
  // Empty: none; on a narrow screen the list is shown then. `new`: one that does not exist yet.
  thread: string;
  // Whether the runs are shown, and which of them.
  showsRuns: boolean;
  run: string;
  // Whether webhooks have the place of a thread, and which of them shows its deliveries.
  showsWebhooks: boolean;
  webhook: string;
}

const WEBHOOKS = "webhooks";
const hash = signal(location.hash);

addEventListener("hashchange", () => {
  hash.value = location.hash;
});

export const place = computed<Place>(() => {
  const [, first = "", second = "", third = ""] = decoded(hash.value.slice(1)).split("/");
  if (first === WEBHOOKS) return { thread: "", showsRuns: false, run: "", showsWebhooks: true, webhook: second };
  return { thread: first, showsRuns: second === "runs", run: third, showsWebhooks: false, webhook: "" };
});

// What somebody has typed may be no encoding of anything.
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function go(thread: string, runs = false, run = ""): void {
  goTo(`/${thread}${runs ? "/runs" : ""}${run ? `/${run}` : ""}`);
}

export const goToWebhooks = (webhook = ""): void => goTo(`/${WEBHOOKS}${webhook ? `/${webhook}` : ""}`);

function goTo(path: string): void {
  location.hash = path;
  hash.value = location.hash;
}
