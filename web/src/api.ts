// Requests to the server that served this page, and their answers.

import { signal } from "@preact/signals";

const KEY = "threadkeep.key";
const FIRST_PAUSE_MS = 300;
const LAST_PAUSE_MS = 5000;

// The key that is sent, and why another one is asked for; null while none is.
export const key = signal(sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "");
export const keyAsked = signal<string | null>(null);

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export class UnreachableError extends Error {
  constructor() {
    super("The server cannot be reached.");
  }
}

export function keepKey(value: string, remember: boolean): void {
  forgetKey();
  (remember ? localStorage : sessionStorage).setItem(KEY, value);
  key.value = value;
  keyAsked.value = null;
}

export function forgetKey(): void {
  localStorage.removeItem(KEY);
  sessionStorage.removeItem(KEY);
  key.value = "";
}

export const isKeyRemembered = (): boolean => localStorage.getItem(KEY) !== null;

export interface Sent {
  body?: unknown;
  signal?: AbortSignal | undefined;
  keepalive?: boolean;
}

/** The server's answer, whatever kind it is. Throws `ApiError` or `UnreachableError`. */
export async function ask(method: string, path: string, sent: Sent = {}): Promise<Response> {
  const headers: Record<string, string> = { "OpenAI-Beta": "assistants=v2" };
  if (key.value) headers["Authorization"] = `Bearer ${key.value}`;
  if (sent.body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(`v1${path}`, {
      method,
      headers,
      body: sent.body === undefined ? null : JSON.stringify(sent.body),
      signal: sent.signal ?? null,
      keepalive: sent.keepalive ?? false,
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    if (sent.signal?.aborted) throw error;
    throw new UnreachableError();
  }
  if (response.ok) return response;
  throw await errorOf(response);
}

/** The object that the server answers with. */
export async function call<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
  return (await ask(method, path, sent)).json() as Promise<T>;
}

async function errorOf(response: Response): Promise<ApiError> {
  let message = `The server answered with status ${response.status}.`;
  let code: string | null = null;
  try {
    const body = (await response.json()) as { error?: { message?: string; code?: string | null } };
    message = body.error?.message ?? message;
    code = body.error?.code ?? null;
  } catch {
    // Something between here and the server has answered in its own words; the status must do.
  }
  if (response.status === 401 && code !== "missing_scope") {
    keyAsked.value = key.value ? "The server does not know this key." : "";
  }
  return new ApiError(response.status, message);
}

export interface StreamEvent {
  seq: number;
  name: string;
  data: string;
}

/** The events of a stream as they come, those of one network read together. */
export async function* eventsOf(response: Response): AsyncGenerator<StreamEvent[]> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const frames = (rest + value).split("\n\n");
      rest = frames.pop()!;
      const events = frames.map(eventOf).filter((event) => event !== null);
      if (events.length) yield events;
    }
  } finally {
    // Also when whoever reads has had enough.
    reader.cancel().catch(() => undefined);
  }
}

function eventOf(frame: string): StreamEvent | null {
  const event: StreamEvent = { seq: 0, name: "", data: "" };
  for (const line of frame.split("\n")) {
    if (line.startsWith("id: ")) event.seq = Number(line.slice(4));
    else if (line.startsWith("event: ")) event.name = line.slice(7);
    else if (line.startsWith("data: ")) event.data = line.slice(6);
  }
  return event.name ? event : null;
}

/** Waits a little longer each time, but no longer than until the network is back. */
export class Pauses {
  private next = FIRST_PAUSE_MS;

  reset(): void {
    this.next = FIRST_PAUSE_MS;
  }

  async take(stop: AbortSignal): Promise<void> {
    const pause = this.next;
    this.next = Math.min(pause * 2, LAST_PAUSE_MS);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, pause);
      function done(): void {
        clearTimeout(timer);
        removeEventListener("online", done);
        stop.removeEventListener("abort", done);
        resolve();
      }
      addEventListener("online", done);
      stop.addEventListener("abort", done);
    });
  }
}

/** The query part of an address; what is undefined is left out. */
export function query(parameters: Record<string, string | number | boolean | null | undefined>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
