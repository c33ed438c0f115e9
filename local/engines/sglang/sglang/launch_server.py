"""python3 -m sglang.launch_server: the inference server."""

from __future__ import annotations

import sys
from pathlib import Path

from standin.environment import faults
from standin.log import raw

from sglang.arguments import parse_launch
from sglang.server import run


def main() -> None:
    raw(
        f"{Path(__file__)}:56: UserWarning: 'python -m sglang.launch_server' is still supported, but 'sglang serve' is "
        "the recommended entrypoint.\n  Example: sglang serve --model-path <model> [options]\n  warnings.warn(\n"
    )
    faults()
    run(parse_launch(sys.argv[1:]))


if __name__ == "__main__":
    main()
