// The thread that is open: its messages, its runs and their steps, and the stream of the run that is under way.
//
// What is shown is what the server says. Events change the state at once; the page is drawn once a frame.

import { signal } from "@preact/signals";
import { ApiError, Pauses, UnreachableError, ask, call, eventsOf, query, type StreamEvent } from "./api";
import { announce, complain } from "./notices";
import { add as addToList } from "./threads";
import { learn, titleFrom } from "./titles";
import { isActive, textOf } from "./wire";
import type { Message, MessageDelta, Page, Part, Run, Step, StepDelta, Thread } from "./wire";

const MESSAGES = 50;
const RUNS = 50;
const STEPS = 100;
const POLL_MS = 1000;
const ANNOUNCED_CHARACTERS = 600;
// How many pages are loaded to get to a message that was found.
const PAGES_TO_FOUND_MAX = 40;

export type Connection = "none" | "open" | "lost";

export class Conversation {
  readonly thread = signal<Thread | null>(null);
  readonly messages = signal<readonly Message[]>([]);
  readonly runs = signal<readonly Run[]>([]);
  readonly steps = signal<ReadonlyMap<string, readonly Step[]>>(new Map());
  readonly hasOlder = signal(false);
  readonly isLoading = signal(true);
  readonly problem = signal("");
  readonly connection = signal<Connection>("none");
  // Whether something is being sent, so that nothing is sent twice.
  readonly isBusy = signal(false);

  private readonly stop = new AbortController();
  // Whether a stream is read, and the run it is of, as soon as that is known.
  private isFollowing = false;
  private following = "";
  private lastSeq = 0;
  // Messages as their deltas have them. After a reload they are behind what is shown, for a moment.
  private readonly drafts = new Map<string, Part[]>();
  private readonly known = new Map<string, Message>();
  private isDrawing = false;

  constructor(readonly id: string) {}

  /** The run that holds the thread, if there is one. */
  get heldBy(): Run | undefined {
    return this.runs.value.find((run) => isActive(run) || run.status === "requires_action");
  }

  close(): void {
    this.stop.abort();
  }

  /** Loads the newest part of the thread, and goes on with the run that is under way. */
  async open(): Promise<void> {
    try {
      const [thread] = await Promise.all([
        call<Thread>("GET", `/threads/${this.id}`, { signal: this.stop.signal }),
        this.reload(),
      ]);
      this.thread.value = thread;
      this.problem.value = "";
    } catch (error) {
      if (!this.stop.signal.aborted) this.problem.value = error instanceof Error ? error.message : String(error);
    }
    this.isLoading.value = false;
    this.goOn();
  }

  private async reload(): Promise<void> {
    const signal = this.stop.signal;
    const [messages, runs] = await Promise.all([
      call<Page<Message>>("GET", `/threads/${this.id}/messages${query({ limit: MESSAGES })}`, { signal }),
      call<Page<Run>>("GET", `/threads/${this.id}/runs${query({ limit: RUNS })}`, { signal }),
    ]);
    const newest = messages.data.reverse();
    const at = this.messages.value.findIndex(({ id }) => id === newest[0]?.id);
    // What was loaded before stays, where the two meet.
    if (at <= 0) this.hasOlder.value = messages.has_more;
    this.setMessages([...this.messages.value.slice(0, Math.max(at, 0)), ...newest]);
    this.runs.value = runs.data.reverse();
    await Promise.all(runs.data.filter((run) => run.tools.length || isActive(run)).map((run) => this.loadSteps(run.id)));
  }

  /** Looks what others have done meanwhile. */
  async refresh(): Promise<void> {
    if (this.isFollowing || this.isBusy.value || this.isLoading.value) return;
    // There was nothing to be had before.
    if (!this.thread.value) return this.open();
    try {
      await this.reload();
    } catch {
      // It was a look in passing; whoever acts here is told what is wrong.
      return;
    }
    this.goOn();
  }

  async loadOlder(): Promise<void> {
    const first = this.messages.value[0];
    if (!first || !this.hasOlder.value) return;
    this.hasOlder.value = false;
    try {
      const asked = query({ limit: MESSAGES, after: first.id });
      const page = await call<Page<Message>>("GET", `/threads/${this.id}/messages${asked}`, { signal: this.stop.signal });
      this.hasOlder.value = page.has_more;
      this.setMessages([...page.data.reverse(), ...this.messages.value]);
    } catch (error) {
      this.hasOlder.value = true;
      complain(error);
    }
  }

