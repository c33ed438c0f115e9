"""The Hub fails while the weights are fetched: the provider's one line, through the real pipeline app and container.

What passes by itself, a full volume and a refused token are shown with the deployment engine in tests/stack.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from components import modal_api
from components.dynamic import DeploymentError
from components.weights import WeightsProvider
from local.faults import Faults
from serving.params import PARAMS_VARIABLE, PipelineParams
from serving.recipe import Recipe, load_recipe
from tests.serving.conftest import MICRO, REPO_ROOT

pytestmark = pytest.mark.cloud
APP = "hub-faults"


@pytest.fixture(scope="module")
def weights(cloud: Any) -> Iterator[dict[str, Any]]:
    """Inputs of a ModelWeights whose pipeline app is deployed."""
    document = load_recipe(REPO_ROOT / "recipes" / "tiny-glm-local.yaml").to_json()
    document["model"]["repo"] = MICRO
    document["volumes"]["weights"]["name"] = f"{APP}-weights"
    document["volumes"]["kernels"]["name"] = f"{APP}-kernels"
    document["secrets"]["huggingFace"]["name"] = f"{APP}-hf"
    modal_api.write_secret("main", f"{APP}-hf", {"HF_TOKEN": cloud.env["HF_TOKEN"]})
    params = PipelineParams(app=APP, jobs_dict=f"{APP}-jobs", recipe=Recipe.model_validate(document))
    modal_api.deploy_app(
        "serving.apps.pipeline", params.model_dump_json(by_alias=True), PARAMS_VARIABLE, "main", "rolling"
    )
    yield {
        "environment": "main",
        "pipelineApp": APP,
        "jobsDict": f"{APP}-jobs",
        "volume": f"{APP}-weights",
        "repo": MICRO,
        "revision": "main",
        "layout": params.recipe.download.layout,
        "sentinel": "model.safetensors.index.json",
        "estimate": "in no time",
        "retain": False,
    }
    modal_api.stop_app("main", APP)


@pytest.fixture
def faults(cloud: Any) -> Iterator[Faults]:
    ordering = Faults.of(cloud.dir)
    yield ordering
    ordering.clear()


@pytest.mark.parametrize(
    ("kind", "match", "told"),
    [
        ("401", "", ["the Hub refuses the token", "(401)", f"{APP}-hf", "pulumi config set --secret hfToken"]),
        ("403", "", [f"{MICRO} is gated", "(403)", "accept the licence at http://127.0.0.1:"]),
        ("404", "", [f"knows no repository {MICRO}", "(404)", "correct model.repo in the recipe tiny-glm"]),
        ("500", "GET /api/models", ["gave up after 4 tries: the Hub answers 500", "https://status.huggingface.co"]),
        ("429", "GET /api/models", ["gave up after 4 tries: the Hub answers 429", "pulumi up"]),
    ],
)
def test_what_stays_is_one_line(
    weights: dict[str, Any], faults: Faults, kind: str, match: str, told: list[str]
) -> None:
    more = {"retry_after": 0} if kind == "429" else {}
    faults.hub(kind, match=match, times=None, **more)
    with pytest.raises(DeploymentError) as caught:
        WeightsProvider().create(weights)
    line = str(caught.value)
    assert line.startswith("weights: ")
    assert "\n" not in line
    assert " Next: " in line
    for words in told:
        assert words in line


def test_a_job_that_modal_refuses_to_start_is_started_at_once_when_it_does_not(
    weights: dict[str, Any], faults: Faults
) -> None:
    faults.quota()
    with pytest.raises(DeploymentError, match=r"Modal starts nothing more .*; raise the workspace's budget"):
        WeightsProvider().create(weights)
    faults.clear()
    began = time.monotonic()
    made = WeightsProvider().create(weights).outs
    assert time.monotonic() - began < 20  # a claim of whoever died holds longer
    assert made is not None
    assert made["problems"] == []
    assert modal_api.read_volume_file("main", weights["volume"], f"{made['folder']}/{weights['sentinel']}")
