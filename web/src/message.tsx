// One message, and what can be done with it.

import { Component } from "preact";
import { useEffect, useState } from "preact/hooks";
import { CopyButton } from "./copy";
import { Link, Markdown } from "./markdown";
import { complain } from "./notices";
import { fullTime } from "./times";
import { textOf, type Message, type Part } from "./wire";

const SAFE_IMAGE = /^data:image\/(png|jpeg|gif|webp);base64,/i;

interface Props {
  message: Message;
  // Why it has no end.
  end: string | null;
  name: string;
  // Nothing can be changed while a run holds the thread.
  isHeld: boolean;
  canCopy: boolean;
  isFound: boolean;
  // What it said before, where that is kept.
  versions: (() => Promise<string[]>) | undefined;
  onEdit: (text: string) => void;
  onRunAgain: () => void;
  onCopy: () => void;
  onMetadata: () => void;
}

export class MessageView extends Component<Props> {
  override shouldComponentUpdate(next: Props): boolean {
    const now = this.props;
    return (
      now.message !== next.message || now.isHeld !== next.isHeld || now.name !== next.name ||
      now.canCopy !== next.canCopy || now.isFound !== next.isFound || now.end !== next.end
    );
  }

  override render() {
    return <View {...this.props} />;
  }
}

function View({ message, end, name, isHeld, canCopy, isFound, versions, onEdit, onRunAgain, onCopy, onMetadata }: Props) {
  const [isEdited, setEdited] = useState(false);
  const isUser = message.role === "user";
  const text = textOf(message);
  const isWriting = message.status === "in_progress";
  return (
    <article
      class={`message ${message.role}${isFound ? " found" : ""}`}
      aria-label={isUser ? "You" : name}
      aria-busy={isWriting}
      id={message.id}
      tabIndex={-1}
    >
      {!isUser && <header class="muted">{name}</header>}
      {isEdited ? (
        <Editor
          text={text}
          versions={versions}
          onCancel={() => setEdited(false)}
          onSave={(changed) => {
            setEdited(false);
            onEdit(changed);
          }}
        />
      ) : (
        <div class={isWriting ? "content writing" : "content"}>
          {message.content.map((part, index) => (
            <PartView key={index} part={part} isUser={isUser} />
          ))}
          {isWriting && !text && <span class="muted">…</span>}
        </div>
      )}
      {end && <p class="muted small">{end}</p>}
      {!isEdited && !isWriting && (
        <footer class="actions">
          <time class="muted" dateTime={new Date(message.created_at * 1000).toISOString()}>
            {fullTime(message.created_at)}
          </time>
          <CopyButton text={text} label="Copy text" />
          {isUser && !isHeld && (
            <button type="button" class="quiet" onClick={() => setEdited(true)}>
              Edit
            </button>
          )}
          {!isUser && !isHeld && (
            <button type="button" class="quiet" onClick={onRunAgain}>
              Run again
            </button>
          )}
          {canCopy && (
            <button type="button" class="quiet" onClick={onCopy} title="A new thread with everything up to here">
              Copy to here
            </button>
          )}
          <button type="button" class="quiet" onClick={onMetadata}>
            Metadata
          </button>
        </footer>
      )}
    </article>
  );
}

function PartView({ part, isUser }: { part: Part; isUser: boolean }) {
  switch (part.type) {
    case "text":
      return isUser ? <p class="plain">{part.text.value}</p> : <Markdown text={part.text.value} />;
    case "refusal":
      return <p class="plain refusal">{part.refusal}</p>;
    case "image_url": {
      const url = part.image_url?.url ?? "";
      return SAFE_IMAGE.test(url) ? <img src={url} alt="Image of this message" /> : <Link href={url}>{url}</Link>;
    }
    default:
      return <span class="tag">{part.image_file?.file_id ?? part.type}</span>;
  }
}

const focusOnce = (element: HTMLElement | null): void => element?.focus();

interface EditorProps {
  text: string;
  versions: Props["versions"];
  onSave: (text: string) => void;
  onCancel: () => void;
}

function Editor({ text, versions, onSave, onCancel }: EditorProps) {
  const [changed, setChanged] = useState(text);
  const [earlier, setEarlier] = useState<string[]>([]);
  useEffect(() => {
    versions?.().then(setEarlier).catch(complain);
  }, []);
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        onSave(changed);
      }}
    >
      <textarea
        aria-label="Edit message"
        value={changed}
        ref={focusOnce}
        onInput={(event) => setChanged(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") onCancel();
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            if (changed.trim()) onSave(changed);
          }
        }}
      />
      {earlier.length > 0 && (
        <details>
          <summary class="muted small">Earlier texts</summary>
          {earlier.map((before, index) => (
            <div class="line" key={index}>
              <p class="plain">{before}</p>
              <button type="button" class="quiet" onClick={() => setChanged(before)}>
                Take this
              </button>
            </div>
          ))}
        </details>
      )}
      <p class="muted small">What comes after this message is removed, and answered anew.</p>
      <footer>
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={!changed.trim()}>
          Run again from here
        </button>
      </footer>
    </form>
  );
}
