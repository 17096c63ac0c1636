"""Keeps a conversation and reads it back.

Needs a running server (`make run`) and `pip install openai`.
"""

import os
import warnings

import openai

warnings.filterwarnings("ignore", message="The Assistants API is deprecated")

client = openai.OpenAI(
    base_url=os.environ.get("THREADKEEP_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("THREADKEEP_KEY", "not-needed"),
)

thread = client.beta.threads.create(
    metadata={"user": "ada", "topic": "travel"},
    messages=[{"role": "user", "content": "I want to go to Lisbon."}],
)
client.beta.threads.messages.create(thread.id, role="assistant", content="In spring or in autumn?")
client.beta.threads.messages.create(thread.id, role="user", content="In autumn.")

print(thread.id)
for message in client.beta.threads.messages.list(thread.id, order="asc"):
    print(f"{message.role}: {message.content[0].text.value}")
