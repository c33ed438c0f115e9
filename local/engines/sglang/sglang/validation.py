"""What SGLang refuses in a request's body, in its own words and shapes."""

from __future__ import annotations

import json
from typing import Any


class BadRequest(Exception):
    """An answer with status 400: {"object": "error", "message", "type", "param", "code"}."""

    def __init__(self, message: str, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.document = {"object": "error", "message": message, "type": kind, "param": None, "code": 400}


_TYPES: dict[str, tuple[type | tuple[type, ...], str, str]] = {
    "messages": (list, "list_type", "Input should be a valid list"),
    "model": (str, "string_type", "Input should be a valid string"),
    "max_tokens": (int, "int_type", "Input should be a valid integer"),
    "max_completion_tokens": (int, "int_type", "Input should be a valid integer"),
    "n": (int, "int_type", "Input should be a valid integer"),
    "stream": (bool, "bool_type", "Input should be a valid boolean"),
    "temperature": ((int, float), "float_type", "Input should be a valid number"),
    "top_p": ((int, float), "float_type", "Input should be a valid number"),
    "tools": (list, "list_type", "Input should be a valid list"),
    "stop": ((str, list), "string_type", "Input should be a valid string"),
    "stream_options": (dict, "model_attributes_type", "Input should be a valid dictionary"),
    "response_format": (dict, "model_attributes_type", "Input should be a valid dictionary"),
    "chat_template_kwargs": (dict, "dict_type", "Input should be a valid dictionary"),
}
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_NOT_NULL = ("messages", "n", "stream", "prompt")


def parse_chat(path: str, body: bytes) -> dict[str, Any]:
    """A chat request with its defaults. Raises BadRequest."""
    request = _parse(path, body)
    tool_default = "none" if request.get("tools") is None else "auto"
    request["tool_choice"] = request.get("tool_choice") or tool_default
    _require(path, request, "messages")
    _check_types(path, request)
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
    request = _parse(path, body)
    _require(path, request, "prompt")
    _check_types(path, request)
    return request


def parse_generate(path: str, body: bytes) -> dict[str, Any]:
    """A request of SGLang's own /generate. Raises BadRequest."""
    request = _parse(path, body)
    if request.get("text") is None and request.get("input_ids") is None:
        raise BadRequest("Either text, input_ids or input_embeds should be provided.")
    return request


def check_length(prompt: int, new: int | None, context: int, pool: int) -> int:
    """How many tokens may be generated. Raises BadRequest where the request can never fit."""
    if prompt >= context:
        raise BadRequest(
            f"The input ({prompt} tokens) is longer than the model's context length ({context} tokens).", "BadRequest"
        )
    if new is not None and prompt + new >= context:
        raise BadRequest(
            f"Requested token count exceeds the model's maximum context length of {context} tokens. You requested a "
            f"total of {prompt + new} tokens: {prompt} tokens from the input messages and {new} tokens for the "
            "completion. Please reduce the number of tokens in the input messages or the completion to fit within the "
            "limit.",
            "BadRequest",
        )
    if prompt >= pool:
        raise BadRequest(
            f"Input length ({prompt} tokens) exceeds the maximum allowed length ({pool} tokens). Use a shorter input "
            "or enable --allow-auto-truncate.",
            "BadRequest",
        )
    return min(new if new is not None else context, context - prompt - 1, pool - prompt)


def _parse(path: str, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        detail = {
            "type": "json_invalid",
            "loc": ("body", error.pos),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg.split(":")[0]},
        }
        raise _refusal(path, detail) from None
    except UnicodeDecodeError:
        raise BadRequest("There was an error parsing the body", "400") from None
    if not isinstance(document, dict):
        raise _invalid(path, "model_attributes_type", ("body",), "Input should be a valid dictionary", document)
    return document


def _require(path: str, request: dict[str, Any], name: str) -> None:
    if name not in request:
        raise _invalid(path, "missing", ("body", name), "Field required", request)


def _check_types(path: str, request: dict[str, Any]) -> None:
    for name, (kind, error, message) in _TYPES.items():
        value = request.get(name)
        if name not in request or (value is None and name not in _NOT_NULL):
            continue
        wrong_bool = isinstance(value, bool) and kind is not bool
        if wrong_bool or not isinstance(value, kind):
            raise _invalid(path, error, ("body", name), message, value)


def _invalid(path: str, kind: str, where: tuple[Any, ...], message: str, value: Any) -> BadRequest:
    return _refusal(path, {"type": kind, "loc": where, "msg": message, "input": value})


def _refusal(path: str, detail: dict[str, Any]) -> BadRequest:
    function = "openai" + path.replace("/", "_")
    text = (
        f"1 validation error:\n  {detail}\n\n"
        f'  File "sglang/srt/entrypoints/http_server.py", line 1659, in {function}\n    POST {path} [{detail}]'
    )
    return BadRequest(text, "Bad Request")
