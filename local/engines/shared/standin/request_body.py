"""A request's JSON body, checked field by field; what is wrong is told as pydantic and FastAPI tell it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

Expected = tuple[type | tuple[type, ...], str, str]
"""Python type, pydantic's name of the error, its message."""

LIST: Expected = (list, "list_type", "Input should be a valid list")
TEXT: Expected = (str, "string_type", "Input should be a valid string")
INTEGER: Expected = (int, "int_type", "Input should be a valid integer")
NUMBER: Expected = ((int, float), "float_type", "Input should be a valid number")
BOOLEAN: Expected = (bool, "bool_type", "Input should be a valid boolean")
TEXTS: Expected = ((str, list), "string_type", "Input should be a valid string")
MODEL: Expected = (dict, "model_attributes_type", "Input should be a valid dictionary")
MAPPING: Expected = (dict, "dict_type", "Input should be a valid dictionary")

CHAT: Mapping[str, Expected] = {
    "messages": LIST,
    "model": TEXT,
    "max_tokens": INTEGER,
    "max_completion_tokens": INTEGER,
    "n": INTEGER,
    "stream": BOOLEAN,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "tools": LIST,
    "stop": TEXTS,
    "stream_options": MODEL,
    "response_format": MODEL,
    "chat_template_kwargs": MAPPING,
}
"""Fields of a chat or text completion that both engines have."""


class Invalid(Exception):
    """`detail` is one entry of FastAPI's list of errors."""

    def __init__(self, detail: dict[str, Any]) -> None:
        super().__init__(detail["msg"])
        self.detail = detail

    def described(self, source: str, line: int, function: str, method: str, path: str) -> str:
        """The message that both engines make of it, with the place of the endpoint in their own source."""
        return (
            f'1 validation error:\n  {self.detail}\n\n  File "{source}", line {line}, in {function}\n'
            f"    {method} {path} [{self.detail}]"
        )


def invalid(kind: str, where: tuple[Any, ...], message: str, value: Any, **context: Any) -> Invalid:
    more = {"ctx": context} if context else {}
    return Invalid({"type": kind, "loc": where, "msg": message, "input": value, **more})


def parse(body: bytes) -> dict[str, Any]:
    """Raises Invalid, and UnicodeDecodeError."""
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        reason = error.msg.split(":")[0]
        raise invalid("json_invalid", ("body", error.pos), "JSON decode error", {}, error=reason) from None
    if not isinstance(document, dict):
        raise invalid("model_attributes_type", ("body",), "Input should be a valid dictionary", document)
    return document


def require(request: dict[str, Any], name: str) -> None:
    if name not in request:
        raise invalid("missing", ("body", name), "Field required", request)


def check_types(request: dict[str, Any], fields: Mapping[str, Expected], not_null: Collection[str]) -> None:
    for name, (kind, error, message) in fields.items():
        value = request.get(name)
        if name not in request or (value is None and name not in not_null):
            continue
        wrong_bool = isinstance(value, bool) and kind is not bool
        if wrong_bool or not isinstance(value, kind):
            raise invalid(error, ("body", name), message, value)
