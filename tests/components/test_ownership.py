"""Who may take over, change and delete what: no stack touches another's, and what was there before stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import modal
import pytest

from components import artifacts, modal_api, ownership
from components.dynamic import DeploymentError, Properties
from components.kernels import KernelsProvider
from components.pipeline_app import PipelineAppProvider
from components.secret import SecretProvider
from components.volume import VolumeProvider
from serving.apps.owner import app_tags, tag_of

pytestmark = [pytest.mark.cloud, pytest.mark.usefixtures("cloud")]

INPUTS: Properties = {
    "environment": "main",
    "pipelineApp": "none",
    "jobsDict": "none",
    "volume": "owned-kernels",
    "key": "sm100-0123",
    "marker": ".compiled",
    "commit": "c" * 40,
    "timeout": 60,
    "estimate": "",
}


@pytest.fixture
def kernels(tmp_path: Path) -> Iterator[Properties]:
    """Inputs of kernels that are complete on their volume, so that no job is needed."""
    (tmp_path / "kernel.cubin").write_bytes(b"12345")
    (tmp_path / artifacts.MANIFEST).write_text('{"files": [{"path": "kernel.cubin", "size": 5}], "proven": true}')
    (tmp_path / ".compiled").write_text("")
    modal_api.ensure_volume("main", "owned-kernels", 2)
    with modal.Volume.from_name("owned-kernels").batch_upload(force=True) as upload:
        upload.put_directory(str(tmp_path), "/sm100-0123")
    yield INPUTS
    modal_api.delete_volume("main", "owned-kernels")


def test_kernels_put_back_after_a_failed_change_survive_the_pending_delete(kernels: Properties) -> None:
    provider = KernelsProvider()
    before = provider.create(kernels)
    assert before.outs is not None
    again = provider.create(kernels)  # the change in between failed: `before` is still to be deleted
    assert again.outs is not None
    provider.delete(before.id, before.outs)
    assert "kernel.cubin" in modal_api.list_volume_files("main", "owned-kernels", "sm100-0123")
    provider.delete(again.id, again.outs)
    assert modal_api.list_volume_files("main", "owned-kernels", "sm100-0123") == {}


def test_a_volume_put_back_survives_likewise() -> None:
    provider = VolumeProvider()
    inputs = {"environment": "main", "name": "owned-volume", "version": 2, "retain": False, "stack": "o/p/s"}
    before, again = provider.create(inputs), provider.create(inputs)
    assert before.outs is not None
    assert again.outs is not None
    provider.delete(before.id, before.outs)
    assert modal_api.find_volume("main", "owned-volume")
    provider.delete(again.id, again.outs)
    assert modal_api.find_volume("main", "owned-volume") is None


def test_another_stacks_volume_is_refused_until_that_stack_gives_it_up(capsys: pytest.CaptureFixture[str]) -> None:
    provider = VolumeProvider()
    inputs = {"environment": "main", "name": "kept-volume", "version": 2, "retain": True, "stack": "o/p/first"}
    others = {**inputs, "stack": "o/p/second"}
    first = provider.create(inputs)
    assert first.outs is not None
    with pytest.raises(DeploymentError, match=r"volume kept-volume belongs to the stack o/p/first; .*`modal volume rm"):
        provider.create(others)
    renamed = provider.update(first.id, first.outs, {**inputs, "stack": "o/p/renamed"})
    assert renamed.outs is not None
    provider.delete(first.id, renamed.outs)
    assert provider.create(others).outs
    assert "exists already, taken over with its content" in capsys.readouterr().out
    modal_api.delete_volume("main", "kept-volume")


def test_a_volume_that_was_there_before_outlives_the_stack(capsys: pytest.CaptureFixture[str]) -> None:
    provider = VolumeProvider()
    modal.Volume.objects.create("made-by-hand", version=1)
    modal_api.write_volume_file("main", "made-by-hand", "theirs.txt", b"600 GB")
    inputs = {"environment": "main", "name": "made-by-hand", "version": 2, "retain": False, "stack": "o/p/first"}
    provider.create(inputs)
    made = provider.create(inputs)  # put back after a change, or tried again after a crash
    assert made.outs is not None
    provider.delete(made.id, made.outs)
    assert "was there before this stack, kept with its content" in capsys.readouterr().out
    assert modal_api.find_volume("main", "made-by-hand")
    modal_api.delete_volume("main", "made-by-hand")


def test_a_volume_whose_create_was_killed_before_it_had_an_owner_ends_with_the_stack() -> None:
    provider = VolumeProvider()
    modal.Volume.objects.create("half-made", version=2)
    inputs = {"environment": "main", "name": "half-made", "version": 2, "retain": False, "stack": "o/p/first"}
    made = provider.create(inputs)
    assert made.outs is not None
    provider.delete(made.id, made.outs)
    assert modal_api.find_volume("main", "half-made") is None


def secret(
    name: str, stack: str, *, value: str | None = "v", shared: bool = False, ambient: bool = False
) -> Properties:
    values = None if value is None else {"A": value}
    return {
        "environment": "main", "name": name, "keys": ["A"], "values": values, "setWith": "…", "stack": stack,
        "shared": shared, "ambient": ambient,
    }  # fmt: skip


def value_of(name: str) -> str:
    """What a container gets: Modal never gives a value back to anybody else."""

    def value() -> str:
        import os

        return os.environ["A"]

    app = modal.App(f"reads-{name}", include_source=False)
    secrets = [modal.Secret.from_name(name)]
    read = app.function(image=modal.Image.debian_slim(), secrets=secrets, serialized=True)(value)
    with app.run():
        return str(read.remote())


def test_a_secret_that_was_there_before_is_taken_over_only_when_asked_and_outlives_the_stack() -> None:
    provider = SecretProvider()
    modal.Secret.objects.create("by-hand", {"A": "old", "B": "mine"})
    provider.create(secret("by-hand", "o/p/first", ambient=True))
    assert value_of("by-hand") == "old"
    made = provider.create(secret("by-hand", "o/p/first"))
    assert made.outs is not None
    assert value_of("by-hand") == "v"
    provider.delete(made.id, made.outs)
    assert modal_api.secret_has_keys("main", "by-hand", ["A", "B"])


def test_a_stacks_own_secret_goes_with_it() -> None:
    provider = SecretProvider()
    made = provider.create(secret("own-secret", "o/p/first"))
    assert made.outs is not None
    again = provider.update(made.id, made.outs, secret("own-secret", "o/p/first", value="w"))
    assert again.outs is not None
    provider.delete(made.id, again.outs)
    assert not modal_api.secret_has_keys("main", "own-secret", [])


def test_a_shared_secret_stays_for_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    provider = SecretProvider()
    made = provider.create(secret("for-all", "o/p/first", shared=True))
    assert made.outs is not None
    provider.delete(made.id, made.outs)
    assert "kept for other stacks; `modal secret delete for-all --env main` removes it" in capsys.readouterr().out
    assert modal_api.secret_has_keys("main", "for-all", ["A"])


def test_another_stacks_secret_is_never_written_and_only_a_shared_one_is_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    provider = SecretProvider()
    made = provider.create(secret("taken", "o/p/first"))
    assert made.outs is not None
    with pytest.raises(DeploymentError, match="secret taken belongs to another stack, which would lose its A"):
        provider.create(secret("taken", "o/p/second"))
    shared = provider.create(secret("taken", "o/p/second", shared=True))
    assert shared.outs is not None
    assert "secret taken: is another stack's, used as it is" in capsys.readouterr().out
    provider.delete(shared.id, shared.outs)
    assert modal_api.secret_has_keys("main", "taken", ["A"])
    provider.delete(made.id, made.outs)


def test_another_stacks_app_is_refused_and_one_without_a_mark_is_taken_over() -> None:
    for name, stack in (("by-a-script", ""), ("of-a-stack", "o/p/first")):
        app = modal.App(name, tags=app_tags(stack), include_source=False)
        app.deploy(environment_name="main")
    assert ownership.refuse_foreign_app("main", "by-a-script", "o/p/second")
    assert not ownership.refuse_foreign_app("main", "of-a-stack", "o/p/first")
    assert not ownership.refuse_foreign_app("main", "is-not-there", "o/p/first")
    with pytest.raises(DeploymentError, match=r"app of-a-stack belongs to the stack o\.p\.first; .*`modal app stop"):
        ownership.refuse_foreign_app("main", "of-a-stack", "o/p/second")
    for name in ("by-a-script", "of-a-stack"):
        modal_api.stop_app("main", name)


def test_a_secret_written_anew_by_hand_is_drift_and_stays_the_stacks(capsys: pytest.CaptureFixture[str]) -> None:
    provider = SecretProvider()
    made = provider.create(secret("rewritten", "o/p/first"))
    assert made.outs is not None
    assert not provider.diff(made.id, made.outs, secret("rewritten", "o/p/first")).changes
    modal_api.rewrite_secret("main", "rewritten", {"A": "by-hand", "B": "1"})
    found = provider.read(made.id, made.outs).outs
    assert found is not None
    assert "was written anew by hand: what its A is now is not known" in capsys.readouterr().out
    assert provider.diff(made.id, found, secret("rewritten", "o/p/first")).changes
    mended = provider.update(made.id, found, secret("rewritten", "o/p/first")).outs
    assert mended is not None
    assert value_of("rewritten") == "v"
    assert "B" not in (modal_api.secret_keys("main", "rewritten") or set())
    assert (provider.read(made.id, mended).outs or {})["problems"] == []
    provider.delete(made.id, mended)
    assert modal_api.secret_keys("main", "rewritten") is None


def test_a_secret_put_back_after_a_failed_change_survives_the_pending_delete() -> None:
    provider = SecretProvider()
    before, again = provider.create(secret("put-back", "o/p/first")), provider.create(secret("put-back", "o/p/first"))
    assert before.outs is not None
    assert again.outs is not None
    provider.delete(before.id, before.outs)
    assert modal_api.secret_has_keys("main", "put-back", ["A"])
    provider.delete(again.id, again.outs)
    assert modal_api.secret_keys("main", "put-back") is None


def test_an_app_or_a_volume_made_anew_by_hand_is_not_the_stacks(capsys: pytest.CaptureFixture[str]) -> None:
    inputs = {"environment": "main", "name": "made-anew", "version": 2, "retain": False, "stack": "o/p/first"}
    volume = VolumeProvider().create(inputs)
    assert volume.outs is not None
    modal_api.delete_volume("main", "made-anew")
    modal.Volume.objects.create("made-anew", version=2)
    assert VolumeProvider().read(volume.id, volume.outs).id == ""
    assert "volume made-anew: is another one of that name" in capsys.readouterr().out
    modal_api.delete_volume("main", "made-anew")
    ids = []
    for _ in range(2):
        modal.App("made-anew", include_source=False).deploy(environment_name="main")
        live = modal_api.find_app("main", "made-anew")
        assert live is not None
        ids.append(live.app_id)
        if len(ids) == 1:
            modal_api.stop_app("main", "made-anew")
    deployed = {**PIPELINE, "name": "made-anew", "appId": ids[0], "version": 1, "liveVersion": 1}
    assert PipelineAppProvider().read(ids[0], deployed).id == ""
    assert "app made-anew: was stopped and deployed anew by hand" in capsys.readouterr().out
    assert PipelineAppProvider().read(ids[1], {**deployed, "appId": ids[1]}).id == ids[1]
    modal_api.stop_app("main", "made-anew")


PIPELINE: Properties = {
    "environment": "main",
    "name": "put-back",
    "params": json.dumps({"app": "put-back", "jobsDict": "put-back-jobs", "stack": "o/p/first"}),
    "source": "s",
    "attachments": {},
}


def test_an_app_put_back_after_a_failed_change_survives_the_pending_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deploy is a small app's: whose it is, is what counts here."""

    def deploy(_module: str, params: str, _variable: str, environment: str, _strategy: str) -> modal_api.LiveApp:
        document = json.loads(params)
        app = modal.App(document["app"], tags=app_tags(document["stack"], document["owner"]), include_source=False)
        app.deploy(environment_name=environment)
        live = modal_api.find_app(environment, document["app"])
        assert live is not None
        return live

    monkeypatch.setattr(modal_api, "deploy_app", deploy)
    provider = PipelineAppProvider()
    before, again = provider.create(PIPELINE), provider.create(PIPELINE)
    assert before.outs is not None
    assert again.outs is not None
    provider.delete(before.id, before.outs)
    assert modal_api.find_app("main", "put-back")
    provider.delete(again.id, again.outs)
    assert modal_api.find_app("main", "put-back") is None


def test_a_long_stack_name_still_makes_a_tag_of_its_own() -> None:
    one, other = (tag_of(f"organization/project/{'x' * 60}{last}") for last in "ab")
    assert len(one) == len(other) == 63
    assert one != other
