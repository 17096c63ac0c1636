// The left side: searching threads, and the list of them.

import { useEffect, useRef } from "preact/hooks";
import { signal } from "@preact/signals";
import { abilities } from "./abilities";
import { keyAsked } from "./api";
import { go, place } from "./place";
import { Settings } from "./settings";
import * as threads from "./threads";
import { fullTime, shortTime } from "./times";
import { learnOf, titleOf } from "./titles";
import { VirtualList, bringIntoSight } from "./virtual";

const ROW_PX = 58;
const SEARCH_AFTER_MS = 180;

// The row that the keys are at.
const current = signal(-1);

export function Sidebar() {
  return (
    <aside class="sidebar" aria-label="Threads">
      <header class="top">
        <strong>Threadkeep</strong>
        <span class="grow" />
        <Settings />
        <a class="button" href="#/new" title="New thread (Ctrl+Shift+O)">
          New
        </a>
      </header>
      <Search />
      <List />
    </aside>
  );
}

function Search() {
  const timer = useRef(0);
  const field = useRef<HTMLInputElement>(null);
  const search = (): void => {
    threads.searched.value = field.current!.value.trim();
    current.value = -1;
    void threads.load();
  };
  const words = abilities.value.search ? "Search, or name=value" : "Find by name=value";
  return (
    <form
      role="search"
      class="search"
      onSubmit={(event) => {
        event.preventDefault();
        clearTimeout(timer.current);
        search();
      }}
    >
      <input
        id="search"
        ref={field}
        type="search"
        aria-label="Search threads"
        placeholder={words}
        title="Metadata: user=ada, or name:&quot;two words&quot;. Ctrl+K"
        autoComplete="off"
        onInput={() => {
          clearTimeout(timer.current);
          timer.current = window.setTimeout(search, SEARCH_AFTER_MS);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") document.getElementById("threads")?.focus();
        }}
      />
    </form>
  );
}

function List() {
  const box = useRef<HTMLDivElement>(null);
  const count = threads.rowCount();
  const open = place.value.thread;
  const learnTitles = (): void => {
    learnOf(() => {
      if (!box.current) return [];
      const { scrollTop, clientHeight } = box.current;
      return threads.between(Math.floor(scrollTop / ROW_PX), Math.ceil((scrollTop + clientHeight) / ROW_PX));
    });
  };
  useEffect(learnTitles, [threads.version.value]);
  const moveTo = (index: number): void => {
    current.value = Math.max(0, Math.min(index, count - 1));
    bringIntoSight(box.current!, current.value, ROW_PX);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const page = Math.max(1, Math.floor(box.current!.clientHeight / ROW_PX) - 1);
    const moves: Record<string, number> = {
      ArrowDown: current.value + 1,
      ArrowUp: current.value - 1,
      PageDown: current.value + page,
      PageUp: current.value - page,
      Home: 0,
      End: count - 1,
    };
    const row = current.value >= 0 && current.value < count ? threads.rowAt(current.value) : null;
    if (event.key in moves && count) moveTo(moves[event.key]!);
    else if (event.key === "Enter" && row) openRow(row);
    else if (event.key === "Delete" && row) threads.remove(row.thread);
    else return;
    event.preventDefault();
  };

  return (
    <>
      {threads.problem.value && keyAsked.value === null && (
        <p class="pad muted" role="status">
          {threads.problem.value}
        </p>
      )}
      {!count && !threads.isLoading.value && !threads.problem.value && (
        <p class="pad muted" role="status">
          {threads.searched.value ? "Nothing found." : "No threads yet."}
        </p>
      )}
      <VirtualList
        id="threads"
        class="list"
        role="listbox"
        aria-label="Threads"
        aria-activedescendant={current.value >= 0 ? `row-${current.value}` : undefined}
        tabIndex={0}
        box={box}
        count={count}
        rowHeight={ROW_PX}
        onNearEnd={() => void threads.loadMore()}
        onLook={learnTitles}
        onFocus={() => {
          if (current.value < 0 && count) moveTo(Math.max(0, threads.indexOf(open)));
        }}
        onKeyDown={onKeyDown}
        row={(index) => <RowView key={index} index={index} isOpen={threads.rowAt(index).thread.id === open} />}
      />
    </>
  );
}

function openRow({ thread, messageId }: threads.Row): void {
  foundMessage.value = messageId ?? "";
  go(thread.id);
}

// The message that a search has found in the thread that is open.
export const foundMessage = signal("");

function RowView({ index, isOpen }: { index: number; isOpen: boolean }) {
  const row = threads.rowAt(index);
  const { thread, snippet } = row;
  const others = Object.entries(thread.metadata).filter(([name]) => name !== "title");
  const second = snippet ? plainSnippet(snippet) : others.map(([name, value]) => `${name}=${value}`).join("  ");
  return (
    <div
      id={`row-${index}`}
      role="option"
      aria-selected={isOpen}
      aria-posinset={index + 1}
      aria-setsize={threads.hasMore.value ? -1 : threads.rowCount()}
      class={`row${isOpen ? " open" : ""}${current.value === index ? " current" : ""}${second ? "" : " single"}`}
      onClick={() => {
        current.value = index;
        openRow(row);
      }}
    >
      <div class="line">
        <span class="name">{titleOf(thread)}</span>
        <time class="muted small" title={fullTime(thread.created_at)}>
          {shortTime(thread.created_at)}
        </time>
      </div>
      {second && <div class="second muted small">{second}</div>}
    </div>
  );
}

/** A snippet without the marks that a server may put around what it found. */
const plainSnippet = (snippet: string): string => snippet.replace(/<\/?(?:b|em|mark)>/g, "");
