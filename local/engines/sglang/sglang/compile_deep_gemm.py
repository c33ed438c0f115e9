"""python3 -m sglang.compile_deep_gemm: fills the kernel caches by starting a server and asking it once.

Like the real tool it takes all server options, does not open the file of --config, sends no key with its requests,
and goes on asking until --timeout even when its server has died.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time

from standin.environment import faults, scaled
from standin.log import out, raw

from sglang.arguments import ServerArgs, parse_compile
from sglang.server import run

_POLL = 10.0


def main() -> int:
    faults()
    args, timeout = parse_compile(sys.argv[1:])
    args.disable_cuda_graph = True
    args.enable_torch_compile = False
    out("Disable CUDA Graph and Torch Compile to save time...")
    args.watchdog_timeout = timeout
    args.warmups = "compile-deep-gemm"
    out(
        "Begin DeepGEMM Kernels compilation...\n"
        "It may take a long time and timeout maybe raised while the compilation is still in progress.\n"
        "Just feel free to restart the command until the compilation is fully finished.\n"
    )
    server = os.fork()
    if not server:
        try:
            run(args, compiling=True)
        finally:
            os._exit(1)
    if not _ask_until_answered(args, timeout):
        raw(
            "Traceback (most recent call last):\nTimeoutError: DeepGEMM Kernels compilation timeout.\n\n"
            "Feel free and please restart the command.\n"
        )
        os.kill(server, signal.SIGKILL)
        return 1
    out("\nDeepGEMM Kernels compilation finished successfully.")
    time.sleep(scaled(_POLL))
    os.kill(server, signal.SIGKILL)
    return 0


def _ask_until_answered(args: ServerArgs, timeout: float) -> bool:
    """Asks for the model list, then for one generation. False when `timeout` seconds have passed."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if _request(args, "GET", "/v1/models", None) == 200:
            body = {"input_ids": [0, 1, 2, 3], "sampling_params": {"max_new_tokens": 8, "temperature": 0}}
            if _request(args, "POST", "/generate", body) == 200:
                return True
        time.sleep(min(scaled(_POLL), max(0.0, deadline - time.monotonic())))
    return False


def _request(args: ServerArgs, method: str, path: str, body: object) -> int | None:
    """The status; None where nobody answers: not yet or never again, the real tool cannot tell either."""
    host = "127.0.0.1" if args.host in (None, "", "0.0.0.0") else args.host
    connection = http.client.HTTPConnection(host, args.port, timeout=600)
    headers = {"Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        with connection.getresponse() as response:
            response.read()
            return response.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
