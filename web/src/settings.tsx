// The small menu: colours, the key, and where the docs are.

import { signal } from "@preact/signals";
import { forgetKey, key } from "./api";

const SCHEME = "threadkeep.scheme";
const SCHEMES = ["auto", "light", "dark"] as const;
type Scheme = (typeof SCHEMES)[number];

const scheme = signal((localStorage.getItem(SCHEME) as Scheme | null) ?? "auto");

export function applyScheme(): void {
  document.documentElement.dataset["scheme"] = scheme.value;
}

export function Settings() {
  return (
    <details class="menu" onKeyDown={(event) => event.key === "Escape" && event.currentTarget.removeAttribute("open")}>
      <summary aria-label="Settings" title="Settings">
        ⋯
      </summary>
      <div class="sheet">
        <label>
          Colours
          <select
            value={scheme.value}
            onChange={(event) => {
              scheme.value = event.currentTarget.value as Scheme;
              localStorage.setItem(SCHEME, scheme.value);
              applyScheme();
            }}
          >
            {SCHEMES.map((name) => (
              <option key={name} value={name}>
                {name === "auto" ? "as the system" : name}
              </option>
            ))}
          </select>
        </label>
        {key.value && (
          <button
            type="button"
            class="quiet"
            onClick={() => {
              forgetKey();
              // So that nothing of what it opened stays on the screen.
              location.reload();
            }}
          >
            Forget the key
          </button>
        )}
        <a href="docs" target="_blank" rel="noopener">
          API reference
        </a>
        <dl class="keys small muted">
          <dt>Ctrl+K</dt>
          <dd>search</dd>
          <dt>Ctrl+Shift+O</dt>
          <dd>new thread</dd>
          <dt>Esc</dt>
          <dd>stop the answer</dd>
          <dt>Delete</dt>
          <dd>delete, in the list</dd>
        </dl>
      </div>
    </details>
  );
}
