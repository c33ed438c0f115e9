"""Several questions about one long text, all answered by one replica, which reads the text only once.

Each request repeats the conversation so far. A replica that has seen it keeps its KV cache (SGLang's radix cache,
vLLM's prefix cache) and computes only what is new. Modal's `server` ingress hashes the header Modal-Session-ID to
choose a replica: the same value finds the same one as long as the set of replicas stays. It is a hint and no promise,
so nothing but speed may depend on it. The `web` ingress takes no notice of it.
"""

import os
import time
import uuid

from openai import OpenAI

# One value for each conversation, not one for each user or process: else a single replica gets all the work.
session = os.environ.get("SESSION_ID") or uuid.uuid4().hex
client = OpenAI(base_url=os.environ["OPENAI_BASE_URL"], default_headers={"Modal-Session-ID": session})

text = " ".join(f"Line {number}: the quick brown fox jumps over a lazy dog." for number in range(1, 101))
messages = [{"role": "user", "content": f"{text}\n\nWhich animal jumps?"}]

for question in ("And over which animal?", "What is 6 × 7?", None):
    began = time.monotonic()
    first = None
    answer = ""
    usage = None
    for chunk in client.chat.completions.create(
        model=os.environ["MODEL"],
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    ):
        if chunk.choices and chunk.choices[0].delta.content:
            first = first or time.monotonic() - began
            answer += chunk.choices[0].delta.content
        usage = chunk.usage or usage
    # Told only by engines started with --enable-cache-report (SGLang) or --enable-prompt-tokens-details (vLLM).
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details and details.cached_tokens is not None else "an untold number"
    print(f"{usage.prompt_tokens} tokens in, {cached} of them from the cache, first token after {first:.3f} s")
    if question:
        # The earlier turns stay exactly as they were: one changed character in front, and the cache is of no use.
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
