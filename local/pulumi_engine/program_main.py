"""Runs a Pulumi program in this process: what the CLI's Python language host starts. Not imported by the engine."""

import asyncio
import json
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

sys.path.pop(0)  # this file's folder, whose modules are not the program's

import runpy

import pulumi
import pulumi.runtime

ALREADY_EXPLAINED = 32


def main(settings: dict[str, Any]) -> int:
    pulumi.runtime.set_all_config(pulumi.runtime.get_config_env(), pulumi.runtime.get_config_secret_keys_env())
    pulumi.runtime.configure(pulumi.runtime.Settings(**settings))
    folder = os.getcwd()
    sys.argv = [folder]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    threads = ThreadPoolExecutor(32)
    loop.set_default_executor(threads)
    # Tasks that a failed deployment leaves unfinished are no news.
    loop.set_exception_handler(lambda _loop, _context: None)

    def run() -> None:
        runpy.run_path(folder, run_name="__main__")

    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(run))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return 1
    except Exception:
        frames = traceback.format_exc().split("\n")
        own = next((place for place, line in enumerate(frames) if f'"{folder}' in line), 1)
        pulumi.log.error("Program failed with an unhandled exception:\n" + "\n".join([frames[0], *frames[own:]]))
        return ALREADY_EXPLAINED
    finally:
        threads.shutdown()
        loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
