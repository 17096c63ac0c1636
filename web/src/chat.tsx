// The middle of the page: the open thread, and the box to write in.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { abilities } from "./abilities";
import { troubleOf } from "./advice";
import { AssistantPicker, answering, areLoaded, assistants, chooseIfThere, nameOf, openForm } from "./assistants";
import { Calls } from "./calls";
import { begin, type Conversation } from "./conversation";
import { itemsOf, type Item } from "./items";
import { MessageView } from "./message";
import { editMetadata } from "./metadata";
import { complain } from "./notices";
import { go, place } from "./place";
import { copy, remove, replace, retitle } from "./threads";
import { amount } from "./times";
import { titleOf } from "./titles";
import { isActive, type Message, type Run, type Thread } from "./wire";

const DRAFT = "threadkeep.draft.";
// Who is nearer to the end than that sees new text come in.
const NEAR_PX = 80;

export function Chat({ conversation, found }: { conversation: Conversation; found: string }) {
  const box = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const { problem, isLoading } = conversation;
  const items = itemsOf(conversation);
  const isHeld = conversation.isBusy.value || conversation.heldBy !== undefined;
  const last = items.at(-1);

  useEffect(() => {
    const run = conversation.runs.value.at(-1);
    if (run) chooseIfThere(run.assistant_id);
  }, [isLoading.value, areLoaded.value]);
  useLayoutEffect(() => {
    if (isAtEnd.current) box.current!.scrollTop = box.current!.scrollHeight;
  });
  useEffect(() => {
    if (!found || isLoading.value) return;
    isAtEnd.current = false;
    void conversation.loadBackTo(found).then(() => {
      requestAnimationFrame(() => document.getElementById(found)?.scrollIntoView({ block: "center" }));
    });
  }, [found, isLoading.value]);

  const withAssistant = (work: (assistantId: string) => Promise<void>): void => {
    const start = async (): Promise<void> => {
      const assistantId = await answering();
      if (!assistantId) return;
      isAtEnd.current = true;
      await work(assistantId);
    };
    start().catch(complain);
  };
  const loadOlder = async (): Promise<void> => {
    const { scrollHeight, scrollTop } = box.current!;
    await conversation.loadOlder();
    requestAnimationFrame(() => {
      // What was in sight stays there.
      if (box.current) box.current.scrollTop = scrollTop + box.current.scrollHeight - scrollHeight;
    });
  };
  const look = (): void => {
    const { scrollTop, scrollHeight, clientHeight } = box.current!;
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    if (scrollTop < NEAR_PX && conversation.hasOlder.value) void loadOlder();
  };

  return (
    <>
      <div class="scroll" ref={box} onScroll={look} tabIndex={0} role="region" aria-label="Messages">
        <div class="column">
          {problem.value && (
            <p class="problem" role="alert">
              {problem.value}
            </p>
          )}
          {conversation.hasOlder.value && (
            <button type="button" class="quiet older" onClick={() => void loadOlder()}>
              Older messages
            </button>
          )}
          {items.map((item) => (
            <ItemView key={item.key} item={item} conversation={conversation} isHeld={isHeld} found={found} act={withAssistant} />
          ))}
          <Waiting conversation={conversation} last={last} />
          {!isLoading.value && !isHeld && last?.kind === "message" && last.message.role === "user" && (
            <p>
              <button type="button" onClick={() => withAssistant((id) => conversation.run(id))}>
                Get an answer
              </button>
            </p>
          )}
        </div>
      </div>
      {(conversation.thread.value || isLoading.value) && (
        <Composer
          key={conversation.id}
          id={conversation.id}
          conversation={conversation}
          onSend={async (text, assistantId) => {
            isAtEnd.current = true;
            await conversation.say(text, assistantId);
          }}
        />
      )}
    </>
  );
}

interface ItemProps {
  item: Item;
  conversation: Conversation;
  isHeld: boolean;
  found: string;
  act: (work: (assistantId: string) => Promise<void>) => void;
}

