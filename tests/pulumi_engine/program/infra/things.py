"""A dynamic resource whose real thing is a JSON file, so that it can drift and its operations can fail."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

WORLD = Path(os.environ.get("WORLD", "."))
"""Folder with one file per thing that exists."""


class ThingProvider(ResourceProvider):
    serialize_as_secret_always = False

    def configure(self, req: ConfigureRequest) -> None:
        import sys

        sys.tracebacklimit = 0

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        failures = [CheckFailure("text", "must not be empty")] if news.get("text") == "" else []
        return CheckResult(news, failures)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        replaces = ["kind"] if olds.get("kind") != news.get("kind") else []
        changes = bool(replaces) or any(olds.get(key) != news.get(key) for key in ("text", "more"))
        return DiffResult(changes, replaces, delete_before_replace=bool(news.get("deleteFirst")))

    def create(self, props: dict[str, Any]) -> CreateResult:
        self._obey(props)
        id_ = f"{props['kind']}-{props['name']}"
        (WORLD / id_).write_text(json.dumps(props["text"]))
        print(f"made {id_}", flush=True)
        return CreateResult(id_, {**props, "length": len(props["text"]), "token": f"token of {id_}"})

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        self._obey(news)
        (WORLD / id_).write_text(json.dumps(news["text"]))
        return UpdateResult({**news, "length": len(news["text"]), "token": olds["token"]})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        path = WORLD / id_
        if not path.exists():
            return ReadResult("", {})
        text = json.loads(path.read_text())
        inputs = {key: value for key, value in props.items() if key not in ("length", "token")}
        return ReadResult(id_, {**props, "text": text, "length": len(text)}, {**inputs, "text": text})

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        if props.get("more") == "stays":
            raise RuntimeError(f"{id_} does not go away")
        (WORLD / id_).unlink(missing_ok=True)

    def _obey(self, props: dict[str, Any]) -> None:
        """What `text` asks for instead of a normal end."""
        if props["text"] == "fail":
            raise RuntimeError(f"{props['name']} cannot be made")
        if props["text"] == "hang":
            (WORLD / "hanging").touch()
            time.sleep(30)


class Thing(Resource, module="things", name="Thing"):
    """Outputs: `length` of the text, `token` (secret)."""

    length: pulumi.Output[int]
    token: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=["token"]))
        super().__init__(ThingProvider(), name, {**props, "length": None, "token": None}, opts)
