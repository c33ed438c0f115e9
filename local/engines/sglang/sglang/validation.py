"""What SGLang refuses in a request's body, in its own words and shapes."""

from __future__ import annotations

from typing import Any

from standin import request_body


class BadRequest(Exception):
    """An answer with status 400: {"object": "error", "message", "type", "param", "code"}."""

    def __init__(self, message: str, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.document = {"object": "error", "message": message, "type": kind, "param": None, "code": 400}


_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_NOT_NULL = ("messages", "n", "stream", "prompt")


def parse_chat(path: str, body: bytes) -> dict[str, Any]:
    """A chat request with its defaults. Raises BadRequest."""
    request = _parse(path, body, "messages")
    for index, message in enumerate(request["messages"]):
        if not isinstance(message, dict) or str(message.get("role", "")).lower() not in _ROLES:
            text = f"Value error, 'role' must be one of {', '.join(map(repr, _ROLES))} (case-insensitive)."
            raise _invalid(path, "value_error", ("body", "messages", index, "role"), text, message)
    if not request["messages"]:
        raise BadRequest("Messages cannot be empty.")
    tools, choice = request.get("tools") or [], request["tool_choice"]
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict) or "name" not in (tool.get("function") or {}):
            raise _invalid(path, "missing", ("body", "tools", index, "function", "name"), "Field required", tool)
    if choice == "required" and not tools:
        raise BadRequest("Tools cannot be empty if tool choice is set to required.")
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        if not tools:
            raise BadRequest("Tools cannot be empty if tool choice is set to a specific tool.")
        if not any(tool["function"]["name"] == name for tool in tools):
            raise BadRequest(f"Tool '{name}' not found in tools list.")
    elif choice not in ("auto", "none", "required"):
        raise _invalid(
            path, "literal_error", ("body", "tool_choice"), "Input should be 'auto', 'required' or 'none'", choice
        )
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema" and "schema" not in (form.get("json_schema") or {}):
        raise BadRequest("schema_ is required for json_schema response format request.")
    return request


def parse_completion(path: str, body: bytes) -> dict[str, Any]:
    """A text completion request. Raises BadRequest."""
    return _parse(path, body, "prompt")


def parse_generate(path: str, body: bytes) -> dict[str, Any]:
    """A request of SGLang's own /generate. Raises BadRequest."""
    request = _parse(path, body)
    if request.get("text") is None and request.get("input_ids") is None:
        raise BadRequest("Either text, input_ids or input_embeds should be provided.")
    return request


def streams(body: bytes) -> bool:
    """Whether a body that was understood asks for a stream."""
    return bool(request_body.parse(body).get("stream"))


class TooLongForThePool(BadRequest):
    """Noticed by the scheduler and not by the server: where the answer is a stream, it comes as an event in it."""


def check_length(prompt: int, new: int | None, context: int, pool: int, reserved: int) -> int:
    """How many tokens may be generated. Raises BadRequest where the request can never fit.

    `reserved` tokens are kept for drafts. An answer that the pool has no room for is cut short without a word; so no
    request ever waits for room that there will never be.
    """
    counted = prompt + reserved
    if counted >= context:
        raise BadRequest(
            f"The input ({counted} tokens) is longer than the model's context length ({context} tokens).", "BadRequest"
        )
    if new is not None and counted + new >= context:
        raise BadRequest(
            f"Requested token count exceeds the model's maximum context length of {context} tokens. You requested a "
            f"total of {counted + new} tokens: {counted} tokens from the input messages and {new} tokens for the "
            "completion. Please reduce the number of tokens in the input messages or the completion to fit within the "
            "limit.",
            "BadRequest",
        )
    longest = min(context, pool) - 1
    if prompt >= longest - 5:
        raise TooLongForThePool(
            f"Input length ({prompt} tokens) exceeds the maximum allowed length ({longest - 5} tokens). Use a shorter "
            "input or enable --allow-auto-truncate.",
            "BadRequest",
        )
    return min(new if new is not None else longest, longest - prompt - 1)


def _parse(path: str, body: bytes, *required: str) -> dict[str, Any]:
    try:
        request = request_body.parse(body)
        if path.endswith("/chat/completions"):
            # As SGLang's model has it: set before anything is checked, and so shown in its errors.
            request["tool_choice"] = request.get("tool_choice") or ("none" if request.get("tools") is None else "auto")
        for name in required:
            request_body.require(request, name)
        if required:
            request_body.convert(request, _NOT_NULL)
    except UnicodeDecodeError:
        raise BadRequest("There was an error parsing the body", "400") from None
    except request_body.Invalid as error:
        raise _refusal(path, error) from None
    return request


def _invalid(path: str, kind: str, where: tuple[Any, ...], message: str, value: Any) -> BadRequest:
    return _refusal(path, request_body.invalid(kind, where, message, value))


def _refusal(path: str, error: request_body.Invalid) -> BadRequest:
    function = "openai" + path.replace("/", "_")
    text = error.described("sglang/srt/entrypoints/http_server.py", 1659, function, "POST", path)
    return BadRequest(text, "Bad Request")
