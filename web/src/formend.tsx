// How a form in a dialog ends: what is wrong with it, and its buttons.

interface Props {
  problem: string;
  // What its main button is called.
  action: string;
  isHeld: boolean;
  onCancel: () => void;
}

export function FormEnd({ problem, action, isHeld, onCancel }: Props) {
  return (
    <>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <footer>
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={isHeld}>
          {action}
        </button>
      </footer>
    </>
  );
}
