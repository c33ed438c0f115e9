"""Pulumi.yaml and Pulumi.<stack>.yaml: the program's place and the stack's configuration, secrets included."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from local.pulumi_engine import Problem
from local.pulumi_engine.properties import Secret
from local.pulumi_engine.secrets import Crypter, crypter

_TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


@dataclass
class Project:
    folder: Path
    """Where Pulumi.yaml is."""
    name: str
    program: Path
    """The program's folder."""
    python: Path
    declared: dict[str, Any]
    """The `config` block: full key → its declaration or its default value."""

    @classmethod
    def find(cls, start: Path) -> Project:
        """The project of a folder or the nearest one above it. Raises Problem."""
        for folder in (start, *start.parents):
            if (folder / "Pulumi.yaml").is_file():
                break
        else:
            raise Problem(f"no Pulumi.yaml project file found (searching upwards from {start})")
        document = _load(folder / "Pulumi.yaml")
        runtime = document.get("runtime")
        runtime = {"name": runtime} if isinstance(runtime, str) else runtime or {}
        if runtime.get("name") != "python":
            raise Problem(
                f"the runtime of {folder}/Pulumi.yaml is {runtime.get('name')}: the bundled engine runs python"
            )
        name = document["name"]
        python = folder / runtime.get("options", {}).get("virtualenv", ".venv") / "bin" / "python"
        declared = {_full(key, name): value for key, value in (document.get("config") or {}).items()}
        return cls(folder, name, folder / document.get("main", "."), python, declared)


class Config:
    """The configuration of one stack, as its file has it; a secret is `{"secure": ciphertext}`."""

    def __init__(self, project: Project, stack: str) -> None:
        self._project, self._stack = project, stack
        self.file = project.folder / f"Pulumi.{stack}.yaml"
        document = _load(self.file) if self.file.exists() else {}
        self.salt: str = document.get("encryptionsalt", "")
        self.values: dict[str, Any] = {_full(key, project.name): v for key, v in (document.get("config") or {}).items()}
        self._document = document

    def ensure_salt(self) -> str:
        """The salt of the file; a new one is written where it has none."""
        if not self.salt:
            self.salt = Crypter(None).salt
            self.save()
        return self.salt

    def complete(self) -> dict[str, Any]:
        """Every key's value: defaults filled in, secrets decrypted and marked. Raises Problem for a wrong type."""
        values = {key: self._decrypted(value) for key, value in self.values.items()}
        for key, declared in self._project.declared.items():
            declaration = declared if isinstance(declared, dict) else {"default": declared}
            if "default" in declaration:
                values.setdefault(key, declaration["default"])
            wanted, short = declaration.get("type"), key.removeprefix(f"{self._project.name}:")
            mend = f"pulumi config set {short} <value> --stack {self._stack}"
            if wanted and key not in values:
                raise Problem(f"Stack '{self._stack}' is missing configuration value '{short}'; {mend}")
            if wanted and not _is_of_type(values[key], wanted):
                found = f"Stack '{self._stack}' with configuration key '{short}' must be of type '{wanted}'"
                raise Problem(f"validating stack config: {found}; {mend}")
        return values

    def get(self, key: str, *, path: bool = False) -> Any:
        """The value with its secrets marked; None where there is none."""
        first, *rest = _steps(key) if path else [key]
        value: Any = self._decrypted(self.values.get(_full(str(first), self._project.name)))
        for step in rest:
            value = value.value if isinstance(value, Secret) else value
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def set(self, key: str, text: str, *, path: bool = False, secret: bool = False) -> None:
        value: Any = {"secure": crypter(self.ensure_salt()).encrypt(text)} if secret else text
        first, *rest = _steps(key) if path else [key]
        if rest and not secret:
            value = _scalar(text)
        place: Any = self.values
        steps = [_full(str(first), self._project.name), *rest]
        for step, following in pairwise(steps):
            child = place.get(step) if isinstance(place, dict) else place[step] if step < len(place) else None
            if not isinstance(child, dict | list):
                child = [] if isinstance(following, int) else {}
                _put(place, step, child, key)
            place = child
        _put(place, steps[-1], value, key)
        self.save()

    def remove(self, key: str, *, path: bool = False) -> None:
        first, *rest = _steps(key) if path else [key]
        steps = [_full(str(first), self._project.name), *rest]
        place: Any = self.values
        try:
            for step in steps[:-1]:
                place = place[step]
            del place[steps[-1]]
        except (KeyError, IndexError, TypeError):
            return
        self.save()

    def save(self) -> None:
        """Writes the file. Raises Problem where that would lose a comment below the ones at its top."""
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        head = re.match(r"(?:\s*#[^\n]*\n)*", text)
        header = head.group() if head else ""
        if re.search(r"^\s*#|\s#", text[len(header) :], re.MULTILINE):
            raise Problem(f"{self.file} has comments that a rewrite would lose; edit it by hand")
        document = {**self._document, "config": self.values, "encryptionsalt": self.salt}
        kept = {key: value for key, value in document.items() if value}
        self.file.write_text(
            header + yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=10**6), encoding="utf-8"
        )

    def _decrypted(self, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(ciphertext := value.get("secure"), str):
            return Secret(crypter(self.ensure_salt()).decrypt(ciphertext))
        if isinstance(value, dict):
            return {key: self._decrypted(item) for key, item in value.items()}
        return [self._decrypted(item) for item in value] if isinstance(value, list) else value


def as_text(value: Any) -> str:
    """A bare value as the program gets it: texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _load(file: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise Problem(f"{file} is no YAML: {' '.join(str(error).split())}") from None


def _full(key: str, project: str) -> str:
    return key if ":" in key else f"{project}:{key}"


def _is_of_type(value: Any, wanted: str) -> bool:
    value = value.value if isinstance(value, Secret) else value
    if wanted == "integer" and isinstance(value, str):
        return value.lstrip("-").isdigit()
    if wanted == "boolean" and isinstance(value, str):
        return value in ("true", "false")
    return wanted not in _TYPES or isinstance(value, _TYPES[wanted])


def _steps(path: str) -> list[str | int]:
    """`a.b[0]["c.d"]` → ["a", "b", 0, "c.d"]."""
    steps: list[str | int] = []
    for name, index, quoted in re.findall(r"([^.\[\]]+)|\[(\d+)\]|\[\"([^\"]*)\"\]", path):
        steps.append(int(index) if index else name or quoted)
    return steps


def _scalar(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?(0|[1-9]\d*)", text) else text


def _put(place: Any, step: str | int, value: Any, key: str) -> None:
    if isinstance(place, dict) and isinstance(step, str):
        place[step] = value
    elif isinstance(place, list) and isinstance(step, int) and step <= len(place):
        place[step : step + 1] = [value]
    else:
        raise Problem(f"{key}: {step} is no place in the value that is there")
