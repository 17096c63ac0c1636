// The page: what is where, and what happens when it opens.

import { signal } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { learnAbilities } from "./abilities";
import { ApiError } from "./api";
import { AssistantForm, loadAssistants } from "./assistants";
import { Chat, ChatHeader, NewChat, answerIfPending } from "./chat";
import { Conversation } from "./conversation";
import { KeyQuestion } from "./key";
import { lazily } from "./lazy";
import { subject } from "./metadata";
import { Notices, complain } from "./notices";
import { go, place } from "./place";
import { applyScheme } from "./settings";
import { Sidebar, foundMessage } from "./sidebar";
import * as threads from "./threads";
import { finishDeletions } from "./undo";

const RunView = lazily(() => import("./later").then((module) => module.RunView));
const Webhooks = lazily(() => import("./later").then((module) => module.Webhooks));
const MetadataForm = lazily(() => import("./later").then((module) => module.MetadataForm));

const conversation = signal<Conversation | null>(null);

function App() {
  const { thread, showsRuns, run, showsWebhooks, webhook } = place.value;
  const open = conversation.value;
  useEffect(() => show(thread), [thread]);
  const view = !thread && !showsWebhooks ? "at-list" : showsRuns ? "at-runs" : "at-chat";
  return (
    <>
      <div class={`page ${view}`}>
        <Sidebar />
        <main>
          {showsWebhooks ? (
            <Webhooks webhookId={webhook} />
          ) : open && open.id === thread ? (
            <>
              <ChatHeader conversation={open} />
              <Chat key={open.id} conversation={open} found={foundMessage.value} />
            </>
          ) : (
            <>
              <header class="top only-narrow">
                <a class="back" href="#/" aria-label="All threads">
                  ←
                </a>
              </header>
              {(!thread || thread === "new") && <NewChat />}
            </>
          )}
        </main>
        {showsRuns && open && open.id === thread && <RunView conversation={open} runId={run} />}
      </div>
      <AssistantForm />
      {subject.value && <MetadataForm />}
      <KeyQuestion onKey={start} />
      <Notices />
    </>
  );
}

/** Opens a thread, and lets go of the one before. */
function show(thread: string): void {
  const before = conversation.value;
  if (before?.id === thread) return;
  before?.close();
  conversation.value = null;
  document.title = "Threadkeep";
  if (!thread || thread === "new") return;
  const opened = new Conversation(thread);
  conversation.value = opened;
  opened
    .open()
    .then(() => answerIfPending(opened))
    .catch(complain);
}

/** Loads what the page needs; also after a key was given. */
function start(): void {
  finishDeletions();
  void threads.load();
  loadAssistants().catch((error: unknown) => {
    // For want of a key there is a question already.
    if (!(error instanceof ApiError && error.status === 401)) complain(error);
  });
  const { thread } = place.value;
  conversation.value?.close();
  conversation.value = null;
  show(thread);
  void learnAbilities();
}

// Others may have done something while nobody looked.
function lookAgain(): void {
  if (document.hidden) return;
  void threads.loadNewer();
  void conversation.value?.refresh();
}

addEventListener("focus", lookAgain);
document.addEventListener("visibilitychange", lookAgain);

/** Goes to the search field, before any other key can come: that one must not go where the focus was. */
function toSearch(): void {
  const search = document.getElementById("search")!;
  if (search.checkVisibility()) return search.focus();
  go("");
  // Preact draws the page in a microtask, which comes before this one.
  queueMicrotask(() => search.focus());
}

addEventListener("keydown", (event) => {
  const isCommand = event.ctrlKey || event.metaKey;
  if (document.querySelector("dialog[open]")) return;
  if (isCommand && !event.shiftKey && event.key.toLowerCase() === "k") {
    toSearch();
  } else if (isCommand && event.shiftKey && event.key.toLowerCase() === "o") go("new");
  else if (event.key === "Escape" && !event.defaultPrevented && conversation.value?.heldBy) {
    if ((event.target as Element).closest(".editor, .menu, .top input, .search")) return;
    void conversation.value.cancel();
  } else return;
  event.preventDefault();
});

applyScheme();
render(<App />, document.getElementById("app")!);
start();