function ItemView({ item, conversation, isHeld, found, act }: ItemProps) {
  if (item.kind === "calls") return <Calls conversation={conversation} run={item.run} step={item.step} />;
  if (item.kind === "end") return <RunEnd conversation={conversation} run={item.run} isHeld={isHeld} act={act} />;
  const { message, end } = item;
  const copyTo = async (): Promise<void> => {
    const thread = conversation.thread.value;
    if (thread) go((await copy(thread, message.id)).id);
  };
  return (
    <MessageView
      message={message}
      end={end}
      name={nameOfAuthor(message)}
      isHeld={isHeld}
      canCopy={abilities.value.copy}
      isFound={message.id === found}
      versions={abilities.value.edit ? () => conversation.versionsOf(message) : undefined}
      onEdit={(text) => act((id) => conversation.editAndRun(message, text, id, abilities.value.edit))}
      onRunAgain={() => act((id) => conversation.runAgain(message, id))}
      onCopy={() => void copyTo().catch(complain)}
      onMetadata={() => {
        const path = `/threads/${conversation.id}/messages/${message.id}`;
        editMetadata<Message>("Metadata of the message", path, (changed) => conversation.replace(changed));
      }}
    />
  );
}

function nameOfAuthor(message: Message): string {
  const assistant = assistants.value.find(({ id }) => id === message.assistant_id);
  return assistant ? nameOf(assistant) : "Assistant";
}

interface EndProps {
  conversation: Conversation;
  run: Run;
  isHeld: boolean;
  act: ItemProps["act"];
}

function RunEnd({ conversation, run, isHeld, act }: EndProps) {
  const trouble = troubleOf(run);
  if (isActive(run) || run.status === "requires_action") return null;
  const link = (
    <a class="quiet" href={`#/${conversation.id}/runs/${run.id}`}>
      {run.status === "cancelled" ? "Stopped" : "Run"}
      {run.usage?.total_tokens ? ` · ${amount(run.usage.total_tokens)} tokens` : ""}
    </a>
  );
  if (!trouble) return <p class="end">{link}</p>;
  return (
    <section class="trouble" aria-label={trouble.title}>
      <h3>{trouble.title}</h3>
      <p>{trouble.cause}</p>
      <p class="muted">{trouble.advice}</p>
      <p>
        {run === conversation.runs.value.at(-1) && !isHeld && (
          <button type="button" onClick={() => act((id) => conversation.run(id))}>
            Try again
          </button>
        )}
        {link}
      </p>
    </section>
  );
}

/** What stands where the answer will be. */
function Waiting({ conversation, last }: { conversation: Conversation; last: Item | undefined }) {
  const run = conversation.heldBy;
  const isLost = conversation.connection.value === "lost";
  if (isLost) {
    return (
      <p class="waiting" role="status">
        Connection lost. Trying again…
      </p>
    );
  }
  const isWriting = last?.kind === "message" && last.message.status === "in_progress";
  if (!run || !isActive(run) || isWriting) return null;
  return (
    <p class="waiting" aria-hidden="true">
      <i /> <i /> <i />
    </p>
  );
}

/** The thread that does not exist yet. */
export function NewChat() {
  const hasNone = areLoaded.value && !assistants.value.length;
  return (
    <>
      <div class="scroll welcome">
        <div class="column">
          <h1>What shall we talk about?</h1>
          {hasNone ? (
            <p class="muted">
              An assistant answers: a model with instructions and functions of yours.{" "}
              <button type="button" class="link" onClick={() => openForm("new")}>
                Make your first one.
              </button>
            </p>
          ) : (
            <p class="muted">Everything you say here is kept in your own database.</p>
          )}
        </div>
      </div>
      <Composer
        key="new"
        id="new"
        onSend={async (text) => {
          pendingRun = (await begin(text)).id;
          go(pendingRun);
        }}
      />
    </>
  );
}

// The thread that was made to be answered at once.
let pendingRun = "";

/** Has a thread answered that was begun a moment ago. */
export async function answerIfPending(conversation: Conversation): Promise<void> {
  if (pendingRun !== conversation.id) return;
  pendingRun = "";
  const assistantId = await answering();
  if (assistantId) await conversation.run(assistantId);
}

interface ComposerProps {
  id: string;
  conversation?: Conversation;
  onSend: (text: string, assistantId: string) => Promise<void>;
}