  /** Loads back to a message; gives whether it is there. */
  async loadBackTo(messageId: string): Promise<boolean> {
    const has = (): boolean => this.messages.value.some(({ id }) => id === messageId);
    for (let page = 0; page < PAGES_TO_FOUND_MAX && !has() && this.hasOlder.value; page++) await this.loadOlder();
    return has();
  }

  async loadSteps(runId: string): Promise<void> {
    const asked = query({ order: "asc", limit: STEPS });
    const page = await call<Page<Step>>("GET", `/threads/${this.id}/runs/${runId}/steps${asked}`, {
      signal: this.stop.signal,
    });
    this.setSteps(runId, page.data);
  }

  /** Adds what the user says, and has it answered. */
  async say(text: string, assistantId: string): Promise<void> {
    await this.act(async () => {
      const message = await call<Message>("POST", `/threads/${this.id}/messages`, {
        body: { role: "user", content: text },
      });
      this.setMessages([...this.messages.value, message]);
      await this.nameAfter(text);
      await this.answer(assistantId);
    });
  }

  /** Has the thread answered as it is. */
  async run(assistantId: string): Promise<void> {
    await this.act(() => this.answer(assistantId));
  }

  /** Puts another text in the place of a message, removes what came after it, and has it answered. */
  async editAndRun(message: Message, text: string, assistantId: string, canEdit: boolean): Promise<void> {
    await this.act(async () => {
      const others = message.content.filter(({ type }) => type.startsWith("image"));
      const content = others.length ? [{ type: "text", text }, ...others] : text;
      const path = `/threads/${this.id}/messages`;
      if (canEdit) {
        const changed = await call<Message>("POST", `${path}/${message.id}`, { body: { content } });
        this.replace(changed);
        await this.removeBehind(message, false);
      } else {
        await this.removeBehind(message, true);
        const said = await call<Message>("POST", path, { body: { role: "user", content } });
        this.setMessages([...this.messages.value, said]);
      }
      await this.answer(assistantId);
    });
  }

  /** Removes an answer and what came after it, and asks for another one. */
  async runAgain(message: Message, assistantId: string): Promise<void> {
    await this.act(async () => {
      await this.removeBehind(message, true);
      await this.answer(assistantId);
    });
  }

  /** What a message said before it was edited, newest first. */
  async versionsOf(message: Message): Promise<string[]> {
    const path = `/threads/${this.id}/messages/${message.id}/versions`;
    const page = await call<Page<{ content: Part[] }>>("GET", path, { signal: this.stop.signal });
    return page.data.map(textOf);
  }

  /** Takes in a message that was changed. */
  replace(changed: Message): void {
    this.setMessages(this.messages.value.map((other) => (other.id === changed.id ? changed : other)));
  }

  async cancel(): Promise<void> {
    const run = this.heldBy;
    if (!run) return;
    try {
      await call<Run>("POST", `/threads/${this.id}/runs/${run.id}/cancel`);
      announce("Stopped");
      // A run that waited for its client had no stream that tells of it.
      if (!this.isFollowing) await this.reload();
    } catch (error) {
      // It may have ended by itself in this moment.
      if (!(error instanceof ApiError && error.status === 400)) complain(error);
    }
  }

  async submit(run: Run, outputs: ReadonlyMap<string, string>): Promise<void> {
    await this.act(async () => {
      const calls = run.required_action?.submit_tool_outputs.tool_calls ?? [];
      const body = {
        stream: true,
        tool_outputs: calls.map(({ id }) => ({ tool_call_id: id, output: outputs.get(id) ?? "" })),
      };
      const path = `/threads/${this.id}/runs/${run.id}/submit_tool_outputs`;
      try {
        void this.follow(run.id, await ask("POST", path, { body, signal: this.stop.signal }));
      } catch (error) {
        // It is too late, or somebody else was faster: what is shown is not so any more.
        if (error instanceof ApiError) await this.reload();
        throw error;
      }
    });
  }

  private async act(work: () => Promise<void>): Promise<void> {
    if (this.isBusy.value) return;
    this.isBusy.value = true;
    try {
      await work();
    } finally {
      this.isBusy.value = false;
    }
  }

  private async nameAfter(text: string): Promise<void> {
    const thread = this.thread.value;
    if (!thread || thread.metadata["title"] || this.messages.value.length > 1) return;
    this.thread.value = await call<Thread>("POST", `/threads/${this.id}`, {
      body: { metadata: { title: titleFrom(text) } },
    });
    addToList(this.thread.value);
  }

