// Every call of threads, messages, assistants and runs of the official Node SDK, against the server at BASE_URL.
//
// What the versions spell differently is in `calls.mjs` of each; `run.py` puts the two files side by side.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  ASSISTANT_CALLS,
  cancelRun,
  deleteAssistant,
  deleteMessage,
  deleteThread,
  MESSAGE_CALLS,
  OpenAI,
  pollRun,
  requestIdOf,
  retrieveMessage,
  retrieveRun,
  retrieveStep,
  RUN_CALLS,
  stepsOf,
  submitAndPoll,
  submitStream,
  THREAD_CALLS,
  updateMessage,
  updateRun,
} from "./calls.mjs";

const options = { baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0, timeout: 60_000 };
const client = new OpenAI(options);
const { assistants, threads } = client.beta;

const callsOf = (resource) =>
  Object.getOwnPropertyNames(Object.getPrototypeOf(resource))
    .filter((name) => !/^(_|constructor$|createAndRun)/.test(name))
    .sort();

const refusal = async (kind, call) => {
  const error = await call().then(
    () => assert.fail(`${kind.name} was not thrown`),
    (thrown) => thrown,
  );
  assert.ok(error instanceof kind, `${error} is not a ${kind.name}`);
  return error;
};

const threadWithMessages = async (count) => {
  const messages = Array.from({ length: count }, (_, n) => ({ role: "user", content: `number ${n}` }));
  const thread = await threads.create({ messages });
  const { data } = await threads.messages.list(thread.id, { order: "asc", limit: 100 });
  assert.equal(data.length, count);
  return [thread, data.map((message) => message.id)];
};

const idsOf = async (pages) => {
  const ids = [];
  for await (const message of pages) ids.push(message.id);
  return ids;
};

test("these are all the calls that this SDK has", () => {
  assert.deepEqual(callsOf(threads), THREAD_CALLS);
  assert.deepEqual(callsOf(threads.messages), MESSAGE_CALLS);
  assert.deepEqual(callsOf(assistants), ASSISTANT_CALLS);
});

test("the four requests of the reference's thread page work in turn", async () => {
  const created = await threads.create();
  assert.match(created.id, /^thread_[A-Za-z0-9]{24}$/);
  assert.equal(created.object, "thread");
  assert.ok(Number.isInteger(created.created_at));
  assert.deepEqual(created.metadata, {});
  assert.deepEqual(created.tool_resources, {});

  assert.deepEqual(await threads.retrieve(created.id), created);

  const updated = await threads.update(created.id, { metadata: { modified: "true", user: "abc123" } });
  assert.deepEqual(updated, { ...created, metadata: { modified: "true", user: "abc123" } });

  const deleted = await deleteThread(client, created.id);
  assert.deepEqual(deleted, { id: created.id, object: "thread.deleted", deleted: true });
  await refusal(OpenAI.NotFoundError, () => threads.retrieve(created.id));
});

describe("threads", () => {
  test("a thread is created with messages in their order", async () => {
    const thread = await threads.create({
      messages: [
        { role: "user", content: "first", metadata: { place: "1" } },
        { role: "assistant", content: "second" },
      ],
    });
    const { data } = await threads.messages.list(thread.id, { order: "asc" });
    assert.deepEqual(
      data.map((message) => [message.role, message.content[0].text.value, message.metadata]),
      [
        ["user", "first", { place: "1" }],
        ["assistant", "second", {}],
      ],
    );
  });

  test("a thread keeps its metadata and the resources it is given", async () => {
    const resources = { code_interpreter: { file_ids: ["file-a"] }, file_search: { vector_store_ids: ["vs_a"] } };
    const thread = await threads.create({ metadata: { user: "abc123" }, tool_resources: resources });
    assert.deepEqual(thread.metadata, { user: "abc123" });
    assert.deepEqual(thread.tool_resources, resources);
    const updated = await threads.update(thread.id, { tool_resources: { code_interpreter: { file_ids: ["file-b"] } } });
    assert.deepEqual(updated.tool_resources, { ...resources, code_interpreter: { file_ids: ["file-b"] } });
    assert.deepEqual(await threads.retrieve(thread.id), updated);
  });

  test("modifying a thread merges its metadata", async () => {
    const thread = await threads.create({ metadata: { kept: "yes", user: "nobody" } });
    const updated = await threads.update(thread.id, { metadata: { user: "abc123" } });
    assert.deepEqual(updated.metadata, { kept: "yes", user: "abc123" });
  });
});

