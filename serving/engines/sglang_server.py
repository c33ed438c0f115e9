"""`python3 -m serving.engines.sglang_server …`: SGLang's server, same arguments, behind the gate.

SGLang has no option for a middleware (0.5.10.post1 and 0.5.16 looked at; 0.5.16's plugins are installed packages with
entry points, which an untouched image has none of). So the gate goes onto the server's FastAPI object the moment the
server's own code has imported it, and `sglang.launch_server` then runs as if it had been started itself: same order of
imports, same `__main__` in its child processes, same exit status. The gate stands in front of all middleware, SGLang's
own key check among it, which stays in place and would refuse the key before a rotation.

The key is read from the running server's arguments (`--config` file), at each request.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType

from serving.engines.sglang import UNSERVABLE
from serving.warmup import CHAT_PATH

COMPLETIONS_PATH = "/v1/completions"
_SERVER = "sglang.srt.entrypoints.http_server"


class _GateInstaller(importlib.abc.MetaPathFinder):
    """Finds the server's module once, as the import system would, and has the gate put on its app after execution."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _SERVER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_guard(module: ModuleType) -> None:
            load(module)
            guard(module.app)

        spec.loader.exec_module = load_and_guard  # type: ignore[method-assign]
        return spec


def guard(app: object) -> None:
    """Puts the gate in front of SGLang's app (a FastAPI object that gets `server_args` before it serves).

    SGLang adds middleware until it serves, and the one added last comes first; what is built of them all, at the first
    message of the web server, is the place to stand in front of.
    """
    from serving.engines.gate import Gate

    build = app.build_middleware_stack  # type: ignore[attr-defined]

    def key() -> str | None:
        return getattr(getattr(app, "server_args", None), "api_key", None)

    def build_behind_the_gate() -> Gate:
        put_first(app, (CHAT_PATH, COMPLETIONS_PATH))
        return Gate(build(), api_key=key)

    app.build_middleware_stack = build_behind_the_gate  # type: ignore[attr-defined]


def put_first(app: object, paths: Sequence[str]) -> None:
    """Has the app's routes of these paths tried before all others; none of SGLang's shares a path with another.

    FastAPI goes through the routes one after another, and SGLang's check of the key does so once more. Chats are the
    58th of 80: 336 µs a request instead of 100 (0.5.16's routes and check, fastapi 0.165 on a slow core), and where 32
    come at once, the last waits for all of them.
    """
    routes = getattr(getattr(app, "router", None), "routes", None)
    if isinstance(routes, list):
        routes.sort(key=lambda route: getattr(route, "path", None) not in paths)


def _refused(name: str) -> str | None:
    """Why the server is not started with this argument. SGLang completes names, so their beginnings count as well."""
    flag = name.removeprefix("--")
    if flag == name or not flag:
        return None
    return next((cause for full, cause in UNSERVABLE.items() if full.startswith(flag)), None)


def main(arguments: Sequence[str]) -> None:
    """Does not return before the server has ended. Exits with 2 where a flag leaves nothing to serve, or opens a way
    around the gate."""
    for name in (argument.partition("=")[0] for argument in arguments):
        if cause := _refused(name):
            print(
                f"sglang_server: error: {name}: {cause}. Next: take it out of engine.flags in the recipe",
                file=sys.stderr,
            )
            raise SystemExit(2)
    sys.meta_path.insert(0, _GateInstaller())
    runpy.run_module("sglang.launch_server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
