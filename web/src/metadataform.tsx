// The form for all metadata of a thread or a message. It sends what was changed, and leaves alone what others change.

import { useEffect, useRef, useState } from "preact/hooks";
import { call, wordsOf } from "./api";
import { FormEnd, useSaving } from "./formend";
import { subject, type Described, type Subject } from "./metadata";
import { useModal } from "./modal";
import { announce } from "./notices";
import { amount } from "./times";
import type { Metadata } from "./wire";

const PAIRS_MAX = 16;
const KEY_CHARACTERS_MAX = 64;
const VALUE_CHARACTERS_MAX = 512;

interface Pair {
  id: number;
  key: string;
  value: string;
}

let lastId = 0;
const pairOf = (key = "", value = ""): Pair => ({ id: ++lastId, key, value });

export function MetadataForm() {
  return subject.value && <Form key={subject.value.path} subject={subject.value} />;
}

function Form({ subject: { title, path, onSaved } }: { subject: Subject }) {
  const close = (): void => {
    subject.value = null;
  };
  const dialog = useModal(close);
  const [before, setBefore] = useState<Metadata | null>(null);
  const [pairs, setPairs] = useState<readonly Pair[]>([]);
  const { problem, setProblem, isSaving, onSubmit } = useSaving(async () => {
    const body = { metadata: patchOf(before!, pairs) };
    if (Object.keys(body.metadata).length) onSaved(await call<Described>("POST", path, { body }));
    announce("Saved");
    close();
  });
  useEffect(() => {
    call<Described>("GET", path).then(
      ({ metadata }) => {
        setBefore(metadata);
        const known = Object.entries(metadata).map(([key, value]) => pairOf(key, value));
        setPairs(known.length ? known : [pairOf()]);
      },
      (error: unknown) => setProblem(wordsOf(error)),
    );
  }, []);
  useEffect(() => {
    if (before) dialog.current?.querySelector<HTMLElement>(".pair textarea")?.focus();
  }, [before]);

  const change = (changed: readonly Pair[]): void => {
    setProblem("");
    setPairs(changed);
  };
  const remove = (index: number): void => {
    change(pairs.toSpliced(index, 1));
    announce(pairs[index]!.key ? `Removed ${pairs[index]!.key}` : "Removed");
    // Who uses the keyboard must not fall out of the form.
    dialog.current?.querySelector<HTMLElement>(".add")?.focus();
  };

  const { wrong, words } = before ? faultOf(pairs, before) : { wrong: null, words: "" };
  const used = pairs.filter(isUsed).length;
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="metadata-title">
      <form onSubmit={onSubmit}>
        <div class="line">
          <h2 id="metadata-title">{title}</h2>
          {before && (
            <span class="muted small aside">
              {used} of {PAIRS_MAX} pairs
            </span>
          )}
        </div>
        {before && (
          <div class="pairs">
            {pairs.map((pair, index) => (
              <PairRow
                key={pair.id}
                pair={pair}
                number={index + 1}
                isNew={!Object.hasOwn(before, pair.key)}
                isWrong={wrong === pair}
                onChange={(changed) => change(pairs.with(index, changed))}
                onRemove={() => remove(index)}
              />
            ))}
            <button
              type="button"
              class="quiet add"
              disabled={pairs.length >= PAIRS_MAX}
              onClick={() => change([...pairs, pairOf()])}
            >
              Add a pair
            </button>
          </div>
        )}
        <p class="muted small">
          Keys have at most {KEY_CHARACTERS_MAX} characters, values {VALUE_CHARACTERS_MAX}.
        </p>
        <FormEnd
          problem={words || problem}
          action="Save"
          isHeld={isSaving || !before || words !== ""}
          onCancel={close}
        />
      </form>
    </dialog>
  );
}

interface PairProps {
  pair: Pair;
  number: number;
  isNew: boolean;
  isWrong: boolean;
  onChange: (pair: Pair) => void;
  onRemove: () => void;
}

function PairRow({ pair, number, isNew, isWrong, onChange, onRemove }: PairProps) {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (isNew) field.current?.focus();
  }, []);
  return (
    <div class="pair" role="group" aria-label={`Pair ${number}`}>
      <input
        ref={field}
        aria-label={`Key ${number}`}
        aria-invalid={isWrong}
        placeholder="key"
        class="mono"
        autoComplete="off"
        spellcheck={false}
        value={pair.key}
        onInput={(event) => onChange({ ...pair, key: event.currentTarget.value })}
      />
      <textarea
        aria-label={`Value ${number}`}
        aria-invalid={isWrong}
        placeholder="value"
        class="mono"
        rows={1}
        spellcheck={false}
        value={pair.value}
        onInput={(event) => onChange({ ...pair, value: event.currentTarget.value })}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          event.currentTarget.form?.requestSubmit();
        }}
      />
      <button type="button" class="icon" aria-label={`Remove pair ${number}`} title="Remove" onClick={onRemove}>
        ×
      </button>
    </div>
  );
}

// A row that nothing was written into is none.
const isUsed = ({ key, value }: Pair): boolean => key !== "" || value !== "";

/** The first pair that the API would refuse, and why. */
function faultOf(pairs: readonly Pair[], before: Metadata): { wrong: Pair | null; words: string } {
  const keys = new Set<string>();
  for (const pair of pairs.filter(isUsed)) {
    const words = faultOfPair(pair, keys, before);
    if (words) return { wrong: pair, words };
    keys.add(pair.key);
  }
  return { wrong: null, words: "" };
}

function faultOfPair({ key, value }: Pair, others: Set<string>, before: Metadata): string {
  // As the server counts: an emoji is one.
  const [keyCharacters, valueCharacters] = [[...key].length, [...value].length];
  if (!key && !Object.hasOwn(before, "")) return "Every value needs a key.";
  if (others.has(key)) return `The key “${key}” is there twice.`;
  if (keyCharacters > KEY_CHARACTERS_MAX) {
    return `The key “${key.slice(0, 20)}…” has ${amount(keyCharacters)} characters; ${KEY_CHARACTERS_MAX} are the most.`;
  }
  if (valueCharacters > VALUE_CHARACTERS_MAX) {
    return `The value of “${key}” has ${amount(valueCharacters)} characters; ${VALUE_CHARACTERS_MAX} are the most.`;
  }
  return "";
}

/** What turns the metadata into these pairs. A key that is no longer there is null, which removes it. */
function patchOf(before: Metadata, pairs: readonly Pair[]): Record<string, string | null> {
  const after = new Map(pairs.filter(isUsed).map(({ key, value }) => [key, value]));
  const removed = Object.keys(before).filter((key) => !after.has(key));
  const changed = [...after].filter(([key, value]) => before[key] !== value);
  return Object.fromEntries([...removed.map((key): [string, null] => [key, null]), ...changed]);
}
