// What a thread looks like from top to bottom: messages, and between them the function calls and the ends of runs.

import type { Conversation } from "./conversation";
import type { Message, Run, Step } from "./wire";

export type Item =
  | { kind: "message"; key: string; message: Message; run: Run | undefined }
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
    items.push({ kind: "message", key: message.id, message, run });
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

const isLast = (run: Run, messages: readonly Message[]): boolean => (messages.at(-1)?.created_at ?? 0) <= run.created_at;
