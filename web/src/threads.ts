// The list of threads: pages as they are needed, a search, and deletions that can be taken back.

import { batch, signal } from "@preact/signals";
import { abilities } from "./abilities";
import { ApiError, call, query } from "./api";
import { go, place } from "./place";
import { titleOf } from "./titles";
import { deleteLater, isGone as isGonePath } from "./undo";
import type { Metadata, Page, SearchResult, Thread } from "./wire";

// A screen full at first, so that it is there soon.
const FIRST_PAGE = 30;
const PAGE = 100;
const SEARCH_PAGE = 50;

export interface Row {
  thread: Thread;
  // Of a search by text: where it was found.
  snippet?: string;
  messageId?: string;
}

export interface Wanted {
  metadata: Metadata;
  text: string;
}

// Changed in place, because there may be very many; `version` tells of each change.
const rows: Row[] = [];
export const version = signal(0);
export const hasMore = signal(false);
export const isLoading = signal(false);
export const problem = signal("");
export const searched = signal("");

let stopLoading = new AbortController();
let cursor: string | null = null;
const isGone = (thread: Thread): boolean => isGonePath(`/threads/${thread.id}`);

export const rowAt = (index: number): Row => rows[index]!;
export const between = (first: number, end: number): Thread[] => rows.slice(first, end).map(({ thread }) => thread);
export const rowCount = (): number => (void version.value, rows.length);
export const indexOf = (threadId: string): number => rows.findIndex((row) => row.thread.id === threadId);

/** What a search asks for: `user=ada` and `user:"ada l"` are metadata, the rest is text. */
export function parse(search: string): Wanted {
  const metadata: Metadata = {};
  const text = search.replace(/(?<=^|\s)([^\s:="]+)[:=](?!\/\/)(?:"([^"]*)"|(\S+))/g, (_, name: string, quoted, plain) => {
    metadata[name] = quoted ?? plain;
    return "";
  });
  return { metadata, text: text.trim().replace(/\s+/g, " ") };
}

/** Begins the list anew, for what is searched. */
export async function load(): Promise<void> {
  stopLoading.abort();
  stopLoading = new AbortController();
  cursor = null;
  batch(() => {
    isLoading.value = false;
    hasMore.value = true;
    problem.value = "";
  });
  await loadMore(true);
}

export async function loadMore(anew = false): Promise<void> {
  if (isLoading.value || !hasMore.value) return;
  isLoading.value = true;
  const stop = stopLoading.signal;
  try {
    const page = await nextPage(parse(searched.value), stop);
    if (stop.aborted) return;
    if (anew) rows.length = 0;
    rows.push(...page.data.filter((row) => !isGone(row.thread)));
    hasMore.value = page.has_more;
    cursor = page.last_id;
  } catch (error) {
    if (stop.aborted) return;
    if (anew) rows.length = 0;
    hasMore.value = false;
    problem.value = error instanceof Error ? error.message : String(error);
  }
  batch(() => {
    isLoading.value = false;
    version.value++;
  });
}

async function nextPage(wanted: Wanted, signal: AbortSignal): Promise<Page<Row>> {
  if (wanted.text) return searchPage(wanted, signal);
  const filters = Object.fromEntries(Object.entries(wanted.metadata).map(([name, value]) => [`metadata[${name}]`, value]));
  const asked = query({ limit: cursor ? PAGE : FIRST_PAGE, after: cursor, ...filters });
  const page = await call<Page<Thread>>("GET", `/threads${asked}`, { signal });
  return { ...page, data: page.data.map((thread) => ({ thread })) };
}

async function searchPage(wanted: Wanted, signal: AbortSignal): Promise<Page<Row>> {
  if (!abilities.value.search) throw new Error("This server finds threads by metadata only. Write name=value.");
  // The last word may still be being written.
  const q = wanted.text.replace(/[\p{L}\p{N}]{2,}$/u, "$&*");
  const asked = query({ q, limit: SEARCH_PAGE, after: cursor });
  try {
    const page = await call<Page<SearchResult>>("GET", `/threads/search${asked}`, { signal });
    const found = page.data.filter(({ thread }) =>
      Object.entries(wanted.metadata).every(([name, value]) => thread.metadata[name] === value),
    );
    const data = found.map(({ thread, message, snippet }) => ({ thread, snippet, messageId: message.id }));
    return { ...page, data };
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) abilities.value = { ...abilities.value, search: false };
    throw error;
  }
}

/** Adds what others have made since. */
export async function loadNewer(): Promise<void> {
  if (searched.value || !rows.length || isLoading.value) return;
  const stop = stopLoading.signal;
  try {
    const asked = query({ limit: PAGE, before: rows[0]!.thread.id });
    const page = await call<Page<Thread>>("GET", `/threads${asked}`, { signal: stop });
    if (stop.aborted) return;
    if (page.has_more) await load();
    else page.data.reverse().forEach(add);
  } catch {
    // It was a look in passing; whoever acts on the list is told what is wrong.
  }
}

/** A thread that is new, at the top. */
export function add(thread: Thread): void {
  if (searched.value || isGone(thread) || indexOf(thread.id) >= 0) return;
  rows.unshift({ thread });
  version.value++;
}

export function replace(thread: Thread): void {
  const index = indexOf(thread.id);
  if (index < 0) return;
  rows[index] = { ...rows[index]!, thread };
  version.value++;
}

export async function retitle(thread: Thread, title: string): Promise<Thread> {
  const changed = await call<Thread>("POST", `/threads/${thread.id}`, { body: { metadata: { title } } });
  replace(changed);
  return changed;
}

/** Copies a thread, whole or up to a message. */
export async function copy(thread: Thread, upTo?: string): Promise<Thread> {
  const metadata = { ...thread.metadata, title: `${titleOf(thread).slice(0, 500)} (copy)` };
  try {
    const body = { metadata, ...(upTo ? { up_to: upTo } : {}) };
    const made = await call<Thread>("POST", `/threads/${thread.id}/copy`, { body });
    add(made);
    return made;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) abilities.value = { ...abilities.value, copy: false };
    throw error;
  }
}

/** Takes a thread out of the list; it is deleted when it can no longer be taken back. */
export function remove(thread: Thread): void {
  if (isGone(thread)) return;
  const index = indexOf(thread.id);
  const row = index < 0 ? { thread } : rows.splice(index, 1)[0]!;
  // A search may have found it more than once.
  for (let other = indexOf(thread.id); other >= 0; other = indexOf(thread.id)) rows.splice(other, 1);
  deleteLater(
    `/threads/${thread.id}`,
    titleOf(thread),
    () => putBack(row, index),
    () => go(thread.id),
  );
  version.value++;
  if (place.value.thread === thread.id) go("");
}

function putBack(row: Row, index: number): void {
  if (indexOf(row.thread.id) >= 0) return;
  rows.splice(index < 0 ? 0 : Math.min(index, rows.length), 0, row);
  version.value++;
}
