// Whose metadata is shown in the form for it.

import { signal } from "@preact/signals";
import type { Metadata } from "./wire";

export interface Described {
  metadata: Metadata;
}

export interface Subject {
  title: string;
  // Where the API has it.
  path: string;
  onSaved: (changed: Described) => void;
}

// What the form is open for; null: it is closed.
export const subject = signal<Subject | null>(null);

export function editMetadata<T extends Described>(title: string, path: string, onSaved: (changed: T) => void): void {
  subject.value = { title, path, onSaved: onSaved as (changed: Described) => void };
}
