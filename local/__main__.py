"""The local cloud (Modal, Hub, engines) on this machine: python -m local --help."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from local import clock_command, control, fault_command, garbage, run_command, trace_command
from local.control_api import Refused
from local.installation import Installation, default_folder


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["pulumi"]:
        from local.pulumi_engine import command_line

        return command_line.main(arguments[1:])
    options = _parser().parse_args(arguments)
    folder = options.dir.absolute()
    try:
        match options.command:
            case "start":
                return control.start(Installation.open(folder, options.port), options.foreground)
            case "daemon":
                with garbage.left_alone():
                    from local.daemon import run

                return run(Installation.open(folder), options.verbose)
            case "stop":
                return control.stop(_existing(folder))
            case "status":
                return control.status(_existing(folder), options.json)
            case "watch":
                return control.watch(_existing(folder))
            case "trace":
                _existing(folder)
                return trace_command.run(options)
            case "run":
                return run_command.run(options)
            case "logs":
                return control.logs(_existing(folder), options.follow, options.json)
            case "fault":
                _existing(folder)
                return fault_command.run(options)
            case "clock":
                _existing(folder)
                return clock_command.run(options)
            case "env":
                for name, value in _existing(folder).environment().items():
                    print(f"export {name}={shlex.quote(value)}")
    except (control.Problem, Refused) as problem:
        print(f"local: {problem}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"local: {folder}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _existing(folder: Path) -> Installation:
    if not (folder / "installation.json").exists():
        raise control.Problem(f"nothing was ever started in {folder}: python -m local start")
    return Installation.open(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__.partition(":")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    texts = {
        "start": "start it in the background, and return once it answers",
        "stop": "end it with all its containers; what was stored stays",
        "status": "what runs, and where: apps, containers, calls, volumes, GPUs, faults",
        "watch": "the address of a page that shows the same live",
        "logs": "what the cloud and the Hub have to say (containers: modal app logs)",
        "env": 'shell settings for modal and huggingface_hub: eval "$(python -m local env)"',
        "daemon": "what start runs in the background",
        "pulumi": "the Pulumi CLI's verbs, by the bundled engine: python -m local pulumi --help",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--dir", type=Path, default=default_folder(), help="its folder ($LOCAL_DIR, or .local)")
        if name == "start":
            command.add_argument("--port", type=int, help="port of MODAL_SERVER_URL at the first start")
            command.add_argument("--foreground", action="store_true", help="stay, and log to the terminal")
        if name == "daemon":
            command.add_argument("--verbose", action="store_true")
        if name == "logs":
            command.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
        if name in ("logs", "status"):
            command.add_argument("--json", action="store_true", help="for programs")
    fault_command.add(commands, default_folder())
    clock_command.add(commands, default_folder())
    trace_command.add(commands, default_folder())
    run_command.add(commands, default_folder())
    return parser


if __name__ == "__main__":
    sys.exit(main())
