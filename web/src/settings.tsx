// The small menu: colours, the key, and where the docs are.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { abilities } from "./abilities";
import { forgetKey, key } from "./api";

const SCHEME = "threadkeep.scheme";
const SCHEMES = ["auto", "light", "dark"] as const;
type Scheme = (typeof SCHEMES)[number];

const scheme = signal((localStorage.getItem(SCHEME) as Scheme | null) ?? "auto");

export function applyScheme(): void {
  document.documentElement.dataset["scheme"] = scheme.value;
}

export function Settings() {
  const menu = useRef<HTMLDetailsElement>(null);
  const close = (): void => menu.current?.removeAttribute("open");
  useEffect(() => {
    const closeOutside = ({ target }: Event): void => {
      if (!menu.current?.contains(target as Node)) close();
    };
    document.addEventListener("pointerdown", closeOutside);
    document.addEventListener("focusin", closeOutside);
    return () => {
      document.removeEventListener("pointerdown", closeOutside);
      document.removeEventListener("focusin", closeOutside);
    };
  }, []);
  return (
    <details
      class="menu"
      ref={menu}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        close();
        menu.current?.querySelector("summary")?.focus();
      }}
    >
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
        {abilities.value.webhooks && (
          <a href="#/webhooks" onClick={close}>
            Webhooks
          </a>
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
