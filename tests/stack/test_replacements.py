"""What replaces artefacts and versions while clients are served: new things first, old ones go last.

One stack goes through all of it; three clients ask all the time and get nothing but answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import modal
import pytest

from local.faults import Faults
from tests.stack.project import Outcome, Project

pytestmark = [pytest.mark.cloud, pytest.mark.long]

NEW_VERSION = {"app", "smoke-test", "release-record"}
ENVIRONMENT = {"SGLANG_ENABLE_SPEC_V2": "1"}


BY_HAND = """
import modal
from huggingface_hub import snapshot_download
folder = snapshot_download("glm-serving/tiny-glm", revision="main", local_dir={folder!r})
modal.Volume.objects.create("swap-weights")
with modal.Volume.from_name("swap-weights").batch_upload() as upload:
    upload.put_directory(folder, "/tiny-glm")
modal.Secret.objects.create("swap-hf", {{"HF_TOKEN": {token!r}}})
modal.App("swap", include_source=False).deploy()
"""
"""What the scripts of a team that comes from them have left: weights without a manifest, a secret, an app."""


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    return new_project("swap")


@pytest.fixture
def faults(project: Project) -> Iterator[Faults]:
    faults = Faults.of(project.cloud.dir)
    yield faults
    faults.clear()


def up(project: Project) -> Outcome:
    """One `up` during which no client is refused."""
    with project.under_load() as answers:
        outcome = project.up()
    assert set(answers) == {"200"}, (Counter(answers), outcome.text)
    return outcome


def in_order(outcomes: list[Outcome], *steps: str) -> bool:
    """Whether these began one after the other, in all of the outcomes together."""
    order = [step for outcome in outcomes for step in outcome.order]
    places = [order.index(step) for step in steps]
    return places == sorted(places)


def secrets() -> set[str | None]:
    return {secret.name for secret in modal.Secret.objects.list()}


def listed(volume: str, folder: str = "/") -> set[str]:
    """Names in a folder of a volume."""
    return {entry.path.rsplit("/", 1)[-1] for entry in modal.Volume.from_name(volume).listdir(folder)}


def test_what_scripts_have_left_is_taken_over(project: Project, tmp_path: Path) -> None:
    project.python(BY_HAND.format(folder=str(tmp_path / "weights"), token=project.environ["HF_TOKEN"]))
    fetched = project.hub.shard_bytes()
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert project.hub.shard_bytes() == fetched
    for line in (
        "volume swap-weights: exists already, taken over with its content",
        "secret swap-hf: exists already, used as it is",
        "app swap: exists already, taken over: version 1 serves until ours is warm",
        "0.06 GB were on the volume already, hashed and recorded, not downloaded again",
    ):
        assert line in outcome.text, outcome.text
    assert "model-00001-of-00005.safetensors" in listed("swap-weights", "tiny-glm")  # the script's stay
    assert project.ask().status_code == 200


def test_a_new_revision_whose_verification_fails_at_first(project: Project, faults: Faults) -> None:
    before = project.outputs()
    project.edit_recipe("model", revision="v2")
    faults.kill("swap-pipeline/verify_setup", times=100)
    failed = up(project)
    assert failed.failed
    assert "Traceback" not in failed.text
    assert f"Version {before['version']} of swap was not touched and serves" in failed.text
    assert set(failed.steps) == {"pipeline", "weights", "kernels", "verification"}, failed.text
    faults.clear()
    outcome = up(project)
    assert not outcome.failed, outcome.text
    after = project.outputs()
    assert after["commit"] != before["commit"]
    assert in_order(
        [failed, outcome],
        "create-replacement weights",
        "create-replacement kernels",
        "create-replacement verification",
        "update app",
        "update smoke-test",
        "delete-replaced kernels",
    ), failed.order + outcome.order
    weights, kernels = listed("swap-weights", "tiny-glm"), listed("swap-kernels")
    assert before["commit"] in weights  # retainWeights
    assert after["commit"] in weights
    assert before["kernelKey"] not in kernels
    assert after["kernelKey"] in kernels
    assert f"{before['commit']} is kept on volume swap-weights" in outcome.text


def test_another_engine_volume_and_secret_with_a_bad_version_at_first(project: Project) -> None:
    """Everything old has to be there still when the version that uses it is rolled back to."""
    before, fetched = project.outputs(), project.hub.shard_bytes()
    project.edit_recipe("engine", version="0.5.16", image="lmsysorg/sglang:v0.5.16")
    project.edit_recipe("engine", environment={**ENVIRONMENT, "STANDIN_FAULT": "bad-answer"})
    project.configure("engineArgs.max-prefill-tokens", "16384")
    project.configure("retainWeights", "false")
    project.edit_recipe("volumes", kernels={"name": "swap-other-kernels", "mountPath": "/dg-cache"})
    project.edit_recipe("secrets", apiKey={"name": "swap-other-key", "key": "API_KEY"})
    failed = project.up()  # not under load: a bad version does answer until it is found out
    assert failed.failed
    assert f"was rolled back: version {before['version']} serves (as version {before['version'] + 2})" in failed.text
    assert before["kernelKey"] in listed("swap-kernels")
    assert {"swap-key", "swap-other-key"} <= secrets()
    assert project.ask().status_code == 200

    project.edit_recipe("engine", environment=ENVIRONMENT)
    outcome = up(project)
    assert not outcome.failed, outcome.text
    for old in ("kernels", "kernels-volume", "api-secret"):
        assert in_order([failed, outcome], f"create-replacement {old}", "update app", f"delete-replaced {old}"), old
        assert in_order([outcome], "update app", "update smoke-test", f"delete-replaced {old}"), outcome.order
    after = project.outputs()
    assert after["apiKey"] == before["apiKey"]
    assert after["kernelKey"] in listed("swap-other-kernels")
    assert "swap-kernels" not in {volume.name for volume in modal.Volume.objects.list()}
    assert "swap-other-key" in secrets()
    assert "swap-key" not in secrets()
    assert project.hub.shard_bytes() == fetched


def test_back_to_a_revision_that_is_still_there(project: Project) -> None:
    fetched, before = project.hub.shard_bytes(), project.outputs()
    project.edit_recipe("model", revision="main")
    outcome = up(project)
    assert not outcome.failed, outcome.text
    assert "already on the volume, checked" in outcome.text
    assert project.hub.shard_bytes() == fetched
    steps = ("create-replacement weights", "update app", "update smoke-test", "delete-replaced weights")
    assert in_order([outcome], *steps), outcome.order
    weights = listed("swap-weights", "tiny-glm")
    assert before["commit"] not in weights
    assert project.outputs()["commit"] in weights
    assert project.up().steps == {}


def test_another_ingress_is_another_url_and_says_so(project: Project) -> None:
    url = project.outputs()["url"]
    project.configure("ingress", "server")
    project.configure("scaling.minContainers", "1")
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert f"another ingress is another URL: {url} answers no more once this is deployed" in outcome.text
    assert set(outcome.steps) - NEW_VERSION == set(), outcome.text
    assert project.outputs()["url"] != url
    assert project.ask().status_code == 200
    assert project.ask(url=url, key=project.outputs()["apiKey"]).status_code == 404
