// The objects of the API, as far as the playground looks at them.

export type Metadata = Record<string, string>;

export interface Thread {
  id: string;
  created_at: number;
  metadata: Metadata;
}

export interface TextPart {
  type: "text";
  text: { value: string };
}

export interface RefusalPart {
  type: "refusal";
  refusal: string;
}

export interface ImagePart {
  type: "image_url" | "image_file";
  image_url?: { url: string };
  image_file?: { file_id: string };
}

export type Part = TextPart | RefusalPart | ImagePart;

export interface Message {
  id: string;
  created_at: number;
  thread_id: string;
  role: "user" | "assistant";
  status: "in_progress" | "completed" | "incomplete";
  content: Part[];
  metadata: Metadata;
  assistant_id: string | null;
  run_id: string | null;
  incomplete_details: { reason: string } | null;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

export interface LastError {
  code: string;
  message: string;
}

export interface FunctionCall {
  id: string;
  type: string;
  function: { name: string; arguments: string; output?: string | null };
}

export interface Step {
  id: string;
  created_at: number;
  run_id: string;
  type: "message_creation" | "tool_calls";
  status: "in_progress" | "cancelled" | "failed" | "completed" | "expired";
  completed_at: number | null;
  cancelled_at: number | null;
  failed_at: number | null;
  expired_at: number | null;
  last_error: LastError | null;
  usage: Usage | null;
  step_details: { message_creation?: { message_id: string }; tool_calls?: FunctionCall[] };
}

export type RunStatus =
  | "queued"
  | "in_progress"
  | "requires_action"
  | "cancelling"
  | "cancelled"
  | "failed"
  | "completed"
  | "incomplete"
  | "expired";

export interface Run {
  id: string;
  created_at: number;
  thread_id: string;
  assistant_id: string;
  status: RunStatus;
  model: string;
  started_at: number | null;
  completed_at: number | null;
  cancelled_at: number | null;
  failed_at: number | null;
  expires_at: number | null;
  last_error: LastError | null;
  incomplete_details: { reason: string } | null;
  required_action: { submit_tool_outputs: { tool_calls: FunctionCall[] } } | null;
  usage: Usage | null;
  tools: Tool[];
}

export interface Tool {
  type: string;
  function?: { name: string; description?: string; parameters?: unknown };
}

export interface Assistant {
  id: string;
  created_at: number;
  name: string | null;
  model: string;
  instructions: string | null;
  temperature: number | null;
  tools: Tool[];
}

export interface Page<T> {
  data: T[];
  first_id: string | null;
  last_id: string | null;
  has_more: boolean;
}

export interface SearchResult {
  thread: Thread;
  message: Message;
  snippet: string;
}

export interface Webhook {
  id: string;
  created_at: number;
  url: string;
  events: string[];
  // Older servers do not say.
  enabled?: boolean;
  old_secret_expires_at?: number | null;
  // Only when it was made.
  secret?: string;
}

export interface Delivery {
  id: string;
  type: string;
  created_at: number;
  // The run it is of; a test is of none, and older servers do not say.
  data?: { id: string; thread_id?: string };
  status: "pending" | "delivered" | "failed";
  attempts: number;
  next_attempt_at: number | null;
  last_attempt_at: number | null;
  status_code: number | null;
  error: string | null;
  last_attempts?: Attempt[];
}

export interface Attempt {
  attempted_at: number;
  duration_ms: number;
  status_code: number | null;
  error: string | null;
}

export interface MessageDelta {
  id: string;
  delta: { content: { index: number; type: string; text?: { value?: string }; refusal?: string }[] };
}

export interface StepDelta {
  id: string;
  delta: {
    step_details: {
      tool_calls: {
        index: number;
        id?: string;
        type: string;
        function: { name?: string; arguments?: string };
      }[];
    };
  };
}

// The statuses in which a run is under way, and those in which its stream has ended.
const ACTIVE = new Set<RunStatus>(["queued", "in_progress", "cancelling"]);

export const isActive = (run: Run): boolean => ACTIVE.has(run.status);

export const textOf = ({ content }: { content: Part[] }): string =>
  content
    .map((part) => (part.type === "text" ? part.text.value : part.type === "refusal" ? part.refusal : ""))
    .filter(Boolean)
    .join("\n\n");