describe("messages", () => {
  test("a string becomes one text part", async () => {
    const thread = await threads.create();
    const message = await threads.messages.create(thread.id, { role: "user", content: "grüß 👋 dich" });
    assert.match(message.id, /^msg_[A-Za-z0-9]{24}$/);
    assert.deepEqual(
      [message.object, message.thread_id, message.role, message.assistant_id, message.run_id, message.status],
      ["thread.message", thread.id, "user", null, null, "completed"],
    );
    assert.deepEqual(message.content, [{ type: "text", text: { value: "grüß 👋 dich", annotations: [] } }]);
    assert.deepEqual([message.attachments, message.metadata], [[], {}]);
    assert.deepEqual(await retrieveMessage(client, thread.id, message.id), message);
  });

  test("parts of text and images keep their order", async () => {
    const thread = await threads.create();
    const { content } = await threads.messages.create(thread.id, {
      role: "user",
      content: [
        { type: "text", text: "What is this?" },
        { type: "image_url", image_url: { url: "https://example.com/cat.png", detail: "low" } },
        { type: "image_file", image_file: { file_id: "file-cat" } },
      ],
    });
    assert.deepEqual(content, [
      { type: "text", text: { value: "What is this?", annotations: [] } },
      { type: "image_url", image_url: { url: "https://example.com/cat.png", detail: "low" } },
      { type: "image_file", image_file: { file_id: "file-cat", detail: "auto" } },
    ]);
  });

  test("attachments are kept with their tools", async () => {
    const attachments = [{ file_id: "file-a", tools: [{ type: "file_search" }, { type: "code_interpreter" }] }];
    const thread = await threads.create();
    const message = await threads.messages.create(thread.id, { role: "user", content: "Read this.", attachments });
    assert.deepEqual(message.attachments, attachments);
  });

  test("modifying a message merges its metadata", async () => {
    const thread = await threads.create();
    const message = await threads.messages.create(thread.id, {
      role: "user",
      content: "hello",
      metadata: { kept: "yes" },
    });
    const updated = await updateMessage(client, thread.id, message.id, { metadata: { modified: "true" } });
    assert.deepEqual(updated, { ...message, metadata: { kept: "yes", modified: "true" } });
    assert.deepEqual(await retrieveMessage(client, thread.id, message.id), updated);
  });

  test("a deleted message is gone", async () => {
    const [thread, [first, second]] = await threadWithMessages(2);
    assert.deepEqual(await deleteMessage(client, thread.id, first), {
      id: first,
      object: "thread.message.deleted",
      deleted: true,
    });
    assert.deepEqual(await idsOf(threads.messages.list(thread.id)), [second]);
    await refusal(OpenAI.NotFoundError, () => retrieveMessage(client, thread.id, first));
  });
});

