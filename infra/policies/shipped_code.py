"""Properties of the code that a deploy ships, read from its syntax tree: what a setting cannot show.

Each function takes the folder of the package `serving`, and yields what is wrong with it, a sentence each.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SERVING = Path(__file__).resolve().parents[2] / "serving"


def traffic_before_warm_up(serving: Path = SERVING) -> Iterator[str]:
    """Modal sends requests once the methods marked `enter` have ended: the engine is started there and nowhere else."""
    server = _parse(serving / "apps" / "server.py")
    if not any(_calls(method, "start") for method in _decorated(server, "enter")):
        yield "serving/apps/server.py: no method marked modal.enter starts the engine"
    for method in _decorated(server, "web_server"):
        if any(isinstance(node, ast.Call) for statement in method.body for node in ast.walk(statement)):
            yield f"serving/apps/server.py: {method.name}, which Modal calls when traffic may come, still does work"


def uncaptured_processes(serving: Path = SERVING) -> Iterator[str]:
    """A child's output is read by us, both streams."""
    for path in sorted(serving.rglob("*.py")):
        for call in _calls(_parse(path), "Popen"):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if not given.get("stdout", "").endswith("PIPE") or "stderr" not in given:
                place = path.relative_to(serving.parent)
                yield f"{place}:{call.lineno}: a process whose stdout or stderr nobody reads"


def unwatched_engine(serving: Path = SERVING) -> Iterator[str]:
    """A monitor is started beside the engine, and what it calls ends the container's process at once."""
    supervisor = _parse(serving / "supervisor.py")
    if not _calls(supervisor, "Monitor"):
        yield "serving/supervisor.py: no monitor watches the engine"
    if not any(_value(call) == 1 for call in _calls(supervisor, "_exit")):
        yield "serving/supervisor.py: nothing ends the container with os._exit(1) when its engine is dead"


def volumes_not_reloaded(serving: Path = SERVING) -> Iterator[str]:
    server = _parse(serving / "apps" / "server.py")
    mounted = {
        target.id
        for node in server.body
        if isinstance(node, ast.Assign) and _calls(node, "volume")
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    reloaded = {
        call.func.value.id
        for method in _decorated(server, "enter")
        for call in _calls(method, "reload")
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
    }
    if not mounted:
        yield "serving/apps/server.py: no volume is mounted that this rule knows of"
    for name in sorted(mounted - reloaded):
        yield f"serving/apps/server.py: {name} is not reloaded when a container starts"


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _decorated(tree: ast.AST, name: str) -> list[ast.FunctionDef]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any(_name(mark) == name for mark in node.decorator_list)
    ]


def _calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node) == name]


def _name(node: ast.expr) -> str:
    """The last part of what is called: `enter` of `modal.enter()`."""
    target = node.func if isinstance(node, ast.Call) else node
    if isinstance(target, ast.Attribute):
        return target.attr
    return target.id if isinstance(target, ast.Name) else ""


def _value(call: ast.Call) -> object:
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) else None
