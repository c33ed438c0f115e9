"""Pulumi.yaml and Pulumi.<stack>.yaml: the program's place and the stack's configuration, secrets included."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from local.pulumi_engine import Problem
from local.pulumi_engine.state import Backend
from local.pulumi_engine.values import Crypter, Properties, as_text, bare, crypter, has_secret, secret


@dataclass(frozen=True)
class Project:
    folder: Path
    """Where Pulumi.yaml is."""
    name: str
    program: Path
    """The program's folder."""
    python: Path
    defaults: dict[str, Any]
    """Full key → value, of the `config` block. Its types are left to the program, which tells all problems at once."""

    @classmethod
    def find(cls, start: Path) -> Project:
        """The project of a folder or the nearest one above it. Raises Problem."""
        folder = next((place for place in (start, *start.parents) if (place / "Pulumi.yaml").is_file()), None)
        if folder is None:
            raise Problem(f"no Pulumi.yaml project file found (searching upwards from {start})")
        document = _load(folder / "Pulumi.yaml")
        name, options = document["name"], document["runtime"]["options"]
        declared = {_full(key, name): value for key, value in (document.get("config") or {}).items()}
        defaults = {key: value["default"] for key, value in declared.items() if "default" in value}
        return cls(folder, name, folder / document["main"], folder / options["virtualenv"] / "bin/python", defaults)


class Config:
    """The configuration of one stack, as its file has it; a secret is `{"secure": ciphertext}`."""

    def __init__(self, project: Project, stack: str) -> None:
        self._project = project
        self.file = project.folder / f"Pulumi.{stack}.yaml"
        self._document = _load(self.file) if self.file.exists() else {}
        self.salt: str = self._document.get("encryptionsalt", "")
        self.values = {_full(key, project.name): v for key, v in (self._document.get("config") or {}).items()}

    def ensure_salt(self) -> str:
        """The salt of the file; a new one is written where it has none."""
        if not self.salt:
            self.salt = Crypter().salt
            self._save()
        return self.salt

    def for_program(self) -> Properties:
        """Every key's value as the program gets it: defaults filled in, a text, secret where any part of it is."""
        values = {**self._project.defaults, **{key: self._decrypted(value) for key, value in self.values.items()}}
        texts = {key: as_text(bare(value)) for key, value in sorted(values.items())}
        return {key: secret(text) if has_secret(values[key]) else text for key, text in texts.items()}

    def set(self, key: str, text: str, *, path: bool, secret: bool) -> None:
        steps = self._steps(key, path)
        value: Any = _scalar(text) if len(steps) > 1 else text
        if secret:
            value = {"secure": crypter(self.ensure_salt()).encrypt(text)}
        self.values = _with(self.values, steps, value)
        self._save()

    def remove(self, key: str, *, path: bool) -> None:
        *above, last = self._steps(key, path)
        place: Any = self.values
        with suppress(KeyError, IndexError, TypeError):  # there is none
            for step in above:
                place = place[step]
            del place[last]
            self._save()

    def _save(self) -> None:
        """Writes the file. Raises Problem where that would lose a comment below the ones at its top."""
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        header = "".join(re.findall(r"\A(?:\s*#[^\n]*\n)*", text))
        if re.search(r"^\s*#|\s#", text[len(header) :], re.MULTILINE):
            raise Problem(f"{self.file} has comments that a rewrite would lose; edit it by hand")
        document = {**self._document, "config": self.values, "encryptionsalt": self.salt}
        kept = {key: value for key, value in document.items() if value}
        body = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=10**6)
        self.file.write_text(header + body, encoding="utf-8")

    def _decrypted(self, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(ciphertext := value.get("secure"), str):
            return secret(crypter(self.ensure_salt()).decrypt(ciphertext))
        if isinstance(value, dict):
            return {key: self._decrypted(item) for key, item in value.items()}
        return [self._decrypted(item) for item in value] if isinstance(value, list) else value

    def _steps(self, key: str, path: bool) -> list[str | int]:
        """`a.b[0]["c.d"]` → ["<project>:a", "b", 0, "c.d"]."""
        parts = re.findall(r"([^.\[\]]+)|\[(\d+)\]|\[\"([^\"]*)\"\]", key) if path else [(key, "", "")]
        first, *rest = [int(index) if index else name or quoted for name, index, quoted in parts]
        return [_full(str(first), self._project.name), *rest]


class Place:
    """The project, its backend and the stack that a command is about."""

    def __init__(self, named: str | None) -> None:
        self.project = Project.find(Path.cwd())
        self.backend = Backend(self.project.name)
        self.selection = self.backend.root / f"bundled-engine-selected-{self.project.name}"
        self.named = (named or "").rsplit("/", 1)[-1]

    @cached_property
    def stack(self) -> str:
        stack = self.named or (self.selection.read_text(encoding="utf-8") if self.selection.exists() else "")
        if not stack:
            raise Problem("no stack selected; please use `pulumi stack select` or pass `--stack`")
        if stack not in self.backend.stacks():
            raise Problem(f"no stack named '{stack}' found; pulumi stack init {stack}")
        return stack

    @property
    def config(self) -> Config:
        return Config(self.project, self.stack)


def _load(file: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise Problem(f"{file} is no YAML: {' '.join(str(error).split())}") from None


def _full(key: str, project: str) -> str:
    return key if ":" in key else f"{project}:{key}"


def _scalar(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?(0|[1-9]\d*)", text) else text


def _with(place: Any, steps: list[str | int], value: Any) -> Any:
    """The value with another one at a path in it; what is in the way of the path goes."""
    if not steps:
        return value
    first, *rest = steps
    if isinstance(first, int):
        items = list(place) if isinstance(place, list) else []
        items[first : first + 1] = [_with(items[first] if first < len(items) else None, rest, value)]
        return items
    entries = place if isinstance(place, dict) else {}
    return {**entries, first: _with(entries.get(first), rest, value)}
