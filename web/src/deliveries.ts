// What was told to one webhook, and is still to be: pages as they are needed, the newest looked at again and again.

import { signal } from "@preact/signals";
import { ApiError, call, query, wordsOf } from "./api";
import type { Delivery, Page } from "./wire";

const PAGE = 50;
const PAGE_MAX = 100;
// How long until the next look: when something is about to be sent, and otherwise.
const SOON_MS = 2000;
const IDLE_MS = 15_000;
const SOON_S = 60;

export class Deliveries {
  readonly all = signal<readonly Delivery[]>([]);
  readonly hasOlder = signal(false);
  readonly isLoaded = signal(false);
  readonly problem = signal("");

  private readonly stop = new AbortController();
  private readonly path: string;
  private timer = 0;
  private isLooking = false;

  constructor(webhookId: string) {
    this.path = `/webhooks/${webhookId}/deliveries`;
  }

  close(): void {
    clearTimeout(this.timer);
    this.stop.abort();
  }

  /** Looks now, and from then on by itself. */
  async look(): Promise<void> {
    if (this.isLooking || this.stop.signal.aborted) return;
    clearTimeout(this.timer);
    this.isLooking = true;
    let isOver = false;
    try {
      await this.takeNewest();
      this.problem.value = "";
    } catch (error) {
      this.problem.value = wordsOf(error);
      // It will not be otherwise next time.
      isOver = error instanceof ApiError && error.status < 500;
    }
    this.isLooking = false;
    if (this.stop.signal.aborted) return;
    this.isLoaded.value = true;
    if (!isOver) this.lookLater();
  }

  async loadOlder(): Promise<void> {
    const last = this.all.value.at(-1);
    if (!last || !this.hasOlder.value) return;
    // Not twice at once.
    this.hasOlder.value = false;
    try {
      const page = await this.pageAfter(last.id, PAGE);
      const known = new Set(this.all.value.map(({ id }) => id));
      this.all.value = [...this.all.value, ...page.data.filter(({ id }) => !known.has(id))];
      this.hasOlder.value = page.has_more;
    } catch (error) {
      this.hasOlder.value = true;
      throw error;
    }
  }

  /** Has a delivery sent again at once. */
  async resend({ id }: Delivery): Promise<void> {
    const changed = await call<Delivery>("POST", `${this.path}/${id}/resend`);
    this.all.value = this.all.value.map((other) => (other.id === id ? changed : other));
    this.lookLater();
  }

  /** Has a test sent. */
  async test(): Promise<void> {
    const made = await call<Delivery>("POST", this.path.replace(/deliveries$/, "test"));
    // A look at the same time may have seen it first.
    this.all.value = [made, ...this.all.value.filter(({ id }) => id !== made.id)];
    this.lookLater();
  }

  private lookLater(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(
      () => {
        // A page that nobody sees is looked at when somebody does.
        if (document.hidden) this.lookLater();
        else void this.look();
      },
      this.all.value.some(isDueSoon) ? SOON_MS : IDLE_MS,
    );
  }

  /** Reads the newest again, back to the oldest shown that is still to be sent. */
  private async takeNewest(): Promise<void> {
    const shown = this.all.value;
    const pending = shown.findLast(({ status }) => status === "pending");
    const fresh: Delivery[] = [];
    let hasMore = true;
    while (hasMore) {
      const page = await this.pageAfter(fresh.at(-1)?.id, shown.length > PAGE ? PAGE_MAX : PAGE);
      fresh.push(...page.data);
      hasMore = page.has_more && pending !== undefined && !fresh.some(({ id }) => id === pending.id);
      if (!hasMore) this.join(fresh, page.has_more);
    }
  }

  private join(fresh: readonly Delivery[], hasOlder: boolean): void {
    const shown = this.all.value;
    const at = shown.findIndex(({ id }) => id === fresh.at(-1)?.id);
    // Where the two do not meet, what is between them must be loaded first.
    const older = at < 0 ? [] : shown.slice(at + 1);
    this.all.value = [...fresh, ...older];
    if (!older.length) this.hasOlder.value = hasOlder;
  }

  private pageAfter(after: string | undefined, limit: number): Promise<Page<Delivery>> {
    return call<Page<Delivery>>("GET", `${this.path}${query({ limit, after })}`, { signal: this.stop.signal });
  }
}

const isDueSoon = ({ status, next_attempt_at }: Delivery): boolean =>
  status === "pending" && next_attempt_at !== null && next_attempt_at < Date.now() / 1000 + SOON_S;

interface Trouble {
  cause: string;
  advice: string;
}

const BY_ERROR: Record<string, string> = {
  "no connection": "See whether something listens at the address and can be reached from the machine that Threadkeep is on.",
  "name not found": "See whether the name in the address is right, and whether the machine that Threadkeep is on can look it up.",
  "TLS failed": "The certificate must be valid for the name in the address and trusted by the machine that Threadkeep is on.",
  "no answer in time": "Have the receiver answer before it does its work.",
  "switched off": "It waited for the webhook to be switched on until its time was over.",
  "private address":
    "The name leads to a private address. Give one that is public, or start the server with --webhook-private-addresses.",
};
const BY_STATUS: Record<number, string> = {
  401: "The receiver wants to know who it is. It should check the signature instead.",
  403: "The receiver does not let it in. It should check the signature and nothing else.",
  404: "There is nothing at this address. See whether its path is right.",
  405: "What is at this address takes no POST. See whether its path is right.",
  410: "With 410 the receiver says that nobody is there any more, so it is not told again.",
};

/** Why the last attempt failed, and what to do; null if it did not, or there was none. */
export function troubleOf({ status, status_code: code, error }: Delivery): Trouble | null {
  if (status === "delivered" || (code === null && error === null)) return null;
  if (error !== null) {
    return { cause: `${error[0]!.toUpperCase()}${error.slice(1)}.`, advice: BY_ERROR[error] ?? "The server's log says more." };
  }
  const found = BY_STATUS[code!];
  const cause = `The receiver answered with ${code}.`;
  if (found) return { cause, advice: found };
  if (code! >= 500) return { cause, advice: "The fault is at the receiver; its log says more." };
  if (code! >= 400) return { cause, advice: "The receiver refused it: look at its secret, and into its log." };
  if (code! >= 300) return { cause, advice: "Redirects are not followed: give the address it leads to." };
  // It was taken once, and is to be sent again.
  return null;
}