  /** Newest first, so that what is left is whole, whenever it is cut short. */
  private async removeBehind(message: Message, itself: boolean): Promise<void> {
    await this.loadSince(message);
    const all = this.messages.value;
    const at = all.findIndex(({ id }) => id === message.id);
    for (const { id } of all.slice(itself ? at : at + 1).reverse()) {
      await call("DELETE", `/threads/${this.id}/messages/${id}`);
      this.known.delete(id);
      this.setMessages(this.messages.value.filter((other) => other.id !== id));
    }
  }

  /** What others have added behind a message must go too. */
  private async loadSince(message: Message): Promise<void> {
    for (;;) {
      const last = this.messages.value.at(-1) ?? message;
      const asked = query({ order: "asc", limit: 100, after: last.id });
      const page = await call<Page<Message>>("GET", `/threads/${this.id}/messages${asked}`);
      if (page.data.length) this.setMessages([...this.messages.value, ...page.data]);
      if (!page.has_more) return;
    }
  }

  private async answer(assistantId: string): Promise<void> {
    const body = { assistant_id: assistantId, stream: true };
    const response = await ask("POST", `/threads/${this.id}/runs`, { body, signal: this.stop.signal });
    this.lastSeq = 0;
    void this.follow("", response);
  }

  private goOn(): void {
    const run = this.heldBy;
    if (!run || !isActive(run) || this.isFollowing) return;
    this.lastSeq = 0;
    void this.follow(run.id);
  }

  /** Follows a run to where it rests. Where the connection breaks it goes on behind the last event that came. */
  private async follow(runId: string, response?: Response): Promise<void> {
    this.isFollowing = true;
    this.following = runId;
    const pauses = new Pauses();
    const { signal } = this.stop;
    while (!signal.aborted) {
      try {
        response ??= await this.resumed(signal);
        this.connection.value = "open";
        for await (const events of eventsOf(response)) {
          pauses.reset();
          for (const event of events) if (this.take(event)) return this.ended();
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && error.status < 500) return this.cannotFollow(error);
      }
      response = undefined;
      this.connection.value = "lost";
      await pauses.take(signal);
    }
  }

  private async resumed(signal: AbortSignal): Promise<Response> {
    if (!this.following) {
      // The stream broke before it told which run it is of.
      await this.reload();
      const run = this.heldBy;
      if (!run) throw new ApiError(404, "The server was lost before the run began. Run it again.");
      this.following = run.id;
    }
    const asked = query({ stream: true, starting_after: this.lastSeq });
    return ask("GET", `/threads/${this.id}/runs/${this.following}${asked}`, { signal });
  }

  private async cannotFollow(error: ApiError): Promise<void> {
    this.connection.value = "none";
    // A strict server has no streams to come back to.
    if (error.status === 400) return this.poll();
    this.isFollowing = false;
    complain(error);
  }

