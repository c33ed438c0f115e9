"""`python -m local status` and `watch`: what goes on in the cloud, in words, as JSON, or as a page to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from local.control_api import Refused, ask
from local.faults import Faults
from local.installation import Installation
from local.lengths import lasted, size

_MOST = 12
"""Containers, and calls, that are told one by one."""


def overview(installation: Installation) -> dict[str, Any]:
    """What `modal_cloud.watching.overview` says, with the Hub's faults beside the cloud's. Raises Refused."""
    url = f"http://127.0.0.1:{installation.http_port}/control/overview"
    told: dict[str, Any] = ask(url, installation.token_secret, "GET", seconds=30)
    try:
        told["faults"] = Faults.of(installation.folder).listed()
    except Refused as problem:
        told["hub_problem"] = str(problem)
    return told


def page_url(installation: Installation) -> str:
    """For a browser on this machine. Whoever has it can look, and do nothing else."""
    from local.modal_cloud.watching.control import PAGE, page_token

    return f"http://127.0.0.1:{installation.http_port}{PAGE}#{page_token(installation.token_secret)}"


def as_json(installation: Installation) -> str:
    """Addresses and the overview."""
    addresses = {
        "modal": installation.server_url,
        "hub": installation.hub_url,
        "files": str(installation.folder),
    }
    return json.dumps({"running": True, **addresses, **overview(installation)}, indent=2)


def in_words(installation: Installation, told: dict[str, Any]) -> str:
    own = told["process"]
    lines = [
        f"running, process {own['pid']}, for {lasted(own['seconds'])},"
        f" {size(own['memory_bytes'])}, {own['cpu_seconds']:.1f} s CPU",
        f"  modal  {installation.server_url}",
        f"  hub    {installation.hub_url}" + (f"  {told['hub_problem']}" if "hub_problem" in told else ""),
        f"  files  {installation.folder}",
        "  page   python -m local watch",
    ]
    if told["ahead"]:
        lines.append(f"  clock  {lasted(told['ahead'])} ahead of the machine's")
    for heading, key, words in _SECTIONS:
        lines += _section(heading, map(words, told[key]), len(told[key]))
    if told["calls_open"] > len(told["calls"]):
        lines.append(f"({told['calls_open']} open calls in all)")
    return "\n".join(lines)


def _section(heading: str, rows: Iterable[str], count: int) -> list[str]:
    if not count:
        return []
    shown = [f"  {row}" for row, _ in zip(rows, range(_MOST), strict=False)]
    if count > _MOST:
        shown.append(f"  … and {count - _MOST} more: python -m local status --json")
    return [heading, *shown]


def _app(app: dict[str, Any]) -> str:
    environment = "" if app["environment"] == "main" else f" in {app['environment']}"
    first = (
        f"{app['name']} v{app['version']}{environment}, {app['state']}:"
        f" {app['containers']} container(s), {app['queued']} queued, {app['running']} running"
    )
    return "\n".join([first, *(f"      {url}" for url in app["urls"])])


def _container(container: dict[str, Any]) -> str:
    gpu = f", {container['gpu']}" if container["gpu"] else ""
    inputs = f", {container['inputs']} input(s)" if container["inputs"] else ""
    return (
        f"{container['id']} {container['name']} v{container['version']}"
        f" {container['phase']} for {lasted(container['seconds'])}{inputs}{gpu}"
    )


def _call(call: dict[str, Any]) -> str:
    states = ", ".join(f"{call[state]} {state}" for state in ("queued", "running", "waiting", "done") if call[state])
    return f"{call['id']} {call['name']} {call['kind']} for {lasted(call['seconds'])}: {states} of {call['inputs']}"


def _volume(volume: dict[str, Any]) -> str:
    environment = "" if volume["environment"] == "main" else f" in {volume['environment']}"
    return f"{volume['name'] or volume['id']}{environment}: {volume['files']} file(s), {size(volume['bytes'])}"


def _dict(record: dict[str, Any]) -> str:
    environment = "" if record["environment"] == "main" else f" in {record['environment']}"
    return f"{record['name'] or record['id']}{environment}: {record['entries']} entries"


def _queue(queue: dict[str, Any]) -> str:
    environment = "" if queue["environment"] == "main" else f" in {queue['environment']}"
    of = f" in {queue['partitions']} partitions" if queue["partitions"] > 1 else ""
    return f"{queue['name'] or queue['id']}{environment}: {queue['items']} item(s){of}"


def _gpu(gpu: dict[str, Any]) -> str:
    of = "" if gpu["total"] is None else f" of {gpu['total']}"
    waiting = f", {gpu['waiting']} container(s) wait" if gpu["waiting"] else ""
    return f"{gpu['type']}: {gpu['in_use']}{of} in use{waiting}"


def _fault(fault: dict[str, Any]) -> str:
    known = ("id", "kind", "times", "hits")
    what = " ".join(f"{name}={value}" for name, value in fault.items() if name not in known)
    times = "" if fault.get("times") is None else f" of {fault['times']}"
    return f"{fault['id']} {fault['kind']} {what}: happened {fault['hits']}{times} time(s)"


_SECTIONS: tuple[tuple[str, str, Callable[[dict[str, Any]], str]], ...] = (
    ("apps", "apps", _app),
    ("containers", "containers", _container),
    ("open calls", "calls", _call),
    ("volumes", "volumes", _volume),
    ("dicts", "dicts", _dict),
    ("queues", "queues", _queue),
    ("GPUs", "gpus", _gpu),
    ("faults ordered", "faults", _fault),
)
