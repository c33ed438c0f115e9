"""python -m monitoring STACK [STACK …] [--port 9187 | --once]: an exporter for Prometheus that wakes no replica.

It keeps none up either. Needs `pulumi` and a Modal token, as `make -s env STACK=…` sets them up. Prometheus scrapes
http://127.0.0.1:9187/metrics and needs no key; it listens on this machine alone unless --host says otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from monitoring.exposition import gauges, regrouped
from monitoring.watched import Watched

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def main(arguments: list[str] | None = None) -> int:
    from components.dynamic import DeploymentError
    from infra.settings import SettingsError
    from infra.stack_file import StackFileError
    from infra.stack_outputs import OutputsError
    from monitoring.stacks import watched_stack

    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    parser.add_argument("stacks", nargs="+", metavar="STACK")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9187)
    parser.add_argument("--once", action="store_true", help="print what a scrape would get, and end")
    asked = parser.parse_args(arguments)
    try:
        watched = [watched_stack(stack) for stack in asked.stacks]
    except (OutputsError, StackFileError, SettingsError, DeploymentError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if asked.once:
        print(scraped(watched), end="")
        return 0
    try:
        server = serving(watched, asked.host, asked.port)
    except OSError as error:
        print(f"error: port {asked.port}: {error.strerror}; --port takes another", file=sys.stderr)
        return 1
    print(f"exporter: {', '.join(asked.stacks)} on http://{asked.host}:{server.server_port}/metrics", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0


def serving(watched: Sequence[Watched], host: str, port: int) -> ThreadingHTTPServer:
    """A server that listens already; port 0 takes a free one. One scrape at a time: what is asked is remembered."""
    lock = Lock()

    class Exporter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404, "GET /metrics")
                return
            with lock:
                text = scraped(watched).encode()
            try:
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
            except ConnectionError:
                self.close_connection = True  # who asked has given up waiting

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a scrape every few seconds is no news."""

    return ThreadingHTTPServer((host, port), Exporter)


def scraped(watched: Sequence[Watched]) -> str:
    """Of all of them, at this moment."""
    return regrouped("".join(_exposition(each) for each in watched))


def _exposition(each: Watched) -> str:
    """One stack's part; that Modal does not answer for one must not hide the others, and is told as a metric."""
    try:
        text, asked = each.exposition(), 1
    except Exception as error:
        print(
            f"{each.stack}: {type(error).__name__}: {' '.join(str(error).split())[:200]}", file=sys.stderr, flush=True
        )
        text, asked = "", 0
    return (
        gauges([("glm_serving_modal_answered", "Whether Modal told of the stack.", {"stack": each.stack}, asked)])
        + text
    )


if __name__ == "__main__":
    sys.exit(main())
