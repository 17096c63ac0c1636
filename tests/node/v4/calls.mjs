// The calls as version 4 of the SDK spells them: ids in the order of the address, and `del`.
import OpenAI from "openai";

export { OpenAI };

export const THREAD_CALLS = ["create", "del", "retrieve", "update"];
export const MESSAGE_CALLS = ["create", "del", "list", "retrieve", "update"];
export const ASSISTANT_CALLS = ["create", "del", "list", "retrieve", "update"];

export const deleteThread = (client, thread) => client.beta.threads.del(thread);

export const deleteAssistant = (client, assistant) => client.beta.assistants.del(assistant);

export const retrieveMessage = (client, thread, message) => client.beta.threads.messages.retrieve(thread, message);

export const updateMessage = (client, thread, message, body) =>
  client.beta.threads.messages.update(thread, message, body);

export const deleteMessage = (client, thread, message) => client.beta.threads.messages.del(thread, message);

export const requestIdOf = (error) => error.request_id;
