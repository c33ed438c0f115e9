"""A request's JSON body, checked and converted field by field as pydantic does it; what is wrong is told as FastAPI
tells it (compared with FastAPI 0.165 and pydantic 2.14)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any


class Invalid(Exception):
    """`details` as FastAPI lists them."""

    def __init__(self, details: list[dict[str, Any]]) -> None:
        super().__init__(details[0]["msg"])
        self.details = details

    def described(self, source: str, line: int, function: str, method: str, path: str) -> str:
        """The message that both engines make of it, with the place of the endpoint in their own source."""
        count = "1 validation error" if len(self.details) == 1 else f"{len(self.details)} validation errors"
        found = "".join(f"  {detail}\n" for detail in self.details)
        return f'{count}:\n{found}\n  File "{source}", line {line}, in {function}\n    {method} {path} {self.details}'


def invalid(kind: str, where: tuple[Any, ...], message: str, value: Any, **context: Any) -> Invalid:
    more = {"ctx": context} if context else {}
    return Invalid([{"type": kind, "loc": where, "msg": message, "input": value, **more}])


class _Wrong(Exception):
    """(pydantic's name of the error, its message, what is added to the field's place), once or more often."""

    def __init__(self, *errors: tuple[str, str, tuple[str, ...]]) -> None:
        super().__init__(errors)
        self.errors = errors


def _wrong(kind: str, message: str) -> _Wrong:
    return _Wrong((kind, message, ()))


_TRUE = {"1", "on", "t", "true", "y", "yes"}
_FALSE = {"0", "off", "f", "false", "n", "no"}


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str | int | float):
        raise _wrong("bool_type", "Input should be a valid boolean")
    text = value.lower() if isinstance(value, str) else f"{value:g}"
    if text not in _TRUE | _FALSE:
        raise _wrong("bool_parsing", "Input should be a valid boolean, unable to interpret input")
    return text in _TRUE


def _integer(value: Any) -> int:
    message = "Input should be a valid integer"
    if isinstance(value, float) and value != int(value):
        raise _wrong("int_from_float", f"{message}, got a number with a fractional part")
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise _wrong("int_parsing", f"{message}, unable to parse string as an integer") from None
    if not isinstance(value, int | float):
        raise _wrong("int_type", message)
    return int(value)


def _number(value: Any) -> float:
    message = "Input should be a valid number"
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise _wrong("float_parsing", f"{message}, unable to parse string as a number") from None
    if not isinstance(value, int | float):
        raise _wrong("float_type", message)
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong("string_type", "Input should be a valid string")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong("list_type", "Input should be a valid list")
    return value


def _texts(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise _Wrong(
            ("string_type", "Input should be a valid string", ("str",)),
            ("list_type", "Input should be a valid list", ("list[str]",)),
        )
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong("dict_type", "Input should be a valid dictionary")
    return value


def _model(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong("model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
    return value


Converter = Callable[[Any], Any]
CHAT: Mapping[str, Converter] = {
    "messages": _list,
    "model": _text,
    "max_tokens": _integer,
    "max_completion_tokens": _integer,
    "n": _integer,
    "response_format": _model,
    "stop": _texts,
    "stream": _boolean,
    "stream_options": _model,
    "temperature": _number,
    "top_p": _number,
    "tools": _list,
    "chat_template_kwargs": _mapping,
    "echo": _boolean,
}
"""Fields of a chat or text completion that both engines have."""


def parse(body: bytes) -> dict[str, Any]:
    """Raises Invalid, and UnicodeDecodeError."""
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        reason = error.msg.split(":")[0]
        raise invalid("json_invalid", ("body", error.pos), "JSON decode error", {}, error=reason) from None
    try:
        return _model(document)
    except _Wrong as wrong:
        raise invalid(wrong.errors[0][0], ("body",), wrong.errors[0][1], document) from None


def require(request: dict[str, Any], name: str) -> None:
    if name not in request:
        raise invalid("missing", ("body", name), "Field required", request)


def convert(request: dict[str, Any], not_null: Collection[str]) -> None:
    """Each field's value in its own type, such as 5 for "5". Raises Invalid with all that is wrong."""
    details = []
    for name, converter in CHAT.items():
        value = request.get(name)
        if name not in request or (value is None and name not in not_null):
            continue
        try:
            request[name] = converter(value)
        except _Wrong as wrong:
            for kind, message, place in wrong.errors:
                details.append({"type": kind, "loc": ("body", name, *place), "msg": message, "input": value})
    if details:
        raise Invalid(details)
