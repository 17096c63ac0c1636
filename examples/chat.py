"""A chat in the terminal. The thread stays on the server: name its id to go on another day.

    python chat.py [thread_...]

Needs `pip install openai` and a running server (`make run`). The built-in model `echo` will do; name another with
`MODEL=llama3.1`. Ctrl+C cancels an answer, Ctrl+D ends the chat.
"""

import os
import sys
import warnings

import openai

warnings.filterwarnings("ignore", message="(The Assistants API is )?deprecated")

client = openai.OpenAI(
    base_url=os.environ.get("THREADKEEP_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("THREADKEEP_KEY", "not-needed"),
)


def answer(thread_id: str, assistant_id: str, text: str) -> None:
    """Says `text` in the thread and prints what comes back."""
    # Also if somebody else is just being answered in this thread.
    client.beta.threads.messages.create(thread_id, role="user", content=text, extra_body={"if_active": "wait"})
    with client.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant_id) as stream:
        try:
            for piece in stream.text_deltas:
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            if stream.current_run:
                client.beta.threads.runs.cancel(stream.current_run.id, thread_id=thread_id)
            print(" [cancelled]", end="")
        else:
            run = stream.current_run
            if run and run.last_error:
                print(f"[{run.last_error.message}]", end="")
    print()


def main() -> None:
    """Asks for lines until there are no more."""
    assistant = client.beta.assistants.create(model=os.environ.get("MODEL", "echo"), name="Chat")
    if len(sys.argv) > 1:
        thread_id = sys.argv[1]
        for message in client.beta.threads.messages.list(thread_id, order="asc"):
            print(f"{message.role}: {message.content[0].text.value}")
    else:
        thread_id = client.beta.threads.create().id
        print(f"this chat is {thread_id}")
    while True:
        try:
            line = input("user: ")
        except EOFError:
            break
        if line.strip():
            print("assistant: ", end="", flush=True)
            answer(thread_id, assistant.id, line)
    print()


main()
