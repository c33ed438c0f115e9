"""`python3 -m vllm.entrypoints.openai.api_server …`: the server without the `vllm` command."""

from __future__ import annotations

import sys

from standin.environment import faults

from vllm.command_line import parse_api_server
from vllm.engine_config import check_frontend
from vllm.server import run

if __name__ == "__main__":
    faults()
    parsed, defaults = parse_api_server(sys.argv[1:])
    check_frontend(parsed)
    run(parsed, defaults)
