// Function calls of a step: what the model asked for, and what came back, or a form for it.

import { useState } from "preact/hooks";
import type { Conversation } from "./conversation";
import { complain } from "./notices";
import type { FunctionCall, Run, Step } from "./wire";

export function Calls({ conversation, run, step }: { conversation: Conversation; run: Run; step: Step }) {
  const calls = step.step_details.tool_calls ?? [];
  const isAwaited = run.status === "requires_action" && step.status === "in_progress";
  const [outputs, setOutputs] = useState<ReadonlyMap<string, string>>(new Map());
  return (
    <form
      class={isAwaited ? "calls awaited" : "calls"}
      aria-label="Function calls"
      onSubmit={(event) => {
        event.preventDefault();
        conversation.submit(run, outputs).catch(complain);
      }}
    >
      {calls.map((call, index) => (
        <Call
          key={call.id || index}
          call={call}
          isAwaited={isAwaited}
          output={outputs.get(call.id) ?? ""}
          onOutput={(text) => setOutputs(new Map(outputs).set(call.id, text))}
        />
      ))}
      {isAwaited && (
        <footer>
          <button type="submit" class="primary" disabled={conversation.isBusy.value}>
            {calls.length > 1 ? "Send outputs" : "Send output"}
          </button>
        </footer>
      )}
    </form>
  );
}

interface CallProps {
  call: FunctionCall;
  isAwaited: boolean;
  output: string;
  onOutput: (text: string) => void;
}

function Call({ call, isAwaited, output, onOutput }: CallProps) {
  const { name, arguments: written, output: given } = call.function;
  return (
    <details class="call" open={isAwaited}>
      <summary>
        <span class="tag">call</span> <code>{name}</code> <span class="muted brief">{written}</span>
      </summary>
      <Labelled label="Arguments" text={pretty(written)} />
      {isAwaited ? (
        <label>
          Output of {name}
          <textarea
            class="mono"
            rows={3}
            spellcheck={false}
            value={output}
            onInput={(event) => onOutput(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.form?.requestSubmit();
            }}
          />
        </label>
      ) : (
        given !== null && given !== undefined && <Labelled label="Output" text={pretty(given)} />
      )}
    </details>
  );
}

function Labelled({ label, text }: { label: string; text: string }) {
  return (
    <>
      <div class="label">{label}</div>
      <pre tabIndex={0} aria-label={label}>
        {text}
      </pre>
    </>
  );
}

/** JSON with line breaks; anything else as it is. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
