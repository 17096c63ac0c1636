// The calls as the newest SDK spells them: the object's own id first, the thread's among the parameters.
import OpenAI from "openai";

export { OpenAI };

export const THREAD_CALLS = ["create", "delete", "retrieve", "update"];
export const MESSAGE_CALLS = ["create", "delete", "list", "retrieve", "update"];
export const ASSISTANT_CALLS = ["create", "delete", "list", "retrieve", "update"];
export const RUN_CALLS = [
  "cancel",
  "create",
  "createAndPoll",
  "createAndStream",
  "list",
  "poll",
  "retrieve",
  "stream",
  "submitToolOutputs",
  "submitToolOutputsAndPoll",
  "submitToolOutputsStream",
  "update",
];

export const deleteThread = (client, thread) => client.beta.threads.delete(thread);

export const deleteAssistant = (client, assistant) => client.beta.assistants.delete(assistant);

export const retrieveMessage = (client, thread, message) =>
  client.beta.threads.messages.retrieve(message, { thread_id: thread });

export const updateMessage = (client, thread, message, body) =>
  client.beta.threads.messages.update(message, { thread_id: thread, ...body });

export const deleteMessage = (client, thread, message) =>
  client.beta.threads.messages.delete(message, { thread_id: thread });

export const retrieveRun = (client, thread, run) => client.beta.threads.runs.retrieve(run, { thread_id: thread });

export const updateRun = (client, thread, run, body) =>
  client.beta.threads.runs.update(run, { thread_id: thread, ...body });

export const cancelRun = (client, thread, run) => client.beta.threads.runs.cancel(run, { thread_id: thread });

export const pollRun = (client, thread, run) => client.beta.threads.runs.poll(run, { thread_id: thread });

export const submitAndPoll = (client, thread, run, body) =>
  client.beta.threads.runs.submitToolOutputsAndPoll(run, { thread_id: thread, ...body });

export const submitStream = (client, thread, run, body) =>
  client.beta.threads.runs.submitToolOutputsStream(run, { thread_id: thread, ...body });

export const stepsOf = async (client, thread, run) =>
  (await client.beta.threads.runs.steps.list(run, { thread_id: thread })).data;

export const retrieveStep = (client, thread, run, step) =>
  client.beta.threads.runs.steps.retrieve(step, { thread_id: thread, run_id: run });

export const requestIdOf = (error) => error.requestID;