describe("assistants", () => {
  const weather = { name: "weather", parameters: { type: "object", properties: {} } };

  test("an assistant of a model alone has every field with its default", async () => {
    const { id, created_at, ...rest } = await assistants.create({ model: "any/model" });
    assert.match(id, /^asst_[A-Za-z0-9]{24}$/);
    assert.ok(Number.isInteger(created_at));
    assert.deepEqual(rest, {
      object: "assistant",
      name: null,
      description: null,
      model: "any/model",
      instructions: null,
      tools: [],
      top_p: 1,
      temperature: 1,
      reasoning_effort: null,
      tool_resources: {},
      metadata: {},
      response_format: "auto",
    });
  });

  test("tools are kept, with the defaults of the original", async () => {
    const tools = [{ type: "code_interpreter" }, { type: "file_search" }, { type: "function", function: weather }];
    const assistant = await assistants.create({ model: "m", tools });
    const ranking_options = { ranker: "default_2024_08_21", score_threshold: 0, hybrid_search: null };
    assert.deepEqual(assistant.tools, [
      { type: "code_interpreter" },
      { type: "file_search", file_search: { ranking_options } },
      { type: "function", function: { ...weather, strict: false } },
    ]);
    assert.deepEqual(assistant.tool_resources, { code_interpreter: { file_ids: [] } });
    assert.deepEqual(await assistants.retrieve(assistant.id), assistant);
  });

  test("modifying an assistant changes what is given, and merges its metadata", async () => {
    const assistant = await assistants.create({ model: "m", name: "old", metadata: { kept: "yes" } });
    const updated = await assistants.update(assistant.id, { name: null, temperature: 0.2, metadata: { new: "yes" } });
    assert.deepEqual(updated, { ...assistant, name: null, temperature: 0.2, metadata: { kept: "yes", new: "yes" } });
    assert.deepEqual(await assistants.retrieve(assistant.id), updated);
  });

  test("assistants are listed newest first, and a deleted one is gone", async () => {
    const ids = [];
    for (let n = 0; n < 3; n += 1) ids.push((await assistants.create({ model: "m" })).id);
    const { data } = await assistants.list({ limit: 3 });
    assert.deepEqual(
      data.map((assistant) => assistant.id),
      ids.toReversed(),
    );
    assert.deepEqual(await deleteAssistant(client, ids[1]), { id: ids[1], object: "assistant.deleted", deleted: true });
    await refusal(OpenAI.NotFoundError, () => assistants.retrieve(ids[1]));
    assert.deepEqual(await idsOf(assistants.list({ order: "asc", after: ids[0] })), [ids[2]]);
  });
});

