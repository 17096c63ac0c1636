// What a run did: its steps over time, its tokens, what went wrong, and every event of its log.

import { useEffect, useRef, useState } from "preact/hooks";
import { troubleOf } from "./advice";
import { ask, eventsOf, wordsOf, type StreamEvent } from "./api";
import { pretty } from "./calls";
import type { Conversation } from "./conversation";
import { CopyButton } from "./copy";
import { go } from "./place";
import { amount, duration, fullTime, shortTime } from "./times";
import { isActive, type Run, type Step, type Usage } from "./wire";
import { VirtualList } from "./virtual";

const EVENT_PX = 26;
const EVENTS_SHOWN = 12;
const TAKEN_OVER = /process that executed this step stopped/;

export function RunView({ conversation, runId }: { conversation: Conversation; runId: string }) {
  const runs = conversation.runs.value;
  const run = runs.find(({ id }) => id === runId) ?? runs.at(-1);
  return (
    <aside class="runs" aria-label="Runs">
      <header class="top">
        <h2>Runs</h2>
        {runs.length > 1 && (
          <select
            aria-label="Run"
            value={run?.id}
            onChange={(event) => go(conversation.id, true, event.currentTarget.value)}
          >
            {runs.toReversed().map(({ id, created_at, status }) => (
              <option key={id} value={id}>
                {shortTime(created_at)}, {wordOf(status)}
              </option>
            ))}
          </select>
        )}
        <button
          type="button"
          class="icon"
          aria-label="Close runs"
          onClick={() => {
            go(conversation.id);
            requestAnimationFrame(() => document.getElementById("runs")?.focus());
          }}
        >
          ×
        </button>
      </header>
      {run ? <Details key={run.id} conversation={conversation} run={run} /> : <p class="muted pad">No run yet.</p>}
    </aside>
  );
}

const wordOf = (status: string): string => status.replaceAll("_", " ");

function Details({ conversation, run }: { conversation: Conversation; run: Run }) {
  const steps = conversation.steps.value.get(run.id);
  const [problem, setProblem] = useState("");
  const [now, setNow] = useState(() => Date.now() / 1000);
  const isOver = !isActive(run) && run.status !== "requires_action";
  useEffect(() => {
    // A run that is over will not change; one that is under way tells of its steps itself.
    conversation.loadSteps(run.id).catch((error: unknown) => setProblem(wordsOf(error)));
  }, [isOver]);
  useEffect(() => {
    if (isOver) return undefined;
    const timer = setInterval(() => setNow(Date.now() / 1000), 1000);
    return () => clearInterval(timer);
  }, [isOver]);

  const trouble = troubleOf(run);
  const attempts = 1 + (steps ?? []).filter(isTakenOver).length;
  const end = endOf(run) ?? Math.max(now, run.created_at);
  const waited = (steps?.[0]?.created_at ?? run.created_at) - run.created_at;
  return (
    <div class="pad details">
      <dl>
        <Fact name="Status">
          <span class={`status ${run.status}`}>{wordOf(run.status)}</span>
        </Fact>
        <Fact name="Model">
          <code>{run.model}</code>
        </Fact>
        <Fact name="Started">{fullTime(run.created_at)}</Fact>
        <Fact name="Took">
          {duration(Math.round(end - run.created_at))}
          {waited > 0 ? `, the first ${duration(waited)} waiting` : ""}
        </Fact>
        {run.usage && run.usage.total_tokens > 0 && (
          <Fact name="Tokens">
            <Tokens usage={run.usage} />
          </Fact>
        )}
        {attempts > 1 && (
          <Fact name="Attempts">
            {attempts}: a process stopped {attempts > 2 ? `${attempts - 1} times` : "once"}, and another went on.
          </Fact>
        )}
        <Fact name="Id">
          <code>{run.id}</code>
        </Fact>
      </dl>
      {trouble && (
        <section class="trouble" aria-label={trouble.title}>
          <h3>{trouble.title}</h3>
          <p>{trouble.cause}</p>
          <p class="muted">{trouble.advice}</p>
        </section>
      )}
      <h3>Steps</h3>
      {problem && <p class="problem">{problem}</p>}
      {steps?.length === 0 && <p class="muted">None.</p>}
      <ol class="timeline">
        {(steps ?? []).map((step, index) => (
          <StepRow key={step.id} step={step} number={index + 1} from={run.created_at} to={end} now={now} />
        ))}
      </ol>
      <EventLog run={run} />
    </div>
  );
}

const isTakenOver = (step: Step): boolean => TAKEN_OVER.test(step.last_error?.message ?? "");

const endOf = (run: Run): number | null =>
  run.completed_at ?? run.failed_at ?? run.cancelled_at ?? (run.status === "expired" ? run.expires_at : null);

