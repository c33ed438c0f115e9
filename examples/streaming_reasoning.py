"""Thought and answer as they are generated: first all of the thought (grey on a terminal), then the answer."""

import os
import sys

from openai import OpenAI

client = OpenAI(base_url=os.environ["OPENAI_BASE_URL"])
grey, plain = ("\033[90m", "\033[0m") if sys.stdout.isatty() else ("", "")

chunks = client.chat.completions.create(
    model=os.environ["MODEL"],
    messages=[{"role": "user", "content": "Why is √2 irrational?"}],
    stream=True,
)

part = None
for chunk in chunks:
    if not chunk.choices:
        continue
    delta = chunk.choices[0].delta
    # SGLang's name for it, then vLLM's.
    thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
    for name, text, colour in (("thought", thought, grey), ("answer", delta.content, plain)):
        if text:
            if name != part:
                print(f"{plain}\n{name}: " if part else f"{name}: ", end="")
                part = name
            print(f"{colour}{text}", end="", flush=True)
print(plain)
