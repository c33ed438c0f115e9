"""`python -m local fault …`: orders faults of the local cloud and its Hub, lists them, takes them back."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from local.faults import SPEND_LIMIT, Faults
from local.hub.faults import KINDS as HUB_KINDS
from local.modal_cloud.faults.rules import PHASES, ContainerPreemption, RpcFault

Command = argparse.ArgumentParser


def add(commands: argparse._SubParsersAction[Command], folder: Path) -> None:
    """Declares the command with its verbs; `run` does what was typed."""
    verbs = commands.add_parser("fault", help="order faults: python -m local fault --help").add_subparsers(
        dest="verb", required=True, metavar="verb"
    )

    def verb(name: str, text: str, order: Callable[[Faults, argparse.Namespace], Any] | None = None) -> Command:
        parser = verbs.add_parser(name, help=text, description=text)
        parser.add_argument("--dir", type=Path, default=folder, help="the cloud's folder ($LOCAL_DIR, or .local)")
        if order is not None:
            parser.set_defaults(order=order)
            parser.add_argument("--times", type=_times, help="how often it happens: a number, or `always`")
            if name != "hub":
                parser.add_argument("--share", type=float, metavar="P", help="to each thing only with this probability")
                parser.add_argument("--seed", type=int, metavar="N", help="of the dice for --share")
        return parser

    rpc = verb("rpc", "an RPC fails, is late, or loses its connection", _rpc)
    rpc.add_argument("rpc", help="name or pattern, such as VolumeCommit or 'Secret*'")
    rpc.add_argument("--status", help="gRPC status, such as UNAVAILABLE")
    rpc.add_argument("--message", help="what the error says")
    rpc.add_argument("--retry-after", type=float, metavar="S", help="ask the SDK to wait and try again, as Modal does")
    rpc.add_argument("--delay", type=float, metavar="S", help="seconds before anything happens")
    rpc.add_argument("--drop", choices=_choices(RpcFault, "drop"), help="cut the connection before or after the call")
    rpc.add_argument("--contains", metavar="TEXT", help="only requests with this text in them")
    rpc.add_argument("--caller", choices=("client", "container"), help="only calls from there")
    rpc.add_argument("--skip", type=int, metavar="N", help="let the first N through")

    quota = verb("quota", "the workspace's limit is reached: no call starts until cleared", _quota)
    quota.add_argument("--rpc", help="another RPC than FunctionMap")
    quota.add_argument("--message", help=f"other words than Modal's: {SPEND_LIMIT}")

    gpus = verb("gpus", "only so many GPUs of a type exist: containers wait until cleared", _gpus)
    gpus.add_argument("gpu", help="type, such as H200")
    gpus.add_argument("--total", type=int, metavar="N", help="those in use included (default 0)")

    kill = verb("kill", "a container is killed when it comes to a phase", _kill)
    kill.add_argument("container", help="pattern of APP/FUNCTION, such as 'my-app/*'")
    kill.add_argument("--at", choices=PHASES, help="default: start")
    kill.add_argument("--delay", type=float, metavar="S", help="seconds after that")

    preempt = verb("preempt", "a container is taken away as by Modal: an interrupt, some seconds, the end", _preempt)
    preempt.add_argument("container", help="pattern of APP/FUNCTION, such as 'my-app/*'")
    preempt.add_argument(
        "--at", choices=_choices(ContainerPreemption, "at"), help="default: now, or the next one ready"
    )
    preempt.add_argument("--delay", type=float, metavar="S", help="seconds after that")
    preempt.add_argument(
        "--grace", type=float, metavar="S", help="from the interrupt to the kill (default 30, as Modal)"
    )

    beat = verb("heartbeat", "a container's heartbeat is lost: it counts as dead", _heartbeat)
    beat.add_argument("container", help="pattern of APP/FUNCTION")
    beat.add_argument("--seconds", type=float, metavar="S", help="until the cloud gives it up (default 2)")

    image = verb("image", "an image build fails", _image)
    image.add_argument("match", help="text of a command of the layer that fails, such as its FROM tag")
    image.add_argument("--message", help="what the build says")

    volume = verb("volume", "a volume is slow or full, until cleared", _volume)
    volume.add_argument("volume", help="name or pattern")
    volume.add_argument("--delay", type=float, metavar="S", help="seconds that each of its RPCs takes longer")
    volume.add_argument("--free", type=int, metavar="BYTES", help="how much more fits")

    hub = verb("hub", "the Hub refuses, stalls, or sends nonsense", _hub)
    hub.add_argument("kind", help=f"a status (401, 403, 404, 429, 500 …) or {', '.join(HUB_KINDS[2:])}")
    hub.add_argument("--match", help='regular expression of "METHOD /path"; default: every request')
    hub.add_argument("--retry-after", type=int, metavar="S", help="with 429")
    hub.add_argument("--after-bytes", type=int, metavar="N", help="of the body: close, reset, stall, wrong_bytes")
    hub.add_argument("--seconds", type=float, metavar="S", help="of a stall")
    hub.add_argument("--bytes-per-second", type=float, metavar="N", help="with slow")

    verb("list", "what is ordered, and how often it happened")
    verb("clear", "takes all back, or these").add_argument("ids", nargs="*", help="as list shows them")


def run(options: argparse.Namespace) -> int:
    """Raises control_api.Refused."""
    faults = Faults.of(options.dir)
    match options.verb:
        case "list":
            for fault in faults.listed():
                print(json.dumps(fault))
        case "clear":
            faults.clear(*options.ids)
        case _:
            print(json.dumps(options.order(faults, options)))
    return 0


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options that were typed, and how often."""
    names = (*names, "share", "seed")
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    if options.times is not None:
        given["times"] = options.times if options.times > 0 else None
    return given


def _rpc(faults: Faults, options: argparse.Namespace) -> Any:
    names = ("status", "message", "retry_after", "delay", "drop", "contains", "caller", "skip")
    return faults.rpc(options.rpc, **_given(options, *names))


def _quota(faults: Faults, options: argparse.Namespace) -> Any:
    return faults.quota(**_given(options, "rpc", "message"))


def _gpus(faults: Faults, options: argparse.Namespace) -> Any:
    return faults.gpus(options.gpu, **_given(options, "total"))


def _kill(faults: Faults, options: argparse.Namespace) -> Any:
    return faults.kill(options.container, **_given(options, "at", "delay"))


def _preempt(faults: Faults, options: argparse.Namespace) -> Any:
    return faults.preempt(options.container, **_given(options, "at", "delay", "grace"))


def _heartbeat(faults: Faults, options: argparse.Namespace) -> Any:
    return faults.lose_heartbeat(options.container, **_given(options, "seconds"))


def _image(faults: Faults, options: argparse.Namespace) -> Any:
    return faults.break_image(options.match, **_given(options, "message"))


def _volume(faults: Faults, options: argparse.Namespace) -> Any:
    return faults.volume(options.volume, **_given(options, "delay", "free"))


def _hub(faults: Faults, options: argparse.Namespace) -> Any:
    names = ("match", "retry_after", "after_bytes", "seconds", "bytes_per_second")
    return faults.hub(options.kind, **_given(options, *names))


def _times(text: str) -> int:
    """0 stands for `always`."""
    if text == "always":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("a number from 1, or `always`")
    return int(text)


def _choices(cls: type, field: str) -> list[str]:
    hint = get_type_hints(cls)[field]
    assert hint is not Literal
    return [choice for choice in get_args(hint) if choice]
