// Assistants: which there are, which one answers, and the form that makes or changes one.

import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { call, query } from "./api";
import { FormEnd, useSaving } from "./formend";
import { useModal } from "./modal";
import { announce, complain } from "./notices";
import type { Assistant, Page, Tool } from "./wire";

const CHOSEN = "threadkeep.assistant";
const PAGES_MAX = 10;
const FUNCTION = `{
  "name": "get_weather",
  "description": "The weather in a city",
  "parameters": {
    "type": "object",
    "properties": { "city": { "type": "string" } },
    "required": ["city"]
  }
}`;

export const assistants = signal<readonly Assistant[]>([]);
export const areLoaded = signal(false);
export const chosenId = signal(localStorage.getItem(CHOSEN) ?? "");
// The assistant in the form; `new`: one that does not exist yet; null: the form is closed.
const inForm = signal<Assistant | "new" | null>(null);
const models = signal<readonly string[]>([]);

export const chosen = (): Assistant | undefined => assistants.value.find(({ id }) => id === chosenId.value);
export const nameOf = (assistant: Assistant): string => assistant.name || assistant.model;

export function choose(id: string): void {
  chosenId.value = id;
  localStorage.setItem(CHOSEN, id);
}

/** Chooses the assistant that has answered here before, if it still exists. */
export function chooseIfThere(id: string): void {
  if (assistants.value.some((assistant) => assistant.id === id)) choose(id);
}

let loading: Promise<void> = Promise.resolve();

/** The assistant that answers next; without one, the form to make one is opened. */
export async function answering(): Promise<string | null> {
  // Somebody may be faster than the list.
  await loading.catch(() => undefined);
  const assistant = chosen();
  if (!assistant) openForm("new");
  return assistant?.id ?? null;
}

export function loadAssistants(): Promise<void> {
  loading = loadAll();
  return loading;
}

async function loadAll(): Promise<void> {
  const all: Assistant[] = [];
  let after: string | null = null;
  for (let page = 0; page < PAGES_MAX; page++) {
    const asked: string = query({ limit: 100, after });
    const { data, has_more, last_id }: Page<Assistant> = await call("GET", `/assistants${asked}`);
    all.push(...data);
    after = last_id;
    if (!has_more) break;
  }
  assistants.value = all;
  areLoaded.value = true;
  if (!chosen() && all[0]) choose(all[0].id);
}

export function openForm(assistant: Assistant | "new"): void {
  inForm.value = assistant;
  call<{ data: { id: string }[] }>("GET", "/models")
    .then(({ data }) => {
      models.value = data.map(({ id }) => id);
    })
    .catch(complain);
}

export function AssistantPicker() {
  if (!areLoaded.value) return null;
  const current = chosen();
  if (!assistants.value.length) {
    return (
      <button type="button" class="quiet" onClick={() => openForm("new")}>
        Make an assistant
      </button>
    );
  }
  return (
    <span class="picker">
      <select
        aria-label="Assistant"
        value={current?.id}
        onChange={(event) => {
          const { value } = event.currentTarget;
          if (value !== "new") return choose(value);
          event.currentTarget.value = chosenId.value;
          openForm("new");
        }}
      >
        {assistants.value.map((assistant) => (
          <option key={assistant.id} value={assistant.id}>
            {nameOf(assistant)}
          </option>
        ))}
        <option value="new">New assistant…</option>
      </select>
      {current && (
        <button type="button" class="quiet" onClick={() => openForm(current)}>
          Edit
        </button>
      )}
    </span>
  );
}

export function AssistantForm() {
  const subject = inForm.value;
  return subject && <Form key={subject === "new" ? "new" : subject.id} subject={subject} />;
}

function Form({ subject }: { subject: Assistant | "new" }) {
  const close = (): void => {
    inForm.value = null;
  };
  const dialog = useModal(close);
  const known = subject === "new" ? null : subject;
  const [functions, setFunctions] = useState<string[]>(() =>
    (known?.tools ?? []).filter((tool) => tool.function).map((tool) => JSON.stringify(tool.function, null, 2)),
  );
  const [others, setOthers] = useState<Tool[]>(() => (known?.tools ?? []).filter((tool) => !tool.function));

  const { problem, isSaving, onSubmit } = useSaving(async (form) => {
    const body = bodyOf(form, functions, others);
    const saved = await call<Assistant>("POST", known ? `/assistants/${known.id}` : "/assistants", { body });
    assistants.value = known
      ? assistants.value.map((other) => (other.id === saved.id ? saved : other))
      : [saved, ...assistants.value];
    choose(saved.id);
    announce(`Saved ${nameOf(saved)}`);
    close();
  });

  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="assistant-title">
      <form onSubmit={onSubmit}>
        <h2 id="assistant-title">{known ? "Edit assistant" : "New assistant"}</h2>
        <label>
          Name
          <input name="name" maxLength={256} defaultValue={known?.name ?? ""} autoFocus />
        </label>
        <label>
          Model
          <input
            name="model"
            required
            list="models"
            autoComplete="off"
            key={known ? "" : models.value[0]}
            defaultValue={known?.model ?? models.value[0] ?? ""}
          />
        </label>
        <datalist id="models">
          {models.value.map((model) => (
            <option key={model} value={model} />
          ))}
        </datalist>
        <label>
          Instructions
          <textarea name="instructions" rows={5} defaultValue={known?.instructions ?? ""} />
        </label>
        <label class="short">
          Temperature
          <input name="temperature" type="number" min="0" max="2" step="0.1" defaultValue={String(known?.temperature ?? 1)} />
        </label>
        <fieldset>
          <legend>Functions</legend>
          {functions.map((text, index) => (
            <div class="function" key={index}>
              <textarea
                aria-label={`Function ${index + 1}, as JSON`}
                class="mono"
                rows={6}
                spellcheck={false}
                value={text}
                onInput={(event) => setFunctions(functions.with(index, event.currentTarget.value))}
              />
              <button type="button" class="quiet" onClick={() => setFunctions(functions.toSpliced(index, 1))}>
                Remove function {index + 1}
              </button>
            </div>
          ))}
          <button type="button" class="quiet" onClick={() => setFunctions([...functions, FUNCTION])}>
            Add a function
          </button>
        </fieldset>
        {others.length > 0 && (
          <fieldset>
            <legend>Other tools</legend>
            {others.map((tool, index) => (
              <div class="line" key={index}>
                <code>{tool.type}</code>
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Remove ${tool.type}`}
                  onClick={() => setOthers(others.toSpliced(index, 1))}
                >
                  Remove
                </button>
              </div>
            ))}
          </fieldset>
        )}
        <FormEnd problem={problem} action="Save" isHeld={isSaving} onCancel={close} />
      </form>
    </dialog>
  );
}

function bodyOf(form: FormData, functions: string[], others: Tool[]): Record<string, unknown> {
  const text = (name: string): string => String(form.get(name) ?? "").trim();
  return {
    name: text("name") || null,
    model: text("model"),
    instructions: text("instructions") || null,
    temperature: Number(text("temperature") || 1),
    tools: [...others, ...functions.map(functionOf)],
  };
}

function functionOf(text: string, index: number): Tool {
  try {
    return { type: "function", function: JSON.parse(text) as { name: string } };
  } catch {
    throw new Error(`Function ${index + 1} is not JSON.`);
  }
}