const endOfStep = (step: Step): number | null =>
  step.completed_at ?? step.failed_at ?? step.cancelled_at ?? step.expired_at ?? null;

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Tokens({ usage }: { usage: Usage }) {
  return (
    <>
      {amount(usage.total_tokens)}{" "}
      <span class="muted">
        ({amount(usage.prompt_tokens)} in, {amount(usage.completion_tokens)} out)
      </span>
    </>
  );
}

interface StepProps {
  step: Step;
  number: number;
  from: number;
  to: number;
  now: number;
}

function StepRow({ step, number, from, to, now }: StepProps) {
  const end = Math.max(endOfStep(step) ?? now, step.created_at);
  const whole = Math.max(to - from, 1);
  const left = Math.min((step.created_at - from) / whole, 0.97);
  // Times are whole seconds: what is shorter still gets a mark.
  const width = Math.min(Math.max((end - step.created_at) / whole, 0.03), 1 - left);
  const calls = step.step_details.tool_calls;
  return (
    <li>
      <div class="line">
        <span>
          {number}. {step.type === "tool_calls" ? "Function calls" : "Message"}
        </span>
        <span class="muted">
          {step.status === "completed" ? "" : `${wordOf(step.status)}, `}
          {duration(Math.round(end - step.created_at))}
          {step.usage ? `, ${amount(step.usage.total_tokens)} tokens` : ""}
        </span>
      </div>
      <div class="track" aria-hidden="true">
        <div class={`span ${step.status}`} style={{ left: `${left * 100}%`, width: `${width * 100}%` }} />
      </div>
      {calls?.map((call) => (
        <details key={call.id} class="call">
          <summary>
            <code>{call.function.name}</code> <span class="muted brief">{call.function.arguments}</span>
          </summary>
          <pre tabIndex={0}>{pretty(call.function.arguments)}</pre>
          {typeof call.function.output === "string" && <pre tabIndex={0}>{pretty(call.function.output)}</pre>}
        </details>
      ))}
      {step.last_error && <p class="muted small">{step.last_error.message}</p>}
    </li>
  );
}

function EventLog({ run }: { run: Run }) {
  const [isOpen, setOpen] = useState(false);
  const [withDeltas, setWithDeltas] = useState(true);
  const [problem, setProblem] = useState("");
  const [shown, setShown] = useState<StreamEvent | null>(null);
  const [, setCount] = useState(0);
  const events = useRef<StreamEvent[]>([]);

  useEffect(() => {
    if (!isOpen) return undefined;
    const stop = new AbortController();
    events.current = [];
    setProblem("");
    const read = async (): Promise<void> => {
      const path = `/threads/${run.thread_id}/runs/${run.id}?stream=true&starting_after=0`;
      for await (const some of eventsOf(await ask("GET", path, { signal: stop.signal }))) {
        events.current.push(...some.filter(({ name }) => name !== "done"));
        setCount(events.current.length);
      }
    };
    read().catch((error: unknown) => {
      if (!stop.signal.aborted) setProblem(wordsOf(error));
    });
    return () => stop.abort();
    // A run that waited for its client goes on in a new stream.
  }, [isOpen, run.status === "requires_action"]);

  const rows = withDeltas ? events.current : events.current.filter(({ name }) => !name.endsWith(".delta"));
  return (
    <details class="log" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <h3>Event log</h3> {isOpen && <span class="muted">{amount(events.current.length)} events</span>}
      </summary>
      {problem && <p class="problem">{problem}</p>}
      <label class="check">
        <input type="checkbox" checked={withDeltas} onChange={(event) => setWithDeltas(event.currentTarget.checked)} />{" "}
        Show deltas
      </label>
      <VirtualList
        class="events"
        role="list"
        aria-label="Events"
        tabIndex={0}
        style={{ height: `${Math.min(rows.length, EVENTS_SHOWN) * EVENT_PX + 2}px` }}
        count={rows.length}
        rowHeight={EVENT_PX}
        row={(index) => {
          const event = rows[index]!;
          return (
            <div role="listitem" key={event.seq} class="event">
              <button type="button" aria-pressed={shown === event} onClick={() => setShown(shown === event ? null : event)}>
                <span class="muted">{event.seq}</span> {event.name.replace(/^thread\./, "")}{" "}
                <span class="muted">{briefOf(event)}</span>
              </button>
            </div>
          );
        }}
      />
      {shown && (
        <section aria-label={`Event ${shown.seq}`}>
          <div class="line">
            <strong>
              {shown.seq} {shown.name}
            </strong>
            <CopyButton text={shown.data} />
          </div>
          <pre tabIndex={0}>{pretty(shown.data)}</pre>
        </section>
      )}
    </details>
  );
}

/** What a delta adds. */
function briefOf({ name, data }: StreamEvent): string {
  if (!name.endsWith(".delta")) return "";
  const found = /"(?:value|arguments|refusal)":("(?:[^"\\]|\\.)*")/.exec(data)?.[1];
  return found ?? "";
}
