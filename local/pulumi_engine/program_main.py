"""Runs the Pulumi program of the working directory in this process, by the SDK's own language server.

Its request comes as JSON in the environment. The exit status is the program's own where it ends itself.
"""

import json
import os
import runpy
import sys

sys.path.pop(0)  # this file's folder, whose modules are not the program's

from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2

folder, statuses = os.getcwd(), [0]
sys.argv = [folder]


def program() -> None:
    try:
        runpy.run_path(folder, run_name="__main__")
    except SystemExit as end:  # which the language server would take for a crash
        statuses.append(int(end.code or 0))


answer = LanguageServer(program).Run(language_pb2.RunRequest(**json.loads(os.environ["PULUMI_RUN_REQUEST"])), None)
sys.exit(statuses[-1] or (1 if answer.error else 0))
