// What threads are called: by their title, or else by the first words of their first message.

import { signal } from "@preact/signals";
import { ApiError, call, query } from "./api";
import { textOf, type Message, type Page, type Thread } from "./wire";

// By whole characters: half an emoji is none.
const TITLE = /^.{0,70}/u;
// Rows that stay in view so long are worth a request each, a few at a time.
const REST_MS = 150;
const AT_ONCE = 3;

// The first words of threads without a title, by the thread's id; empty where there are none. `learnt` tells of each change.
const firstWords = new Map<string, string>();
const learnt = signal(0);

let timer = 0;
let stop = new AbortController();

export function titleOf(thread: Thread): string {
  const { title } = thread.metadata;
  if (title) return title;
  void learnt.value;
  return firstWords.get(thread.id) || `Untitled ${thread.id.slice(-6)}`;
}

/** A title made of the first words of a text. */
export function titleFrom(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  const start = TITLE.exec(line)![0];
  return start === line ? line : `${start.replace(/\s+\S*$/, "")}…`;
}

/** Takes in the first message of a thread. */
export function learn(threadId: string, first: Message | undefined): void {
  const words = first ? titleFrom(textOf(first)) : "";
  if (firstWords.get(threadId) === words) return;
  firstWords.set(threadId, words);
  learnt.value++;
}

/** Asks for the first words of those that are in view now, once they have stayed there. What was asked before ends. */
export function learnOf(inView: () => readonly Thread[]): void {
  clearTimeout(timer);
  stop.abort();
  timer = window.setTimeout(() => {
    const nameless = inView().filter(({ id, metadata }) => !metadata["title"] && !firstWords.has(id));
    if (!nameless.length) return;
    stop = new AbortController();
    for (let line = 0; line < AT_ONCE; line++) void askInTurn(nameless, stop.signal);
  }, REST_MS);
}

async function askInTurn(nameless: Thread[], signal: AbortSignal): Promise<void> {
  const asked = query({ limit: 1, order: "asc" });
  for (let thread = nameless.shift(); thread && !signal.aborted; thread = nameless.shift()) {
    try {
      const page = await call<Page<Message>>("GET", `/threads/${thread.id}/messages${asked}`, { signal });
      learn(thread.id, page.data[0]);
    } catch (error) {
      // One that has gone meanwhile has no name; with all else, or too many requests, the others would fare no better.
      if (!(error instanceof ApiError && error.status === 404)) return;
    }
  }
}
