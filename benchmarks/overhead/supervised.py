"""A process with a supervisor in it, as a serving container has one: task on stdin, ends when stdin does."""

from __future__ import annotations

import json
import sys

from serving.recipe import Recipe
from serving.supervisor import Supervisor


def main() -> None:
    task = json.loads(sys.stdin.readline())
    supervisor = Supervisor(Recipe.model_validate(task["recipe"]), task["commit"], task["key"])
    supervisor.start()
    sys.stdin.read()
    supervisor.stop()


if __name__ == "__main__":
    main()
