"""The answer's text as it is generated."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["OPENAI_BASE_URL"])

chunks = client.chat.completions.create(
    model=os.environ["MODEL"],
    messages=[{"role": "user", "content": "A haiku about servers, please."}],
    stream=True,
    stream_options={"include_usage": True},
)

for chunk in chunks:
    # The last chunk has the usage and no choice.
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
    if chunk.usage:
        print(f"\n({chunk.usage.completion_tokens} tokens)")
