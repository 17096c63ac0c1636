// The question for a key.

import { isKeyRemembered, keepKey, keyAsked } from "./api";
import { useModal } from "./modal";

export function KeyQuestion({ onKey }: { onKey: () => void }) {
  return keyAsked.value === null ? null : <Question onKey={onKey} />;
}

function Question({ onKey }: { onKey: () => void }) {
  // It stays, whatever the page: all need the key.
  const dialog = useModal();
  return (
    // There is nothing to do without one.
    <dialog ref={dialog} class="small-dialog" aria-labelledby="key-title" onCancel={(event) => event.preventDefault()}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const form = new FormData(event.currentTarget);
          keepKey(String(form.get("key")).trim(), form.get("remember") !== null);
          onKey();
        }}
      >
        <h2 id="key-title">This server needs a key</h2>
        {keyAsked.value && (
          <p class="problem" role="alert">
            {keyAsked.value}
          </p>
        )}
        <label>
          Key
          <input name="key" type="password" required autoComplete="off" autoFocus />
        </label>
        <label class="check">
          <input name="remember" type="checkbox" defaultChecked={isKeyRemembered()} /> Keep it in this browser
        </label>
        <p class="muted small">
          Otherwise it is forgotten when this tab is closed. Whoever runs the server makes one with{" "}
          <code>threadkeep keys create</code>.
        </p>
        <footer>
          <button type="submit" class="primary">
            Go on
          </button>
        </footer>
      </form>
    </dialog>
  );
}
