// Webhooks: the addresses that are told of runs, and what became of what they were told.

import { signal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { abilities } from "./abilities";
import { call, key, query, wordsOf } from "./api";
import { Deliveries } from "./deliveries";
import { DeliveryRow, nameOf, WHY_OFF } from "./deliveryrow";
import { announce, complain } from "./notices";
import { goToWebhooks } from "./place";
import { amount, fullTime, shortTime } from "./times";
import { deleteLater, isGone } from "./undo";
import { EVENTS, RotateForm, WebhookForm } from "./webhookform";
import type { Delivery, Page, Webhook } from "./wire";

// A project has fewer.
const WEBHOOKS_MAX = 100;
const CHARACTERS_TOLD = 60;

const webhooks = signal<readonly Webhook[] | null>(null);
// What each was told last.
const latest = signal<ReadonlyMap<string, Delivery>>(new Map());
const problem = signal("");
// The dialog that is open.
const dialog = signal<"" | "add" | "change" | "rotate">("");

async function load(withLatest: boolean): Promise<void> {
  try {
    const { data } = await call<Page<Webhook>>("GET", `/webhooks${query({ limit: WEBHOOKS_MAX })}`);
    webhooks.value = data.filter(({ id }) => !isGone(pathOf(id)));
    problem.value = "";
    if (!withLatest) return;
    const told = await Promise.all(
      data.map(({ id }) => call<Page<Delivery>>("GET", `${pathOf(id)}/deliveries${query({ limit: 1 })}`)),
    );
    latest.value = new Map(told.flatMap((page, index) => page.data.map((delivery) => [data[index]!.id, delivery])));
  } catch (error) {
    problem.value = wordsOf(error);
  }
}

const pathOf = (webhookId: string): string => `/webhooks/${webhookId}`;

const cut = (url: string): string => (url.length > CHARACTERS_TOLD ? `${url.slice(0, CHARACTERS_TOLD)}…` : url);

/** Shows a webhook as it is now; a new one comes first. */
function put(changed: Webhook): void {
  const known = webhooks.value ?? [];
  const isKnown = known.some(({ id }) => id === changed.id);
  webhooks.value = isKnown ? known.map((other) => (other.id === changed.id ? changed : other)) : [changed, ...known];
}

function closeDialog(): void {
  dialog.value = "";
}

const isOff = (webhook: Webhook | undefined): boolean => webhook?.enabled === false;

async function turn(webhook: Webhook): Promise<void> {
  const enabled = isOff(webhook);
  put(await call<Webhook>("POST", pathOf(webhook.id), { body: { enabled } }));
  announce(enabled ? "The webhook is on." : "The webhook is off.");
}

function remove(webhook: Webhook): void {
  const putBack = (): void => {
    webhooks.value = [...(webhooks.value ?? []), webhook].sort((a, b) => b.created_at - a.created_at);
  };
  deleteLater(pathOf(webhook.id), cut(webhook.url), putBack, () => goToWebhooks(webhook.id));
  webhooks.value = (webhooks.value ?? []).filter(({ id }) => id !== webhook.id);
  goToWebhooks();
}

export function Webhooks({ webhookId }: { webhookId: string }) {
  useEffect(() => {
    document.title = "Webhooks · Threadkeep";
    const look = (): Promise<void> => load(!webhookId);
    const lookAgain = (): void => {
      if (!document.hidden) void look();
    };
    void look();
    addEventListener("focus", lookAgain);
    return () => removeEventListener("focus", lookAgain);
  }, [key.value, webhookId]);
  const box = useRef<HTMLDivElement>(null);
  // What had the focus is gone by now.
  useEffect(() => box.current?.focus(), [webhookId]);
  const webhook = webhooks.value?.find(({ id }) => id === webhookId);
  return (
    <>
      {webhookId ? <OneHeader webhook={webhook} /> : <AllHeader />}
      <div
        class="scroll"
        key={webhookId}
        ref={box}
        tabIndex={0}
        role="region"
        aria-label={webhookId ? "Deliveries" : "Webhooks"}
      >
        <div class="column">
          {problem.value && (
            <p class="problem" role="alert">
              {problem.value}
            </p>
          )}
          {webhookId ? (
            <One key={`${webhookId} ${key.value}`} webhook={webhook} webhookId={webhookId} />
          ) : (
            <All webhooks={webhooks.value} />
          )}
        </div>
      </div>
      {dialog.value === "add" && <WebhookForm onClose={closeDialog} onSaved={put} />}
      {webhook && dialog.value === "change" && (
        <WebhookForm webhook={webhook} onClose={closeDialog} onSaved={put} />
      )}
      {webhook && dialog.value === "rotate" && <RotateForm webhook={webhook} onClose={closeDialog} onSaved={put} />}
    </>
  );
}

function AllHeader() {
  return (
    <header class="top">
      <a class="back" href="#/" aria-label="All threads">
        ←
      </a>
      <h1>Webhooks</h1>
      <nav aria-label="Webhooks">
        <button
          type="button"
          class="quiet"
          onClick={() => {
            dialog.value = "add";
          }}
        >
          Add a webhook
        </button>
      </nav>
    </header>
  );
}

function OneHeader({ webhook }: { webhook: Webhook | undefined }) {
  return (
    <header class="top">
      <a class="back always" href="#/webhooks" aria-label="All webhooks">
        ←
      </a>
      <h1 class="address">{webhook?.url ?? "Webhook"}</h1>
      {webhook && (
        <nav aria-label="Webhook">
          <button type="button" class="quiet" onClick={() => remove(webhook)}>
            Delete
          </button>
        </nav>
      )}
    </header>
  );
}

function All({ webhooks }: { webhooks: readonly Webhook[] | null }) {
  if (!webhooks) return null;
  return (
    <>
      <p class="muted">
        {webhooks.length
          ? "These addresses are told when a run of this project ends, or waits for the outputs of functions."
          : "No webhooks yet. A webhook is an address of yours that is told when a run of this project ends, or waits for the outputs of functions."}
      </p>
      <ul class="plates">
        {webhooks.map((webhook) => (
          <li key={webhook.id}>
            <a class="plate" href={`#/webhooks/${webhook.id}`}>
              <span class="line">
                <code class="address">{webhook.url}</code>
                <Latest delivery={latest.value.get(webhook.id)} />
              </span>
              <span class="muted small">
                {isOff(webhook) && <span class="status">off</span>} {wordsOfEvents(webhook.events)}
              </span>
            </a>
          </li>
        ))}
      </ul>
    </>
  );
}

function Latest({ delivery }: { delivery: Delivery | undefined }) {
  return (
    <span class="small muted aside">
      {delivery ? (
        <>
          <span class={`status ${delivery.status}`}>{delivery.status}</span> {shortTime(delivery.created_at)}
        </>
      ) : (
        "nothing told yet"
      )}
    </span>
  );
}

const wordsOfEvents = (events: readonly string[]): string =>
  events.length === EVENTS.length ? "All events" : events.map(nameOf).join(", ");

function One({ webhook, webhookId }: { webhook: Webhook | undefined; webhookId: string }) {
  const deliveries = useMemo(() => new Deliveries(webhookId), [webhookId]);
  const [isLooking, setLooking] = useState(false);
  const look = async (): Promise<void> => {
    setLooking(true);
    await deliveries.look();
    setLooking(false);
  };
  useEffect(() => {
    const lookAgain = (): void => {
      if (!document.hidden) void deliveries.look();
    };
    addEventListener("focus", lookAgain);
    return () => {
      removeEventListener("focus", lookAgain);
      deliveries.close();
    };
  }, [deliveries]);
  // What waits is due again once the webhook is on.
  useEffect(() => void deliveries.look(), [deliveries, isOff(webhook)]);
  const { all, isLoaded, problem } = deliveries;
  return (
    <>
      {webhook && <Facts webhook={webhook} />}
      {webhook && abilities.value.rotate && <Actions webhook={webhook} onTest={() => deliveries.test()} />}
      <div class="line">
        <h2>Deliveries</h2>
        <button
          type="button"
          class="quiet"
          disabled={isLooking}
          onClick={() => void look().then(() => announce(`${amount(all.value.length)} deliveries`))}
        >
          Refresh
        </button>
      </div>
      {problem.value && (
        <p class="problem" role="alert">
          {problem.value}
        </p>
      )}
      {isLoaded.value && !problem.value && !all.value.length && (
        <p class="muted">Nothing was told yet. What a run does from now on stands here, and stays for some days.</p>
      )}
      <ol class="deliveries" aria-label="Deliveries">
        {all.value.map((delivery) => (
          <DeliveryRow
            key={delivery.id}
            delivery={delivery}
            isOff={isOff(webhook)}
            onResend={() => deliveries.resend(delivery)}
          />
        ))}
      </ol>
      {deliveries.hasOlder.value && <Older onWanted={() => deliveries.loadOlder().catch(complain)} />}
    </>
  );
}

function Facts({ webhook }: { webhook: Webhook }) {
  const { old_secret_expires_at: overlapEnd } = webhook;
  return (
    <dl class="facts">
      <dt>Events</dt>
      <dd>{wordsOfEvents(webhook.events)}</dd>
      {isOff(webhook) && (
        <>
          <dt>State</dt>
          <dd>
            <span class="status">off</span> What happens now is not told. What is pending waits, and no test can be
            sent.
          </dd>
        </>
      )}
      {overlapEnd && overlapEnd > Date.now() / 1000 && (
        <>
          <dt>Old secret</dt>
          <dd>signs too until {fullTime(overlapEnd)}</dd>
        </>
      )}
      <dt>Added</dt>
      <dd>{fullTime(webhook.created_at)}</dd>
      <dt>Id</dt>
      <dd>
        <code>{webhook.id}</code>
      </dd>
    </dl>
  );
}

function Actions({ webhook, onTest }: { webhook: Webhook; onTest: () => Promise<void> }) {
  // Not disabled meanwhile: a button that is loses the focus.
  const isAsking = useRef(false);
  const once = async (work: () => Promise<void>): Promise<void> => {
    if (isAsking.current) return;
    isAsking.current = true;
    await work().catch(complain);
    isAsking.current = false;
  };
  const test = (): Promise<void> => onTest().then(() => announce("A test is sent."));
  return (
    <div class="buttons" role="group" aria-label="Webhook">
      <button
        type="button"
        disabled={isOff(webhook)}
        title={isOff(webhook) ? WHY_OFF : undefined}
        onClick={() => void once(test)}
      >
        Send a test
      </button>
      <button
        type="button"
        onClick={() => {
          dialog.value = "change";
        }}
      >
        Change
      </button>
      <button
        type="button"
        onClick={() => {
          dialog.value = "rotate";
        }}
      >
        New secret
      </button>
      <button type="button" onClick={() => void once(() => turn(webhook))}>
        {isOff(webhook) ? "Switch on" : "Switch off"}
      </button>
    </div>
  );
}

/** Asks for more by itself when it comes into sight. */
function Older({ onWanted }: { onWanted: () => void }) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    const observer = new IntersectionObserver(([seen]) => seen?.isIntersecting && onWanted(), { rootMargin: "400px" });
    observer.observe(button.current!);
    return () => observer.disconnect();
  }, []);
  return (
    <button type="button" class="quiet older" ref={button} onClick={onWanted}>
      Older deliveries
    </button>
  );
}