  private async poll(): Promise<void> {
    const { signal } = this.stop;
    while (!signal.aborted) {
      try {
        await this.reload();
        if (!this.heldBy || !isActive(this.heldBy)) return this.ended();
      } catch (error) {
        if (!(error instanceof UnreachableError)) {
          this.isFollowing = false;
          return complain(error);
        }
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  private ended(): void {
    this.connection.value = "none";
    this.isFollowing = false;
    this.draw();
    const run = this.runs.value.at(-1);
    const last = this.messages.value.at(-1);
    if (run?.status === "requires_action") announce("The assistant waits for the output of a function call.");
    else if (run?.status === "failed") announce(`The run failed. ${run.last_error?.message ?? ""}`);
    else if (run?.status === "completed" && last?.role === "assistant") {
      announce(`Answer: ${textOf(last).slice(0, ANNOUNCED_CHARACTERS)}`);
    }
  }

  /** Takes in an event; gives whether it is the last one. */
  private take({ seq, name, data }: StreamEvent): boolean {
    if (name === "done") return true;
    if (name === "error") {
      complain(new Error((JSON.parse(data) as { message?: string }).message ?? "The stream broke."));
      return false;
    }
    // The server sends nothing twice; but a wrong order would be worse than an event less.
    if (seq && seq <= this.lastSeq) return false;
    this.lastSeq = seq || this.lastSeq;
    const object = JSON.parse(data) as unknown;
    if (name === "thread.message.delta") this.takeMessageDelta(object as MessageDelta);
    else if (name === "thread.run.step.delta") this.takeStepDelta(object as StepDelta);
    else if (name.startsWith("thread.message.")) this.takeMessage(object as Message);
    else if (name.startsWith("thread.run.step.")) this.takeStep(object as Step);
    else if (name.startsWith("thread.run.")) this.takeRun(object as Run);
    return false;
  }

  private takeRun(run: Run): void {
    this.following = run.id;
    const others = this.runs.value.filter(({ id }) => id !== run.id);
    this.runs.value = [...others, run].sort((a, b) => a.created_at - b.created_at);
  }

  private takeMessage(message: Message): void {
    if (message.status === "in_progress") {
      if (!this.drafts.has(message.id)) this.drafts.set(message.id, []);
      const known = this.known.get(message.id);
      // Seen before a reload already.
      if (known) return;
    } else {
      this.drafts.delete(message.id);
    }
    this.known.set(message.id, message);
    this.drawSoon();
  }

  private takeMessageDelta({ id, delta }: MessageDelta): void {
    const draft = this.drafts.get(id);
    const known = this.known.get(id);
    if (!draft || !known) return;
    for (const piece of delta.content) {
      const part = draft[piece.index];
      if (part?.type === "text") part.text.value += piece.text?.value ?? "";
      else if (part?.type === "refusal") part.refusal += piece.refusal ?? "";
      else if (piece.refusal !== undefined) draft[piece.index] = { type: "refusal", refusal: piece.refusal };
      else draft[piece.index] = { type: "text", text: { value: piece.text?.value ?? "" } };
    }
    const content = draft
      .filter(Boolean)
      .map((part): Part => (part.type === "text" ? { type: "text", text: { ...part.text } } : { ...part }));
    const next = { ...known, content };
    if (textOf(next).length >= textOf(known).length) {
      this.known.set(id, next);
      this.drawSoon();
    }
  }

  private takeStep(step: Step): void {
    const steps = [...(this.steps.value.get(step.run_id) ?? [])];
    const at = steps.findIndex(({ id }) => id === step.id);
    if (at < 0) steps.push(step);
    // Told again after a reload: what the list said is newer.
    else if (step.status !== "in_progress") steps[at] = step;
    this.setSteps(step.run_id, steps);
  }

  private takeStepDelta({ id, delta }: StepDelta): void {
    const runId = this.following;
    const steps = [...(this.steps.value.get(runId) ?? [])];
    const at = steps.findIndex((step) => step.id === id);
    const step = steps[at];
    if (!step || step.status !== "in_progress") return;
    const calls = [...(step.step_details.tool_calls ?? [])];
    for (const { index, id: callId, function: piece, type } of delta.step_details.tool_calls) {
      const known = calls[index];
      // The beginning of a call, also of one that is known from before a reload.
      if (callId || !known) {
        calls[index] = { id: callId ?? "", type, function: { name: piece.name ?? "", arguments: "" } };
      } else {
        const { name, arguments: written } = known.function;
        calls[index] = { ...known, function: { name, arguments: written + (piece.arguments ?? "") } };
      }
    }
    steps[at] = { ...step, step_details: { tool_calls: calls } };
    this.setSteps(runId, steps);
  }

  private setSteps(runId: string, steps: readonly Step[]): void {
    this.steps.value = new Map(this.steps.value).set(runId, steps);
  }

  private setMessages(messages: readonly Message[]): void {
    for (const message of messages) this.known.set(message.id, message);
    const order = new Set(messages.map(({ id }) => id));
    for (const id of [...this.known.keys()]) if (!order.has(id)) this.known.delete(id);
    this.messages.value = messages;
    if (!this.hasOlder.value) learn(this.id, messages[0]);
  }

  private drawSoon(): void {
    if (this.isDrawing) return;
    this.isDrawing = true;
    const draw = (): void => {
      this.isDrawing = false;
      this.draw();
    };
    // A page that nobody sees is given no frames.
    if (document.hidden) setTimeout(draw, 100);
    else requestAnimationFrame(draw);
  }

  private draw(): void {
    const shown = this.messages.value.map(({ id }) => this.known.get(id)).filter((message) => message !== undefined);
    const ids = new Set(shown.map(({ id }) => id));
    const added = [...this.known.values()].filter(({ id }) => !ids.has(id));
    this.messages.value = [...shown, ...added];
  }
}

/** A thread that begins with these words. */
export async function begin(text: string): Promise<Thread> {
  const thread = await call<Thread>("POST", "/threads", {
    body: { metadata: { title: titleFrom(text) }, messages: [{ role: "user", content: text }] },
  });
  addToList(thread);
  return thread;
}
