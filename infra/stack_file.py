"""A stack's settings from its file alone: no Pulumi, no state, no secrets."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from infra.configuration import Configuration, describe
from infra.settings import Settings, load_settings
from serving.yaml_file import read_yaml


class StackFileError(Exception):
    """Which file is missing or cannot be read, ready to print."""


def settings_of(stack: str, folder: Path) -> Settings:
    """Of `Pulumi.<stack>.yaml` there; secrets are left out. Raises StackFileError or SettingsError."""
    path = folder / f"Pulumi.{stack}.yaml"
    try:
        document = read_yaml(path) or {}
        config = document.get("config") or {}
    except OSError:
        known = ", ".join(sorted(file.name.split(".")[1] for file in folder.glob("Pulumi.*.yaml"))) or "none"
        raise StackFileError(f"there is no {path.name} in {folder}; stacks here: {known}") from None
    except (yaml.YAMLError, AttributeError) as error:
        reason = " ".join(str(error).split()) if isinstance(error, yaml.YAMLError) else "it has no `config:`"
        raise StackFileError(f"{path.name} cannot be read: {reason}") from None
    plain = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in config.items()
        if not (isinstance(value, dict) and "secure" in value)
    }
    return load_settings(plain, {}, stack=stack)


def configuration_of(stack: str, folder: Path) -> Configuration:
    """As a review and the costs read it. Raises StackFileError or SettingsError."""
    return Configuration.model_validate(describe(settings_of(stack, folder)))
