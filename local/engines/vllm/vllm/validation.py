"""What vLLM refuses in a request's body, in its own words and shapes."""

from __future__ import annotations

from typing import Any

from standin import request_body
from standin.request_body import Invalid, invalid

from vllm.refusals import Refusal

_SOURCES = {
    "/v1/chat/completions": ("chat_completion/api_router.py", 56, "create_chat_completion"),
    "/v1/completions": ("completion/api_router.py", 46, "create_completion"),
}
_NOT_NULL = ("messages",)
_MAX_LOGPROBS = 20
"""The default of --max-logprobs."""


def parse_chat(path: str, body: bytes) -> dict[str, Any]:
    """A chat request with its defaults. Raises Refusal."""
    request = _parse(path, body, _check_chat)
    for message in request["messages"]:
        # Old clients send back the former name of the field.
        if isinstance(message, dict) and message.get("reasoning_content") is not None:
            message.setdefault("reasoning", message.pop("reasoning_content"))
    return request


def parse_completion(path: str, body: bytes) -> dict[str, Any]:
    """A text completion request. Raises Refusal."""
    return _parse(path, body, _check_completion)


def parse_any(path: str, body: bytes) -> dict[str, Any]:
    """A JSON object. Raises Refusal."""
    return _parse(path, body, lambda path, request: None)


def check_logprobs(request: dict[str, Any]) -> None:
    """Raises Refusal where more are asked for than the model's configuration allows."""
    asked = (request.get("top_logprobs") or 0) if request.get("logprobs") else 0
    if asked > _MAX_LOGPROBS:
        text = f"Requested sample logprobs of {asked}, which is greater than max allowed: {_MAX_LOGPROBS}"
        raise Refusal.value(text, "logprobs", asked)


def check_length(prompt: int, new: int | None, longest: int, name: str = "max_tokens") -> int:
    """How many tokens may be generated; `name` is the field that asked for `new`. Raises Refusal where prompt and
    answer exceed the model's length.

    The KV cache needs no check of its own: an engine whose cache holds less than one longest request does not start.
    """
    asked = new or 0
    if asked > longest:
        raise Refusal.value(
            f"{name}={asked} cannot be greater than max_model_len=max_total_tokens={longest}. Please request fewer "
            "output tokens.",
            name,
            asked,
        )
    if prompt > longest - asked:
        raise Refusal.value(
            f"This model's maximum context length is {longest} tokens. However, you requested {asked} output tokens "
            f"and your prompt contains {_least(prompt, longest - asked)} input tokens, for a total of "
            f"{_least(prompt, longest - asked, asked)} tokens. Please reduce the length of the input prompt or the "
            "number of requested output tokens.",
            "input_tokens",
            min(prompt, longest - asked + 1),
        )
    limit = min(longest - prompt, new if new is not None else longest)
    if limit < 1:
        raise Refusal.value(f"max_tokens must be at least 1, got {limit}.", "max_tokens", limit)
    return limit


def _least(prompt: int, allowed: int, more: int = 0) -> str:
    """The tokenizer stops one token behind what is allowed, so more than that is not known."""
    return f"at least {min(prompt, allowed + 1) + more}"


def _parse(path: str, body: bytes, check: Any) -> dict[str, Any]:
    try:
        request = request_body.parse(body)
        check(path, request)
    except UnicodeDecodeError:
        raise Refusal(400, "Bad Request", "There was an error parsing the body") from None
    except Invalid as error:
        source, line, function = _SOURCES.get(path, ("engine/api_router.py", 1, "endpoint"))
        folder = "/usr/local/lib/python3.12/dist-packages/vllm/entrypoints/openai/"
        text = error.described(folder + source, line, function, "POST", path)
        raise Refusal.unprocessable(text, error.param if isinstance(error, _OwnCheck) else None) from None
    return request


