"""The older text interface: a prompt is continued; no chat template, no roles, no thinking."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["OPENAI_BASE_URL"])

answer = client.completions.create(
    model=os.environ["MODEL"],
    prompt="The capital of France is",
    max_tokens=24,
    temperature=0,
)
print(answer.choices[0].text.strip())
print("finish reason:", answer.choices[0].finish_reason)