describe("runs", () => {
  const weather = { type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } };

  // The model's name says what it does: see `threadkeep.testing`.
  const chatWith = async (model, more = {}) => {
    const assistant = await assistants.create({ model, ...more });
    const thread = await threads.create({ messages: [{ role: "user", content: "Hello there" }] });
    return { assistant, thread, body: { assistant_id: assistant.id } };
  };

  const saidIn = async (thread) => {
    const { data } = await threads.messages.list(thread.id, { order: "asc" });
    return data.map((message) => message.content[0].text.value);
  };

  const outputsOf = (run, output) => ({
    tool_outputs: run.required_action.submit_tool_outputs.tool_calls.map(({ id }) => ({ tool_call_id: id, output })),
  });

  test("these are all the calls of runs that this SDK has", () => {
    assert.deepEqual(callsOf(threads.runs), RUN_CALLS);
    assert.deepEqual(callsOf(threads.runs.steps), ["list", "retrieve"]);
  });

  test("a run answers in its thread", async () => {
    const { assistant, thread, body } = await chatWith("scripted", { instructions: "Be brief." });
    const created = await threads.runs.create(thread.id, { ...body, metadata: { a: "b" } });
    assert.match(created.id, /^run_[A-Za-z0-9]{24}$/);
    assert.deepEqual(
      [created.object, created.status, created.metadata, created.instructions, created.usage],
      ["thread.run", "queued", { a: "b" }, "Be brief.", null],
    );
    assert.deepEqual([created.assistant_id, created.thread_id], [assistant.id, thread.id]);
    assert.deepEqual(created.truncation_strategy, { type: "auto", last_messages: null });
    const run = await pollRun(client, thread.id, created.id);
    assert.equal(run.status, "completed");
    assert.deepEqual(await saidIn(thread), ["Hello there", "Hello there"]);
    assert.deepEqual(await retrieveRun(client, thread.id, run.id), run);
    const { data } = await threads.runs.list(thread.id);
    assert.deepEqual(data, [run]);
    const updated = await updateRun(client, thread.id, run.id, { metadata: { c: "d" } });
    assert.deepEqual(updated.metadata, { a: "b", c: "d" });
  });

  test("the polling helpers wait for the run", async () => {
    const { thread, body } = await chatWith("call:weather", { tools: [weather] });
    const started = Date.now();
    const waiting = await threads.runs.createAndPoll(thread.id, body);
    assert.equal(waiting.status, "requires_action");
    assert.equal(waiting.required_action.type, "submit_tool_outputs");
    const run = await submitAndPoll(client, thread.id, waiting.id, outputsOf(waiting, "It is cold."));
    assert.equal(run.status, "completed");
    assert.equal((await saidIn(thread)).at(-1), "It is cold.");
    const other = await threads.createAndRunPoll({
      ...body,
      model: "text:2",
      thread: { messages: [{ role: "user", content: "x" }] },
    });
    assert.deepEqual([other.status, other.usage.completion_tokens], ["completed", 2]);
    // Left to itself the SDK waits for five seconds each time.
    assert.ok(Date.now() - started < 5000);
    const [message, tools] = await stepsOf(client, thread.id, run.id);
    assert.deepEqual([message.type, tools.type, tools.status], ["message_creation", "tool_calls", "completed"]);
    assert.equal(tools.step_details.tool_calls[0].function.output, "It is cold.");
    assert.deepEqual(await retrieveStep(client, thread.id, run.id, tools.id), tools);
  });

  test("a stream tells of everything, and builds what was said", async () => {
    const { thread, body } = await chatWith("text:3");
    const told = [];
    const stream = threads.runs
      .stream(thread.id, body)
      .on("runStepCreated", (step) => told.push(["runStepCreated", step.status]))
      .on("messageCreated", (message) => told.push(["messageCreated", message.content.length]))
      .on("textCreated", () => told.push(["textCreated"]))
      .on("textDelta", (delta) => told.push(["textDelta", delta.value]))
      .on("textDone", (text) => told.push(["textDone", text.value]))
      .on("messageDone", (message) => told.push(["messageDone", message.status]))
      .on("runStepDone", (step) => told.push(["runStepDone", step.status]));
    const run = await stream.finalRun();
    assert.deepEqual(told, [
      ["runStepCreated", "in_progress"],
      ["messageCreated", 0],
      ["textCreated"],
      ["textDelta", "Words "],
      ["textDelta", "that "],
      ["textDelta", "a "],
      ["textDone", "Words that a "],
      ["messageDone", "completed"],
      ["runStepDone", "completed"],
    ]);
    assert.deepEqual(await retrieveRun(client, thread.id, run.id), run);
    const [message] = await stream.finalMessages();
    assert.equal(message.content[0].text.value, "Words that a ");
    const [step] = await stream.finalRunSteps();
    assert.equal(step.step_details.message_creation.message_id, message.id);
  });

  test("a stream is iterated", async () => {
    // So slow that signs of life come in between.
    const { thread, body } = await chatWith("text:2@5");
    const wrapped = [];
    for await (const event of threads.runs.stream(thread.id, body)) wrapped.push(event.event);
    const raw = [];
    for await (const event of await threads.runs.create(thread.id, { ...body, stream: true })) raw.push(event.event);
    assert.deepEqual(wrapped, [
      "thread.run.created",
      "thread.run.queued",
      "thread.run.in_progress",
      "thread.run.step.created",
      "thread.run.step.in_progress",
      "thread.message.created",
      "thread.message.in_progress",
      "thread.message.delta",
      "thread.message.delta",
      "thread.message.completed",
      "thread.run.step.completed",
      "thread.run.completed",
    ]);
    assert.deepEqual(raw, wrapped);
  });

  test("a stream stops for tools and goes on with their outputs", async () => {
    const { thread, body } = await chatWith("call:weather,time", { tools: [weather] });
    const calls = [];
    const stream = threads.runs
      .stream(thread.id, body)
      .on("toolCallCreated", (call) => calls.push(["created", call.function.name]))
      .on("toolCallDone", (call) => calls.push(["done", call.function.name, call.function.arguments]));
    const waiting = await stream.finalRun();
    assert.equal(waiting.status, "requires_action");
    assert.deepEqual(calls, [
      ["created", "weather"],
      ["done", "weather", "{}"],
      ["created", "time"],
      ["done", "time", "{}"],
    ]);
    const rest = submitStream(client, thread.id, waiting.id, outputsOf(waiting, "It is cold."));
    const texts = [];
    rest.on("textDelta", (delta) => texts.push(delta.value));
    assert.equal((await rest.finalRun()).status, "completed");
    assert.equal(texts.join(""), "It is cold.");
    const [message] = await rest.finalMessages();
    assert.equal(message.content[0].text.value, "It is cold.");
  });

  test("a thread is created in the stream", async () => {
    const { body } = await chatWith("text:2");
    const names = [];
    const stream = threads.createAndRunStream({ ...body, thread: { messages: [{ role: "user", content: "Hi" }] } });
    stream.on("event", ({ event }) => names.push(event));
    assert.equal((await stream.finalRun()).status, "completed");
    assert.deepEqual(names.slice(0, 2), ["thread.created", "thread.run.created"]);
  });

  test("each ending of a run ends a stream in good order", async () => {
    for (const [model, code] of [
      ["status:400", "server_error"],
      ["cut:2", "server_error"],
    ]) {
      const { thread, body } = await chatWith(model);
      const run = await threads.runs.stream(thread.id, body).finalRun();
      assert.deepEqual([run.status, run.last_error.code], ["failed", code]);
    }
    const { thread, body } = await chatWith("silence:2");
    const stream = threads.runs.stream(thread.id, body);
    stream.on("textDelta", async (delta) => {
      if (delta.value === "that ") await cancelRun(client, thread.id, stream.currentRun().id);
    });
    const ended = [];
    stream.on("messageDone", ({ status, content }) => ended.push([status, content[0].text.value]));
    assert.equal((await stream.finalRun()).status, "cancelled");
    assert.deepEqual(ended, [["incomplete", "Words that "]]);
  });

  test("a busy thread refuses runs and messages, and a run that is over no longer ends", async () => {
    const { thread, body } = await chatWith("silence:1");
    const run = await threads.runs.create(thread.id, body);
    const second = await refusal(OpenAI.BadRequestError, () => threads.runs.create(thread.id, body));
    assert.match(second.message, new RegExp(`Thread ${thread.id} already has an active run ${run.id}\\.`));
    const added = await refusal(OpenAI.BadRequestError, () =>
      threads.messages.create(thread.id, { role: "user", content: "x" }),
    );
    assert.match(added.message, new RegExp(`Can't add messages to ${thread.id} while a run ${run.id} is active\\.`));
    assert.equal((await cancelRun(client, thread.id, run.id)).status, "cancelling");
    const again = await refusal(OpenAI.BadRequestError, () => cancelRun(client, thread.id, run.id));
    assert.match(again.message, /Cannot cancel run with status 'cancelled'\./);
    const missing = await refusal(OpenAI.NotFoundError, () => retrieveRun(client, thread.id, "run_x"));
    assert.match(missing.message, /No run found with id 'run_x'\./);
  });
});