function Composer({ id, conversation, onSend }: ComposerProps) {
  const [text, setText] = useState(() => sessionStorage.getItem(DRAFT + id) ?? "");
  const [isSending, setSending] = useState(false);
  const area = useRef<HTMLTextAreaElement>(null);
  const run = conversation?.heldBy;
  const isHeld = run !== undefined || isSending || (conversation?.isLoading.value ?? false);

  // Not later: by then somebody may have gone elsewhere, as to the search field.
  useLayoutEffect(() => {
    if (matchMedia("(min-width: 50rem)").matches) area.current?.focus();
  }, []);
  useLayoutEffect(() => {
    // Where the browser does not do it: as high as the text.
    if (CSS.supports("field-sizing", "content") || !area.current) return;
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight}px`;
  }, [text]);
  const write = (value: string): void => {
    setText(value);
    if (value) sessionStorage.setItem(DRAFT + id, value);
    else sessionStorage.removeItem(DRAFT + id);
  };
  const send = async (): Promise<void> => {
    const said = text.trim();
    if (!said || isHeld) return;
    setSending(true);
    try {
      const assistantId = await answering();
      if (assistantId) {
        write("");
        await onSend(said, assistantId);
      }
    } catch (error) {
      const isKept = conversation?.messages.value.at(-1)?.role === "user";
      if (!isKept) write(said);
      complain(error);
    }
    setSending(false);
  };

  return (
    <form
      class="composer column"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <textarea
        ref={area}
        aria-label="Message"
        placeholder={run?.status === "requires_action" ? "The assistant waits for the outputs above" : "Message"}
        rows={1}
        value={text}
        onInput={(event) => write(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            void send();
          }
        }}
      />
      <div class="bar">
        <AssistantPicker />
        {run && conversation ? (
          <button type="button" class="primary" onClick={() => void conversation.cancel()} title="Stop (Esc)">
            Stop
          </button>
        ) : (
          <button type="submit" class="primary" disabled={isHeld || !text.trim()}>
            Send
          </button>
        )}
      </div>
    </form>
  );
}

export function ChatHeader({ conversation }: { conversation: Conversation }) {
  const thread = conversation.thread.value;
  const [isEdited, setEdited] = useState(false);
  const isLeftByKey = useRef(false);
  const { showsRuns } = place.value;
  const title = thread ? titleOf(thread) : "";
  useEffect(() => {
    document.title = thread ? `${title} · Threadkeep` : "Threadkeep";
  }, [title]);
  const save = (changed: string): void => {
    setEdited(false);
    if (!thread || !changed.trim() || changed === title) return;
    retitle(thread, changed.trim()).then((retitled) => {
      conversation.thread.value = retitled;
    }, complain);
  };
  return (
    <header class="top wraps">
      <a class="back" href="#/" aria-label="All threads">
        ←
      </a>
      {thread && isEdited ? (
        <input
          aria-label="Title"
          maxLength={512}
          defaultValue={title}
          ref={(element) => element?.focus()}
          onBlur={(event) => save(event.currentTarget.value)}
          onKeyDown={(event) => {
            isLeftByKey.current = event.key === "Enter" || event.key === "Escape";
            // Or the key would press what has the focus next.
            if (isLeftByKey.current) event.preventDefault();
            if (event.key === "Enter") event.currentTarget.blur();
            if (event.key === "Escape") {
              // It loses the focus on its way out, and that must not save.
              event.currentTarget.value = title;
              setEdited(false);
            }
          }}
        />
      ) : (
        <h1>
          <button
            type="button"
            class="title"
            title="Change the title"
            disabled={!thread}
            ref={(element) => {
              if (isLeftByKey.current) element?.focus();
              isLeftByKey.current = false;
            }}
            onClick={() => setEdited(true)}
          >
            {title || "\u00a0"}
          </button>
        </h1>
      )}
      {thread && (
        <nav aria-label="Thread">
          {abilities.value.copy && (
            <button type="button" class="quiet" onClick={() => void copy(thread).then(({ id }) => go(id), complain)}>
              Copy
            </button>
          )}
          <button
            type="button"
            class="quiet"
            onClick={() =>
              editMetadata<Thread>("Metadata of the thread", `/threads/${thread.id}`, (changed) => {
                conversation.thread.value = changed;
                replace(changed);
              })
            }
          >
            Metadata
          </button>
          <button type="button" class="quiet" onClick={() => remove(thread)}>
            Delete
          </button>
          <button
            type="button"
            id="runs"
            class="quiet"
            aria-pressed={showsRuns}
            onClick={() => go(conversation.id, !showsRuns)}
          >
            Runs
          </button>
        </nav>
      )}
    </header>
  );
}
