"""An assistant that calls a function of this program, twice if it likes, and uses what it gave.

Needs `pip install openai` and a running server that has a model which can call functions:
`threadkeep serve --upstream-url http://127.0.0.1:11434/v1 --upstream-model llama3.1`.
"""

import json
import os
import warnings
from typing import Any

import openai
from openai.types.beta.threads import RequiredActionFunctionToolCall

warnings.filterwarnings("ignore", message="(The Assistants API is )?deprecated")

client = openai.OpenAI(
    base_url=os.environ.get("THREADKEEP_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("THREADKEEP_KEY", "not-needed"),
)


def weather(city: str) -> dict[str, Any]:
    """Stands for a function that knows."""
    return {"city": city, "sky": "rain", "degrees": 9}


FUNCTIONS = {"weather": weather}


def output_of(call: RequiredActionFunctionToolCall) -> str:
    """What the called function gives. A model can make mistakes: tell it, and it can mend them."""
    try:
        function = FUNCTIONS[call.function.name]
        return json.dumps(function(**json.loads(call.function.arguments)))
    except (KeyError, TypeError, ValueError) as error:
        return f"That went wrong: {error!r}"


assistant = client.beta.assistants.create(
    model=os.environ.get("MODEL", "gpt-4o"),
    instructions="You answer in one sentence.",
    tools=[
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "The weather in a city now",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                },
            },
        }
    ],
)

run = client.beta.threads.create_and_run_poll(
    assistant_id=assistant.id,
    thread={"messages": [{"role": "user", "content": "Do I need an umbrella in Oslo?"}]},
)
while run.status == "requires_action" and run.required_action:
    calls = run.required_action.submit_tool_outputs.tool_calls
    for call in calls:
        print(f"the model calls {call.function.name}({call.function.arguments})")
    run = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=run.thread_id,
        # All of them in one request.
        tool_outputs=[{"tool_call_id": call.id, "output": output_of(call)} for call in calls],
    )

if run.status != "completed":
    raise SystemExit(f"the run is {run.status}: {run.last_error}")
answer = client.beta.threads.messages.list(run.thread_id).data[0]
print(f"assistant: {answer.content[0].text.value}")
