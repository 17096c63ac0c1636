// The form that adds a webhook, and then shows its secret, this once.

import { useState } from "preact/hooks";
import { call, wordsOf } from "./api";
import { CopyButton } from "./copy";
import { FormEnd } from "./formend";
import { useModal } from "./modal";
import type { Webhook } from "./wire";

// What can be told (`EventType` of the server), and how a run is then.
export const EVENTS: [string, string][] = [
  ["thread.run.completed", "completed"],
  ["thread.run.incomplete", "incomplete"],
  ["thread.run.failed", "failed"],
  ["thread.run.cancelled", "cancelled"],
  ["thread.run.expired", "expired"],
  ["thread.run.requires_action", "requires action: it waits for the outputs of functions"],
];

interface Props {
  onMade: (webhook: Webhook) => void;
  onClose: () => void;
}

export function WebhookForm({ onMade, onClose }: Props) {
  const dialog = useModal();
  const [made, setMade] = useState<Webhook | null>(null);
  return (
    <dialog
      ref={dialog}
      onClose={onClose}
      // The secret is not shown again: it goes by its button.
      onCancel={(event) => made && event.preventDefault()}
      aria-labelledby="webhook-title"
    >
      {made ? (
        <Secret webhook={made} onClose={onClose} />
      ) : (
        <Form
          onClose={onClose}
          onMade={(webhook) => {
            setMade(webhook);
            const { secret: _, ...known } = webhook;
            onMade(known);
          }}
        />
      )}
    </dialog>
  );
}

function Form({ onMade, onClose }: Props) {
  const [problem, setProblem] = useState("");
  const [isSaving, setSaving] = useState(false);
  const save = async (form: FormData): Promise<void> => {
    const events = form.getAll("events");
    if (!events.length) return setProblem("Choose at least one event.");
    setSaving(true);
    try {
      const url = String(form.get("url")).trim();
      // Without a choice those are told as well that a later version adds.
      const body = events.length === EVENTS.length ? { url } : { url, events };
      onMade(await call<Webhook>("POST", "/webhooks", { body }));
    } catch (error) {
      setProblem(wordsOf(error));
      setSaving(false);
    }
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void save(new FormData(event.currentTarget));
      }}
    >
      <h2 id="webhook-title">Add a webhook</h2>
      <label>
        Address
        <input
          name="url"
          type="url"
          required
          maxLength={2048}
          placeholder="https://app.example.com/hook"
          autoComplete="off"
          autoFocus
        />
      </label>
      <fieldset>
        <legend>Tell it when a run is</legend>
        {EVENTS.map(([event, label]) => (
          <label class="check" key={event}>
            <input type="checkbox" name="events" value={event} defaultChecked /> {label}
          </label>
        ))}
      </fieldset>
      <FormEnd problem={problem} action="Add" isHeld={isSaving} onCancel={onClose} />
    </form>
  );
}

function Secret({ webhook, onClose }: { webhook: Webhook; onClose: () => void }) {
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <h2 id="webhook-title">Keep the secret</h2>
      <p>
        It signs what is sent to <code class="address">{webhook.url}</code>. Give it to the receiver, which checks the
        signature with it. It is not shown again.
      </p>
      <div class="secret">
        <code tabIndex={0} aria-label="Secret">
          {webhook.secret}
        </code>
        <CopyButton text={webhook.secret ?? ""} />
      </div>
      <footer>
        <button type="submit" class="primary" autoFocus>
          I have it
        </button>
      </footer>
    </form>
  );
}