describe("lists", () => {
  test("messages are listed newest first and twenty at a time", async () => {
    const [thread, ids] = await threadWithMessages(21);
    const page = await threads.messages.list(thread.id);
    assert.deepEqual(
      page.data.map((message) => message.id),
      ids.slice(1).reverse(),
    );
    assert.ok(page.hasNextPage());
    const last = await page.getNextPage();
    assert.deepEqual(
      last.data.map((message) => message.id),
      [ids[0]],
    );
    assert.ok(!last.hasNextPage());
  });

  test("walking through pages meets every message once", async () => {
    const [thread, ids] = await threadWithMessages(7);
    for (const limit of [3, 7]) {
      assert.deepEqual(await idsOf(threads.messages.list(thread.id, { order: "asc", limit })), ids);
      assert.deepEqual(await idsOf(threads.messages.list(thread.id, { order: "desc", limit })), ids.toReversed());
    }
  });

  test("cursors bound a page on either side", async () => {
    const [thread, ids] = await threadWithMessages(6);
    const listed = async (query) => {
      const { data } = await threads.messages.list(thread.id, query);
      return data.map((message) => ids.indexOf(message.id));
    };
    assert.deepEqual(await listed({ order: "asc", after: ids[1], limit: 2 }), [2, 3]);
    assert.deepEqual(await listed({ order: "desc", after: ids[4], limit: 2 }), [3, 2]);
    assert.deepEqual(await listed({ order: "asc", before: ids[4], limit: 2 }), [2, 3]);
    assert.deepEqual(await listed({ order: "desc", before: ids[1], limit: 2 }), [3, 2]);
    assert.deepEqual(await listed({ order: "asc", after: ids[1], before: ids[4] }), [2, 3]);
  });

  test("a thread without messages, and a run that nobody knows, have an empty list", async () => {
    const [thread] = await threadWithMessages(1);
    assert.deepEqual(await idsOf(threads.messages.list(thread.id, { run_id: "run_unknown" })), []);
    const empty = await threads.create();
    assert.deepEqual(await idsOf(threads.messages.list(empty.id)), []);
  });
});

