// What went wrong in a run, and what to do about it.

import { isActive, type Message, type Run } from "./wire";

export interface Trouble {
  title: string;
  cause: string;
  advice: string;
}

// By the words of the cause. Looked at in order; the first that fits is shown.
const BY_WORDS: [RegExp, string][] = [
  [
    /no model server|no model '|No upstream has/i,
    "Choose another model for the assistant, or tell the server where that model is: see “Connect a model” in the docs.",
  ],
  [/refused the key/i, "Put the right key into the settings of that upstream, and start the server again."],
  [/quota/i, "Look at the plan and the bills of the model server."],
  [/rate limit/i, "Wait a little and run again. If it goes on, look at the limits of the model server."],
  [/content policy/i, "Say it in other words, or choose another model."],
  [
    /longer than the model|too long for the model/i,
    "Shorten the last message, or go on in a copy of the thread up to an earlier one. Or choose a model with a larger context window.",
  ],
  [
    /not be reached|silent for too long/i,
    "See whether the model server runs and can be reached from the machine that Threadkeep is on, then run again.",
  ],
  [/failed with status|broke off|could not finish/i, "The fault is at the model server; its log says more. Run again."],
  [
    /refused the request/i,
    "The model server does not take this request: look at the assistant's model, functions and temperature.",
  ],
  [
    /not Chat Completions|too many tool calls|without a name|line that is too long|answer that is too long/i,
    "What answers there does not keep to Chat Completions: look at the upstream's address and its version.",
  ],
  [/called tools \d+ times/i, "Look whether the outputs answer what the model asks for, or raise run_tool_rounds_max."],
  [/stopped, again and again/i, "Look into the server's log for why its processes stop, then run again."],
  [/not there yet|does not have|not supported/i, "Take the tools that this server does not have out of the assistant: Edit, then Other tools."],
  [/already has \d+ messages/i, "The thread is full: go on in a new one."],
];

const BY_REASON: Record<string, string> = {
  max_completion_tokens: "Raise max_completion_tokens of the run, or ask the assistant to go on.",
  max_prompt_tokens: "Raise max_prompt_tokens of the run, or shorten the thread.",
  content_filter: "The model server's content filter stopped the answer. Say it in other words.",
};

/** What to tell about a run that has not ended well; null for one that has, or is under way. */
export function troubleOf(run: Run): Trouble | null {
  if (run.status === "failed") {
    const message = run.last_error?.message ?? "No reason is known.";
    const found = BY_WORDS.find(([words]) => words.test(message))?.[1];
    return { title: "The run failed", cause: message, advice: found ?? "Run again. If it fails again, the server's log says more." };
  }
  if (run.status === "incomplete") {
    const reason = run.incomplete_details?.reason ?? "unknown";
    return {
      title: "The answer is incomplete",
      cause: `Reason: ${reason}.`,
      advice: BY_REASON[reason] ?? "Run again.",
    };
  }
  if (run.status === "expired") {
    return {
      title: "The run expired",
      cause: "It did not end in its time. A run that waits for the outputs of functions gets ten minutes unless the server is told otherwise.",
      advice: "Run again, and send the outputs sooner.",
    };
  }
  return null;
}

const ENDS: Record<string, string> = {
  run_cancelled: "Stopped here.",
  run_expired: "The run expired here.",
  run_failed: "The run failed here.",
  max_tokens: "The answer reached its length limit here.",
  content_filter: "The content filter stopped the answer here.",
};

/** Why a message has no end. `run` is the run it is of, `isFollowed` says whether the run has said something after it. */
export function endOf(message: Message, run: Run | undefined, isFollowed: boolean): string | null {
  if (message.status !== "incomplete") return null;
  const reason = message.incomplete_details?.reason ?? "";
  // The API has no reason of its own for what a process left behind whose run another one took over.
  if (reason === "run_failed" && (isFollowed || (run && run.status !== "failed"))) {
    const isGoingOn = isFollowed || (run !== undefined && isActive(run));
    return `The server stopped here${isGoingOn ? "; the answer was begun again below" : ""}.`;
  }
  return ENDS[reason] ?? "Not finished.";
}
