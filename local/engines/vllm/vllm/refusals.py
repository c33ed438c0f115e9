"""Answers that are errors, in vLLM's envelope: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class Refusal(Exception):
    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.document: dict[str, Any] = {
            "error": {"message": message, "type": kind, "param": param, "code": status},
        }

    @classmethod
    def value(cls, message: str, param: str | None = None, value: Any = None) -> Refusal:
        """What the server makes of its own VLLMValidationError."""
        extras = [f"parameter={param}"] if param is not None else []
        extras += [f"value={value}"] if value is not None else []
        return cls(400, "BadRequestError", f"{message} ({', '.join(extras)})" if extras else message, param)

    @classmethod
    def unprocessable(cls, message: str, param: str | None = None) -> Refusal:
        """What it makes of a body that does not fit its model."""
        return cls(400, HTTPStatus.BAD_REQUEST.phrase, message, param)

    @classmethod
    def unknown_model(cls, name: str) -> Refusal:
        return cls(404, "NotFoundError", f"The model `{name}` does not exist.", "model")

    @classmethod
    def engine_dead(cls) -> Refusal:
        text = "EngineCore encountered an issue. See stack trace (above) for the root cause."
        return cls(500, "InternalServerError", text)
