"""The fresh process in which `modal_api.deploy_app` deploys: `python -m components.modal_deploy MODULE ENV STRATEGY`.

Prints one JSON document as its last line: `{"appId", "version"}`, or `{"error", "mayPass"}`: one line for a person,
and whether the same may succeed in a moment.
"""

from __future__ import annotations

import importlib
import json
import sys

from components.dynamic import DeploymentError
from components.garbage import collect_rarely
from components.modal_api import explained, find_app, one_line


def deploy(module: str, environment: str, strategy: str) -> dict[str, object]:
    import modal

    try:
        app = importlib.import_module(module).app
        with explained(f"app {app.name}", environment):
            app.deploy(environment_name=environment, strategy=strategy)
        live = find_app(environment, app.name)
    except (DeploymentError, modal.exception.Error) as error:
        return {"error": one_line(error), "mayPass": getattr(error, "may_pass", False)}
    if live is None:
        return {"error": f"app {app.name} was deployed, but Modal does not list it as deployed; `pulumi up` again"}
    return {"appId": live.app_id, "version": live.version}


if __name__ == "__main__":
    collect_rarely()
    answer = deploy(*sys.argv[1:])
    print(json.dumps(answer))
    sys.exit("error" in answer)
