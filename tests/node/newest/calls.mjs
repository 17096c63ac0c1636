// The calls as the newest SDK spells them: the object's own id first, the thread's among the parameters.
import OpenAI from "openai";

export { OpenAI };

export const THREAD_CALLS = ["create", "delete", "retrieve", "update"];
export const MESSAGE_CALLS = ["create", "delete", "list", "retrieve", "update"];
export const ASSISTANT_CALLS = ["create", "delete", "list", "retrieve", "update"];

export const deleteThread = (client, thread) => client.beta.threads.delete(thread);

export const deleteAssistant = (client, assistant) => client.beta.assistants.delete(assistant);

export const retrieveMessage = (client, thread, message) =>
  client.beta.threads.messages.retrieve(message, { thread_id: thread });

export const updateMessage = (client, thread, message, body) =>
  client.beta.threads.messages.update(message, { thread_id: thread, ...body });

export const deleteMessage = (client, thread, message) =>
  client.beta.threads.messages.delete(message, { thread_id: thread });

export const requestIdOf = (error) => error.requestID;
