// What a thread looks like from top to bottom: messages, and between them the function calls and the ends of runs.

import { endOf } from "./advice";
import type { Conversation } from "./conversation";
import type { Message, Run, Step } from "./wire";

export type Item =
  | { kind: "message"; key: string; message: Message; end: string | null }
  | { kind: "calls"; key: string; run: Run; step: Step }
  | { kind: "end"; key: string; run: Run };

export function itemsOf(conversation: Conversation): Item[] {
  const messages = conversation.messages.value;
  const runs = conversation.runs.value;
  const steps = conversation.steps.value;
  const runById = new Map(runs.map((run) => [run.id, run]));
  const newest = runs.at(-1);
  const items: Item[] = [];
  const callsOf = (run: Run): Step[] => (steps.get(run.id) ?? []).filter((step) => step.type === "tool_calls");
  const shown = new Set<string>();

  const showCalls = (run: Run, before?: string): void => {
    // All of the run's calls ahead of the message that a later step made; of the last message, those behind it.
    const ordered = steps.get(run.id) ?? [];
    const end = before ? ordered.findIndex((step) => step.step_details.message_creation?.message_id === before) : ordered.length;
    for (const step of callsOf(run)) {
      if (shown.has(step.id) || (end >= 0 && ordered.indexOf(step) > end)) continue;
      shown.add(step.id);
      items.push({ kind: "calls", key: step.id, run, step });
    }
  };

  messages.forEach((message, index) => {
    const run = message.run_id ? runById.get(message.run_id) : undefined;
    if (run && callsOf(run).length) showCalls(run, message.id);
    items.push({ kind: "message", key: message.id, message, end: endOf(message, run, isFollowed(messages, index)) });
    if (run && messages[index + 1]?.run_id !== run.id) {
      showCalls(run);
      items.push({ kind: "end", key: `end ${run.id}`, run });
    }
  });
  // A run that has said nothing is of interest as long as none has come after it.
  if (newest && !messages.some(({ run_id }) => run_id === newest.id) && isLast(newest, messages)) {
    showCalls(newest);
    items.push({ kind: "end", key: `end ${newest.id}`, run: newest });
  }
  return items;
}

// Whether the run of a message without an end has said something after it.
function isFollowed(messages: readonly Message[], index: number): boolean {
  const { run_id, status } = messages[index]!;
  return status === "incomplete" && run_id !== null && messages.slice(index + 1).some((other) => other.run_id === run_id);
}

const isLast = (run: Run, messages: readonly Message[]): boolean => (messages.at(-1)?.created_at ?? 0) <= run.created_at;
