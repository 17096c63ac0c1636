// What this server can do beyond what every one can: its own description says so.

import { signal } from "@preact/signals";

interface Description {
  paths: Record<string, unknown>;
  components: { schemas: Record<string, { properties?: Record<string, unknown> }> };
}

export const abilities = signal({ copy: false, search: false, edit: false, webhooks: false, resend: false, rotate: false });

export async function learnAbilities(): Promise<void> {
  try {
    const description = (await (await fetch("openapi.json")).json()) as Description;
    const has = (path: string): boolean => `/v1${path}` in description.paths || path in description.paths;
    abilities.value = {
      copy: has("/threads/{thread_id}/copy"),
      search: has("/threads/search"),
      edit: "content" in (description.components.schemas["MessageUpdateParams"]?.properties ?? {}),
      webhooks: has("/webhooks"),
      resend: has("/webhooks/{webhook_id}/deliveries/{event_id}/resend"),
      rotate: has("/webhooks/{webhook_id}/rotate_secret"),
    };
  } catch {
    // Without it there are fewer buttons, and nothing else is lost.
  }
}
