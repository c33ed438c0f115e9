"""The outputs of a deployed stack, as `pulumi stack output` gives them."""

from __future__ import annotations

import json
import subprocess
from typing import Any


class OutputsError(Exception):
    """Why they cannot be read and what to type next, ready to print."""


def stack_outputs(stack: str, *, secrets: bool = False) -> dict[str, Any]:
    """Without `secrets`, "[secret]" stands for those. Raises OutputsError."""
    command = ["pulumi", "stack", "output", "--stack", stack, "--json", *(["--show-secrets"] if secrets else [])]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise OutputsError(f'pulumi is not on PATH; eval "$(make -s env STACK={stack})"') from None
    if listed.returncode != 0:
        reason = " ".join(listed.stderr.split()).removeprefix("error: ")
        raise OutputsError(f"the outputs of stack {stack} cannot be read: {reason}")
    outputs: dict[str, Any] = json.loads(listed.stdout)
    return outputs
