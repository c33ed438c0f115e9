"""After `make up`: asks the served model one question, prints URL, a command to call it and what to try next.

python -m infra.first_answer STACK
"""

from __future__ import annotations

import json
import sys
import time

from infra.stack_outputs import OutputsError, stack_outputs

QUESTION = "What is 2+2?"


def main(stack: str) -> int:
    import requests

    try:
        outputs = stack_outputs(stack, secrets=True)
    except OutputsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    url, model = outputs["url"], outputs["model"]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 200,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    headers = {"Authorization": f"Bearer {outputs['apiKey']}"}
    began = time.monotonic()
    try:
        answer = requests.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=1200)
    except requests.RequestException as error:
        print(f"error: {url} did not answer ({type(error).__name__}); `modal app list`", file=sys.stderr)
        return 1
    if answer.status_code != 200:
        print(f"error: {url} answered {answer.status_code}: {answer.text[:200]}; `modal app list`", file=sys.stderr)
        return 1
    message = answer.json()["choices"][0]["message"]
    print(f"\n  {QUESTION}\n  {model}: {(message['content'] or '').strip()}   ({time.monotonic() - began:.1f} s)\n")
    print(f"  URL    {url}")
    print("  Key    pulumi stack output apiKey --show-secrets")
    print(
        f'  Call   curl {url}/v1/chat/completions -H "Authorization: Bearer $(pulumi stack output apiKey '
        '--show-secrets)" \\\n'
        "           -H 'Content-Type: application/json' \\\n"
        f"           -d '{json.dumps({'model': model, 'messages': [{'role': 'user', 'content': 'Hello!'}]})}'\n"
    )
    print('  Next, in a shell that has the settings of `eval "$(make -s env' + _stack_option(stack) + ')"`:')
    print("    pulumi config set --path scaling.maxContainers 5 && pulumi up   # rescales in place, nothing restarts")
    print("    modal app list                                                  # what Modal has now")
    print(f"    make down{_stack_option(stack)}")
    return 0


def _stack_option(stack: str) -> str:
    return "" if stack == "local" else f" STACK={stack}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
