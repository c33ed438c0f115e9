"""`vllm …`, and `python3 -m vllm.entrypoints.cli.main`."""

from __future__ import annotations

import sys

from standin.environment import faults

from vllm.command_line import parse_vllm
from vllm.engine_config import check_frontend
from vllm.server import run


def main() -> None:
    faults()
    args, defaults = parse_vllm(sys.argv[1:])
    check_frontend(args)
    run(args, defaults)


if __name__ == "__main__":
    main()