def _check_chat(path: str, request: dict[str, Any]) -> None:
    if request.get("tools") == []:
        raise _value_error(
            request,
            "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.",
            None,
        )
    if "tool_choice" not in request and request.get("tools"):
        request["tool_choice"] = "auto"
    choice = request.get("tool_choice")
    if choice not in (None, "none"):
        _check_tool_choice(request, choice)
    _check_logprobs(request)
    _check_stream_options(request)
    form = request.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema" and form.get("json_schema") is None:
        raise _value_error(
            request,
            "When response_format type is 'json_schema', the 'json_schema' field must be provided.",
            "response_format",
        )
    request_body.require(request, "messages")
    request_body.convert(request, _NOT_NULL)
    if isinstance(form, dict) and form.get("type") not in ("text", "json_object", "json_schema", "structural_tag"):
        raise invalid(
            "literal_error",
            ("body", "response_format", "ResponseFormat", "type"),
            "Input should be 'text', 'json_object' or 'json_schema'",
            form.get("type"),
            expected="'text', 'json_object' or 'json_schema'",
        )
    for index, message in enumerate(request["messages"]):
        if not isinstance(message, dict) or "role" not in message:
            raise invalid("missing", ("body", "messages", index, "role"), "Field required", message)
    for index, tool in enumerate(request.get("tools") or []):
        if not isinstance(tool, dict) or "name" not in (tool.get("function") or {}):
            raise invalid("missing", ("body", "tools", index, "function", "name"), "Field required", tool)


def _check_tool_choice(request: dict[str, Any], choice: Any) -> None:
    tools = request.get("tools")
    if tools is None:
        raise _value_error(request, "When using `tool_choice`, `tools` must be set.", "tool_choice")
    if choice not in ("auto", "required") and not isinstance(choice, dict):
        raise _value_error(
            request,
            f'Invalid value for `tool_choice`: {choice}! Only named tools, "none", "auto" or "required" are supported.',
            "tool_choice",
        )
    if isinstance(choice, dict):
        function = choice.get("function")
        usage = 'Correct usage: `{"type": "function", "function": {"name": "my_function"}}`'
        if not isinstance(function, dict):
            text = f"Invalid value for `function`: `{function}` in `tool_choice`! {usage}"
            raise _value_error(request, text, "tool_choice.function")
        if "name" not in function:
            text = f"Expected field `name` in `function` in `tool_choice`! {usage}"
            raise _value_error(request, text, "tool_choice.function.name")
        if not any((tool.get("function") or {}).get("name") == function["name"] for tool in tools):
            raise _value_error(
                request,
                "The tool specified in `tool_choice` does not match any of the specified `tools`",
                "tool_choice",
            )


def _check_logprobs(request: dict[str, Any]) -> None:
    top = request.get("top_logprobs")
    if not isinstance(top, int):
        return
    if top < 0 and top != -1:
        raise _value_error(request, "`top_logprobs` must be a positive value or -1.", "top_logprobs")
    if top and not request.get("logprobs"):
        raise _value_error(request, "when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")


def _check_completion(path: str, request: dict[str, Any]) -> None:
    _check_stream_options(request)
    if not request.get("prompt"):
        raise _value_error(request, "Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    request_body.convert(request, ())


def _check_stream_options(request: dict[str, Any]) -> None:
    if request.get("stream_options") and not request.get("stream"):
        raise _value_error(request, "Stream options can only be defined when `stream=True`.", "stream_options")


def _value_error(request: dict[str, Any], message: str, param: str | None) -> Invalid:
    """What pydantic makes of a ValueError raised by a model's own check."""
    text = f"{message} (parameter={param})" if param else message
    raised = _Raised("VLLMValidationError" if param else "ValueError", message)
    return _OwnCheck(invalid("value_error", ("body",), f"Value error, {text}", request, error=raised).details, param)


class _OwnCheck(Invalid):
    def __init__(self, details: list[dict[str, Any]], param: str | None) -> None:
        super().__init__(details)
        self.param = param


class _Raised:
    """Shown as the exception it stands for."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text

    def __repr__(self) -> str:
        return f"{self._name}({self._text!r})"
