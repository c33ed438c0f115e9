"""When a stack pays for another try to prove kernels complete, and when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from components import kernels, ownership
from components.artifacts import Artifact
from components.dynamic import Properties
from components.kernels import KernelsProvider

INPUTS: Properties = {
    "environment": "main",
    "pipelineApp": "glm-pipeline",
    "jobsDict": "glm-jobs",
    "volume": "kernels",
    "key": "sm100-0123",
    "marker": ".compiled",
    "commit": "c" * 40,
    "timeout": 3600,
    "estimate": "8×B200, about 10 min, about $8.33",
}


class Volume:
    """What a look at it finds, and how the jobs leave it: `proofs` says of each whether the kernels are proven then."""

    def __init__(self, artifact: Artifact | None, proofs: list[bool]) -> None:
        self.artifact, self.proofs, self.jobs = artifact, proofs, 0

    def run_job(self, job: Any, report: Any) -> dict[str, Any]:
        self.artifact = complete(self.proofs[self.jobs])
        self.jobs += 1
        return {"files": 1, "bytes": 5, "seconds": 300.0}


def complete(proven: bool | None) -> Artifact:
    manifest = {"files": [{"path": "a", "size": 5}], **({} if proven is None else {"proven": proven})}
    return Artifact(manifest, f"sha-{proven}", [])


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> Volume:
    found = Volume(None, [])
    monkeypatch.setattr(KernelsProvider, "inspect", lambda self, props: found.artifact)
    monkeypatch.setattr(kernels, "run_job", found.run_job)
    monkeypatch.setattr(ownership, "take", lambda *place: "me")
    return found


def up(olds: Properties, **changes: Any) -> Properties:
    """The state after the next `up`; the same object where it changes nothing."""
    provider, news = KernelsProvider(), {**INPUTS, **changes}
    if not provider.diff("id", olds, news).changes:
        return olds
    outs = provider.update("id", olds, news).outs
    assert outs is not None
    return outs


def created() -> Properties:
    outs = KernelsProvider().create(INPUTS).outs
    assert outs is not None
    return outs


def test_a_try_that_proved_nothing_is_not_repeated_by_itself(volume: Volume) -> None:
    volume.proofs = [False, False, True]
    first = created()
    assert (first["proven"], first["proofTimeout"], volume.jobs) == (False, 3600, 1)
    assert up(first) is first
    second = up(first, timeout=5400)
    assert (second["proven"], second["proofTimeout"], volume.jobs) == (False, 5400, 2)
    assert up(second, timeout=5400) is second
    third = up(second, timeout=7200)
    assert (third["proven"], third["owner"], volume.jobs) == (True, "me", 3)
    assert up(third, timeout=9000) is third
    assert volume.jobs == 3


def test_its_price_is_said_and_the_kernels_are_not_called_compiled(
    volume: Volume, capsys: pytest.CaptureFixture[str]
) -> None:
    volume.artifact, volume.proofs = complete(False), [True]
    assert created()["proven"]
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("kernels: proving sm100-0123, at most two starts, less than to compile it: 8×B200")
    assert "$8.33" in first


def test_a_stack_from_before_is_asked_by_a_refresh_and_then_tries_once(volume: Volume) -> None:
    volume.artifact, volume.proofs = complete(None), [False]
    old = {**INPUTS, "files": 1, "problems": [], "manifestSha256": "sha", "owner": "me"}
    del old["timeout"]
    assert up(old) is old
    refreshed = KernelsProvider().read("id", old).outs
    assert refreshed is not None
    tried = up(refreshed)
    assert volume.jobs == 1
    again = KernelsProvider().read("id", tried).outs
    assert again is not None
    assert up(again) is again
    assert volume.jobs == 1


def test_kernels_that_are_proven_cost_nothing(volume: Volume) -> None:
    volume.artifact = complete(True)
    made = created()
    assert made["proven"]
    assert up(made, marker=".other")["proven"]
    assert volume.jobs == 0