describe("errors", () => {
  test("what is missing is not found", async () => {
    const error = await refusal(OpenAI.NotFoundError, () => threads.retrieve("thread_missing"));
    assert.deepEqual(
      [error.status, error.type, error.code, error.param],
      [404, "invalid_request_error", null, null],
    );
    assert.match(error.message, /No thread found with id 'thread_missing'\./);
    const thread = await threads.create();
    const other = await refusal(OpenAI.NotFoundError, () => retrieveMessage(client, thread.id, "msg_missing"));
    assert.match(other.message, /No message found with id 'msg_missing'\./);
  });

  test("a bad request names the parameter and a code", async () => {
    const thread = await threads.create();
    const tooMany = await refusal(OpenAI.BadRequestError, () => threads.messages.list(thread.id, { limit: 101 }));
    assert.deepEqual([tooMany.status, tooMany.code, tooMany.param], [400, "integer_above_max_value", "limit"]);
    const missing = await refusal(OpenAI.BadRequestError, () => threads.create({ messages: [{ role: "user" }] }));
    assert.deepEqual([missing.code, missing.param], ["missing_required_parameter", "messages[0].content"]);
    const untrue = await refusal(OpenAI.BadRequestError, () => threads.create({ metadata: { modified: true } }));
    assert.deepEqual([untrue.code, untrue.param], ["invalid_type", "metadata.modified"]);
  });

  test("a wrong key opens nothing", async () => {
    const stranger = new OpenAI({ ...options, apiKey: "sk-wrong" });
    const error = await refusal(OpenAI.AuthenticationError, () => stranger.beta.threads.create());
    assert.deepEqual([error.status, error.code], [401, "invalid_api_key"]);
  });

  test("objects and errors have the id of their request", async () => {
    const thread = await threads.create();
    assert.match(thread._request_id, /^req_[0-9a-f]{32}$/);
    const error = await refusal(OpenAI.NotFoundError, () => threads.retrieve("thread_missing"));
    assert.match(requestIdOf(error), /^req_[0-9a-f]{32}$/);
    assert.notEqual(requestIdOf(error), thread._request_id);
  });
});
