// The forms that add a webhook, change it, and give it a new secret; a secret is shown this once.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { call } from "./api";
import { CopyButton } from "./copy";
import { FormEnd, useSaving } from "./formend";
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

// For how long the old secret signs beside the new one, in seconds.
const OVERLAPS: [number, string][] = [
  [86_400, "for 24 hours"],
  [3600, "for an hour"],
  [604_800, "for 7 days"],
  [0, "no longer: somebody else may know it"],
];

interface Props {
  onSaved: (webhook: Webhook) => void;
  onClose: () => void;
}

/** Adds a webhook, or changes the one that is given. */
export const WebhookForm = ({ webhook, ...props }: Props & { webhook?: Webhook }) => (
  <Dialog {...props} form={(inner) => <Form webhook={webhook} {...inner} />} />
);

export const RotateForm = ({ webhook, ...props }: Props & { webhook: Webhook }) => (
  <Dialog {...props} form={(inner) => <Rotation webhook={webhook} {...inner} />} />
);

/** A form, and then the secret that came of it, if one did. */
function Dialog({ form, onSaved, onClose }: Props & { form: (props: Props) => ComponentChildren }) {
  const dialog = useModal(onClose);
  const [made, setMade] = useState<Webhook | null>(null);
  const take = ({ secret, ...known }: Webhook): void => {
    onSaved(known);
    if (secret) setMade({ secret, ...known });
    else onClose();
  };
  return (
    <dialog
      ref={dialog}
      onClose={onClose}
      // The secret is not shown again: it goes by its button.
      onCancel={(event) => made && event.preventDefault()}
      aria-labelledby="webhook-title"
    >
      {made ? <Secret webhook={made} onClose={onClose} /> : form({ onSaved: take, onClose })}
    </dialog>
  );
}

function Form({ webhook, onSaved, onClose }: Props & { webhook: Webhook | undefined }) {
  const { problem, isSaving, onSubmit } = useSaving(async (form) => {
    const events = form.getAll("events");
    if (!events.length) throw new Error("Choose at least one event.");
    const url = String(form.get("url")).trim();
    // Without a choice those are told as well that a later version adds.
    const body: Record<string, unknown> = { events: events.length === EVENTS.length ? null : events };
    // An address that stays is not checked anew: the server may no longer take its like.
    if (url !== webhook?.url) body["url"] = url;
    onSaved(await call<Webhook>("POST", webhook ? `/webhooks/${webhook.id}` : "/webhooks", { body }));
  });
  return (
    <form onSubmit={onSubmit}>
      <h2 id="webhook-title">{webhook ? "Change the webhook" : "Add a webhook"}</h2>
      <label>
        Address
        <input
          name="url"
          type="url"
          required
          maxLength={2048}
          defaultValue={webhook?.url}
          placeholder="https://app.example.com/hook"
          autoComplete="off"
          autoFocus
        />
      </label>
      <fieldset>
        <legend>Tell it when a run is</legend>
        {EVENTS.map(([event, label]) => (
          <label class="check" key={event}>
            <input type="checkbox" name="events" value={event} defaultChecked={webhook?.events.includes(event) ?? true} />{" "}
            {label}
          </label>
        ))}
      </fieldset>
      <FormEnd problem={problem} action={webhook ? "Save" : "Add"} isHeld={isSaving} onCancel={onClose} />
    </form>
  );
}

function Rotation({ webhook, onSaved, onClose }: Props & { webhook: Webhook }) {
  const { problem, isSaving, onSubmit } = useSaving(async (form) => {
    const body = { overlap_seconds: Number(form.get("overlap")) };
    onSaved(await call<Webhook>("POST", `/webhooks/${webhook.id}/rotate_secret`, { body }));
  });
  return (
    <form onSubmit={onSubmit}>
      <h2 id="webhook-title">A new secret</h2>
      <p>
        What is sent to <code class="address">{webhook.url}</code> is signed with it from now on.
      </p>
      <label>
        The old secret signs too
        <select name="overlap" autoFocus>
          {OVERLAPS.map(([seconds, words]) => (
            <option key={seconds} value={seconds}>
              {words}
            </option>
          ))}
        </select>
      </label>
      <FormEnd problem={problem} action="Make a new secret" isHeld={isSaving} onCancel={onClose} />
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
