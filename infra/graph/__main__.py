"""Draws a stack's resources with their states and costs.

python -m infra.graph STACK [--out FILE.svg] [--preview] [-- ARGUMENTS OF pulumi preview]

What is deployed comes from the stack's state (`pulumi stack export`), what would change from `pulumi preview`, which is
also asked where nothing is deployed yet. Needs `pulumi` on PATH and no network of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.configuration import Configuration
from infra.graph.picture import picture
from infra.graph.resources import Graph, of_preview, of_state
from infra.settings import SettingsError
from infra.stack_file import StackFileError, configuration_of


class GraphError(Exception):
    """Why there is no picture and what to type next, ready to print."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.graph", description="A stack's resources as a picture.")
    parser.add_argument("stack")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where it is written (STACK.svg)")
    parser.add_argument("--preview", action="store_true", help="with what `pulumi up` would change")
    place = arguments.index("--") if "--" in arguments else len(arguments)
    asked, passed_on = parser.parse_args(arguments[:place]), arguments[place + 1 :]
    file = asked.out or Path(f"{asked.stack}.svg")
    try:
        graph = of_state(_pulumi(asked.stack, "stack", "export"))
        planned = asked.preview or not graph.nodes
        if planned:
            graph = of_preview(_preview(asked.stack, passed_on), graph)
        configuration = _configuration(asked.stack, graph, planned=planned)
        file.write_text(picture(graph, asked.stack, configuration), encoding="utf-8")
    except (GraphError, StackFileError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {file}: {error.strerror}; another place: --out FILE.svg", file=sys.stderr)
        return 1
    counts: dict[str, int] = {}
    for node in graph.nodes.values():
        counts[node.state] = counts.get(node.state, 0) + 1
    print(f"{file}: {len(graph.nodes)} resources, {', '.join(f'{number} {state}' for state, number in counts.items())}")
    return 0


def _configuration(stack: str, graph: Graph, *, planned: bool) -> Configuration:
    """The deployed one, or the stack file's for a plan; also where another version of this project deployed it."""
    try:
        if not planned and graph.configuration is not None:
            return Configuration.model_validate(graph.configuration)
    except ValidationError:
        pass  # the stack file's stands in
    return configuration_of(stack, Path.cwd())


def _preview(stack: str, passed_on: list[str]) -> Any:
    try:
        return _pulumi(stack, "preview", "--json", "--show-sames", "--non-interactive", *passed_on)
    except GraphError as error:
        if "unknown flag" in str(error) or "--json" in str(error):
            raise GraphError(
                f"the bundled engine draws only what is deployed; make up STACK={stack}, or install the Pulumi CLI "
                "(https://www.pulumi.com/docs/install/)"
            ) from None
        raise


def _pulumi(stack: str, *command: str) -> Any:
    try:
        done = subprocess.run(
            ["pulumi", *command, "--stack", stack],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise GraphError(f'pulumi is not on PATH; eval "$(make -s env STACK={stack})"') from None
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = None
    if done.returncode != 0 or not isinstance(document, dict):
        found = [each["message"] for each in (document or {}).get("diagnostics", []) if each.get("severity") == "error"]
        reason = " ".join((" ".join(found) or done.stderr or done.stdout).split()).removeprefix("error: ")
        raise GraphError(f"pulumi {' '.join(command)} of stack {stack}: {reason}")
    return document


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
