"""The modal CLI in this process, against the session's cloud: what it prints, without the second that a process of its
own takes to start."""

from __future__ import annotations

import contextlib
import io

import modal
import pytest


def modal_command(*args: str) -> str:
    """`modal ARGS`; what it printed. Raises what the command raises, where the CLI would print its message and exit
    with 1."""
    from modal.cli.entry_point import entrypoint_cli

    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("COLUMNS", "250")
        patch.setattr("sys.argv", ["modal", *args])
        with modal.enable_output():
            entrypoint_cli(list(args), standalone_mode=False)
    return printed.getvalue()
