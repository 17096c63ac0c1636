// One delivery in the list: what became of it, its last attempts, and what can be done.

import { useState } from "preact/hooks";
import { abilities } from "./abilities";
import { troubleOf } from "./deliveries";
import { announce, complain } from "./notices";
import { amount, duration, fullTime } from "./times";
import type { Delivery } from "./wire";

const TEST = "webhook.test";
// Why nothing can be sent to a webhook now.
export const WHY_OFF = "The webhook is off. Switch it on first.";

export const nameOf = (event: string): string => event.replace("thread.run.", "").replaceAll("_", " ");

const titleOf = (type: string): string => (type === TEST ? "test" : `run ${nameOf(type)}`);

interface Props {
  delivery: Delivery;
  // Whether its webhook is.
  isOff: boolean;
  onResend: () => Promise<void>;
}

export function DeliveryRow({ delivery, isOff, onResend }: Props) {
  const [isAsking, setAsking] = useState(false);
  const trouble = troubleOf(delivery);
  const { data } = delivery;
  const resend = async (): Promise<void> => {
    setAsking(true);
    try {
      await onResend();
      announce("It is sent again.");
    } catch (error) {
      complain(error);
    }
    setAsking(false);
  };
  return (
    <li>
      <div class="line">
        <span>
          <span class={`status ${delivery.status}`}>{delivery.status}</span> <span>{titleOf(delivery.type)}</span>
        </span>
        <time class="muted small" dateTime={new Date(delivery.created_at * 1000).toISOString()}>
          {fullTime(delivery.created_at)}
        </time>
      </div>
      {trouble && (
        <p class="small">
          {trouble.cause} <span class="muted">{trouble.advice}</span>
        </p>
      )}
      <div class="line">
        <Attempts delivery={delivery} isOff={isOff} />
        <span class="aside">
          {data?.thread_id && (
            <a class="quiet" href={`#/${data.thread_id}/runs/${data.id}`} title={data.id}>
              See the run
            </a>
          )}
          {abilities.value.resend && (
            <button
              type="button"
              class="quiet"
              disabled={isAsking || isOff}
              title={isOff ? WHY_OFF : undefined}
              onClick={() => void resend()}
            >
              Send again
            </button>
          )}
        </span>
      </div>
    </li>
  );
}

/** How often it was tried, and on demand what came of each of the last attempts. */
function Attempts({ delivery, isOff }: { delivery: Delivery; isOff: boolean }) {
  const words = wordsOfAttempts(delivery, isOff);
  if (!delivery.last_attempts?.length) return <span class="muted small">{words}</span>;
  return (
    <details class="muted small">
      <summary>{words}</summary>
      <ol class="attempts" aria-label="Last attempts">
        {delivery.last_attempts.map((attempt, index) => (
          <li key={delivery.attempts - index}>
            {fullTime(attempt.attempted_at)}: {attempt.error ?? `answered with ${attempt.status_code}`},{" "}
            {wordsOfMs(attempt.duration_ms)}
          </li>
        ))}
      </ol>
    </details>
  );
}

const wordsOfMs = (ms: number): string => (ms < 1000 ? `${ms} ms` : duration(Math.round(ms / 1000)));

/** How often it was tried, what the last answer was, and when it is tried again. */
function wordsOfAttempts(delivery: Delivery, isOff: boolean): string {
  const { status, attempts, status_code, last_attempt_at, next_attempt_at } = delivery;
  if (!attempts) return isOff && status === "pending" ? "waits until the webhook is on" : "not sent yet";
  const words = [attempts === 1 ? "1 attempt" : `${amount(attempts)} attempts`];
  if (status === "delivered" && status_code) words.push(`answered with ${status_code}`);
  if (last_attempt_at && attempts > 1) words.push(`the last ${fullTime(last_attempt_at)}`);
  if (status === "pending" && isOff) words.push("waits until the webhook is on");
  else if (status === "pending" && next_attempt_at) {
    const seconds = Math.round(next_attempt_at - Date.now() / 1000);
    words.push(seconds < 1 ? "the next at once" : `the next in ${duration(seconds)}`);
  }
  return words.join(", ");
}
