"""Thinking, which is on unless you switch it off: the thought comes in a field of its own, not in the answer."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["OPENAI_BASE_URL"])
question = {"role": "user", "content": "Solve x² + 5x + 6 = 0."}

thoughtful = client.chat.completions.create(model=os.environ["MODEL"], messages=[question])
message = thoughtful.choices[0].message
# Neither field is OpenAI's own. SGLang calls it reasoning_content; vLLM did too until 0.16, and now calls it reasoning.
thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
print("thought:", thought)
print("answer:", message.content)
print("tokens:", thoughtful.usage.completion_tokens)

direct = client.chat.completions.create(
    model=os.environ["MODEL"],
    messages=[question],
    # An argument of the model's chat template, which OpenAI's interface does not know.
    extra_body={"chat_template_kwargs": {"enable_thinking": False}},
)
message = direct.choices[0].message
thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
print("thought without thinking:", thought)
print("answer without thinking:", message.content)
print("tokens without thinking:", direct.usage.completion_tokens)
