// The calls as version 4 of the SDK spells them: ids in the order of the address, and `del`.
import OpenAI from "openai";

export { OpenAI };

export const THREAD_CALLS = ["create", "del", "retrieve", "update"];
export const MESSAGE_CALLS = ["create", "del", "list", "retrieve", "update"];
export const ASSISTANT_CALLS = ["create", "del", "list", "retrieve", "update"];
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

export const deleteThread = (client, thread) => client.beta.threads.del(thread);

export const deleteAssistant = (client, assistant) => client.beta.assistants.del(assistant);

export const retrieveMessage = (client, thread, message) => client.beta.threads.messages.retrieve(thread, message);

export const updateMessage = (client, thread, message, body) =>
  client.beta.threads.messages.update(thread, message, body);

export const deleteMessage = (client, thread, message) => client.beta.threads.messages.del(thread, message);

export const retrieveRun = (client, thread, run) => client.beta.threads.runs.retrieve(thread, run);

export const updateRun = (client, thread, run, body) => client.beta.threads.runs.update(thread, run, body);

export const cancelRun = (client, thread, run) => client.beta.threads.runs.cancel(thread, run);

export const pollRun = (client, thread, run) => client.beta.threads.runs.poll(thread, run);

export const submitAndPoll = (client, thread, run, body) =>
  client.beta.threads.runs.submitToolOutputsAndPoll(thread, run, body);

export const submitStream = (client, thread, run, body) =>
  client.beta.threads.runs.submitToolOutputsStream(thread, run, body);

export const stepsOf = async (client, thread, run) => (await client.beta.threads.runs.steps.list(thread, run)).data;

export const retrieveStep = (client, thread, run, step) =>
  client.beta.threads.runs.steps.retrieve(thread, run, step);

export const requestIdOf = (error) => error.request_id;
