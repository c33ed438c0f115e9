"""One question, one answer."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["OPENAI_BASE_URL"])

answer = client.chat.completions.create(
    model=os.environ["MODEL"],
    messages=[
        {"role": "system", "content": "You answer in one sentence."},
        {"role": "user", "content": "How does quicksort work?"},
    ],
)

print(answer.choices[0].message.content)
print(f"({answer.usage.prompt_tokens} tokens in, {answer.usage.completion_tokens} out)")
