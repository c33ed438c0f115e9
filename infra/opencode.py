"""OpenCode's provider configuration for the served model, as a stack output and merged into a file.

python -m infra.opencode STACK [FILE]

The shape is that of OpenCode 1 (opencode.ai/docs/providers), which OpenCode 2 reads as well. No key is in it: OpenCode
puts the environment variable NAME in the place of `{env:NAME}` (opencode.ai/docs/config, "Variables").
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.stack_outputs import OutputsError, stack_outputs
from serving.recipe import Recipe

SCHEMA = "https://opencode.ai/config.json"
_ANSWER_TOKENS = 32_768
"""What a request keeps free for the answer where the context is long enough; OpenCode compacts a conversation before
the rest is full."""


class OpenCodeError(Exception):
    """What is wrong and what to do, ready to print."""


def key_variable(stack: str) -> str:
    """Name of the environment variable that OpenCode takes the stack's API key from."""
    return f"GLM_SERVING_{re.sub('[^A-Z0-9]', '_', stack.upper())}_KEY"


def configuration(stack: str, url: str, recipe: Recipe, *, proxy_auth: bool = False) -> dict[str, Any]:
    """The document to merge into an `opencode.json`: one provider, `modal-<stack>`, with the one served model.

    `limit` is in tokens: `context` is the longest request that the engine takes with these flags.
    """
    context = recipe.engine_module.longest_request(recipe)
    options: dict[str, Any] = {"baseURL": f"{url}/v1", "apiKey": f"{{env:{key_variable(stack)}}}"}
    if proxy_auth:
        options["headers"] = {"Modal-Key": "{env:MODAL_PROXY_KEY}", "Modal-Secret": "{env:MODAL_PROXY_SECRET}"}
    model = {
        "name": f"{recipe.model.repo} ({stack})",
        "reasoning": "reasoning-parser" in recipe.engine.flags,
        "tool_call": "tool-call-parser" in recipe.engine.flags,
        "limit": {"context": context, "output": min(_ANSWER_TOKENS, context // 4)},
    }
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": f"Modal ({stack})",
        "options": options,
        "models": {recipe.model.served_name: model},
    }
    return {"$schema": SCHEMA, "provider": {f"modal-{stack}": provider}}


def merged(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """`current` with everything of `wanted` in it; whatever else it holds stays, in its order.

    Raises OpenCodeError where `current` has something else than an object in the place of one.
    """
    result = dict(current)
    for key, value in wanted.items():
        if isinstance(value, Mapping):
            inner = result.get(key, {})
            if not isinstance(inner, Mapping):
                raise OpenCodeError(f"`{key}` is {inner!r}, where OpenCode has an object")
            result[key] = merged(inner, value)
        else:
            result[key] = value
    return result


def write(path: Path, wanted: Mapping[str, Any]) -> bool:
    """Merges into the file, in one step and only where it changes something; False where nothing was to do.

    Raises OpenCodeError for a file that is no plain JSON: rewriting it would lose its comments.
    """
    path = path.expanduser().resolve()  # a link stays one
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        current = json.loads(text) if text.strip() else {}
    except json.JSONDecodeError as error:
        raise OpenCodeError(
            f"line {error.lineno} is no plain JSON ({error.msg}): comments would be lost, so it is left as it is. "
            f"Merge this by hand:\n{json.dumps(wanted, indent=2)}"
        ) from None
    if not isinstance(current, dict):
        raise OpenCodeError(f"holds a {type(current).__name__}, where OpenCode has an object")
    document = merged(current, wanted)
    if document == current:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(document, indent=_indent(text), ensure_ascii=False) + "\n")
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    return True


def _indent(text: str) -> int | str:
    """As the file has it; two spaces for a new one."""
    first = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return first[1] if first else 2


def main(stack: str, file: str) -> int:
    try:
        wanted = _stack_output(stack)
        changed = write(Path(file), wanted)
    except OpenCodeError as error:
        print(f"error: {file}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {file}: {error.strerror}; name another: python -m infra.opencode {stack} FILE", file=sys.stderr)
        return 1
    (provider, entry), *_ = wanted["provider"].items()
    model = f"{provider}/{next(iter(entry['models']))}"
    print(f"{file}: {f'{model} written' if changed else f'has {model} already'}, {entry['options']['baseURL']}\n")
    print(f'  Key   export {key_variable(stack)}="$(pulumi stack output apiKey --stack {stack} --show-secrets)"')
    if "headers" in entry["options"]:
        print("        export MODAL_PROXY_KEY=wk-… MODAL_PROXY_SECRET=ws-…   # a proxy token, modal.com/settings")
    print(f'  Try   opencode run --model {model} "What is 2+2?"')
    return 0


def _stack_output(stack: str) -> dict[str, Any]:
    try:
        found = stack_outputs(stack).get("opencode")
    except OutputsError as error:
        raise OpenCodeError(str(error)) from None
    if not isinstance(found, dict):
        raise OpenCodeError(f"stack {stack} has no output `opencode` yet; make up STACK={stack}")
    return found


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit("usage: python -m infra.opencode STACK [FILE]   (FILE: opencode.json)")
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "opencode.json"))
