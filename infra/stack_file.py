"""A stack's configuration from its file alone: no Pulumi, no state, no secrets."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from infra.configuration import Configuration, describe
from infra.settings import load_settings


class StackFileError(Exception):
    """Which file is missing and which there are, ready to print."""


def configuration_of(stack: str, folder: Path) -> Configuration:
    """Of `Pulumi.<stack>.yaml` there; secrets are left out. Raises StackFileError or SettingsError."""
    path = folder / f"Pulumi.{stack}.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError:
        known = ", ".join(sorted(file.name.split(".")[1] for file in folder.glob("Pulumi.*.yaml"))) or "none"
        raise StackFileError(f"there is no {path.name} in {folder}; stacks here: {known}") from None
    config = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in (document.get("config") or {}).items()
        if not (isinstance(value, dict) and "secure" in value)
    }
    return Configuration.model_validate(describe(load_settings(config, {}, stack=stack)))
