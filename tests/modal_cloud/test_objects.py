"""Secrets, dicts, environments and tokens through the public SDK and CLI."""

from __future__ import annotations

import json
from uuid import uuid4

import modal
import pytest
from modal.exception import AlreadyExistsError, NotFoundError

from tests.local_cloud import LocalCloud

pytestmark = pytest.mark.cloud


@pytest.fixture
def name() -> str:
    return f"t-{uuid4().hex[:8]}"


def test_secret_is_created_found_listed_and_deleted(cloud: LocalCloud, name: str) -> None:
    modal.Secret.objects.create(name, {"ONE": "1", "TWO": "2"})
    with pytest.raises(AlreadyExistsError):
        modal.Secret.objects.create(name, {"ONE": "1"})
    assert name in [secret.name for secret in modal.Secret.objects.list()]
    modal.Secret.from_name(name, required_keys=["ONE"]).hydrate()
    with pytest.raises(NotFoundError, match="THREE"):
        modal.Secret.from_name(name, required_keys=["ONE", "THREE"]).hydrate()
    listed = cloud.modal("secret", "list", "--json").stdout
    assert name in listed
    assert '"1"' not in listed
    modal.Secret.objects.delete(name)
    with pytest.raises(NotFoundError):
        modal.Secret.from_name(name).hydrate()


def test_secret_update_merges_and_overwrite_replaces(cloud: LocalCloud, name: str) -> None:
    modal.Secret.objects.create(name, {"ONE": "1"})
    secret = modal.Secret.from_name(name)
    secret.update({"TWO": "2"})
    modal.Secret.from_name(name, required_keys=["ONE", "TWO"]).hydrate()
    cloud.modal("secret", "create", "--force", name, "THREE=3")
    with pytest.raises(NotFoundError):
        modal.Secret.from_name(name, required_keys=["ONE"]).hydrate()
    modal.Secret.from_name(name, required_keys=["THREE"]).hydrate()


def test_dict_keeps_entries_and_claims_atomically(cloud: LocalCloud, name: str) -> None:
    record = modal.Dict.from_name(name, create_if_missing=True)
    assert record.put("claim", "first", skip_if_exists=True)
    assert not record.put("claim", "second", skip_if_exists=True)
    assert record["claim"] == "first"
    record["claim"] = "third"
    record.update({"a": 1, "b": {"c": [2]}})
    assert sorted(record.keys()) == ["a", "b", "claim"]
    assert dict(record.items())["b"] == {"c": [2]}
    assert record.len() == 3
    assert "a" in record
    assert record.pop("a") == 1
    assert record.get("a", "gone") == "gone"
    with pytest.raises(KeyError):
        record["a"]
    record.clear()
    assert record.len() == 0
    assert name in [found.name for found in modal.Dict.objects.list()]
    modal.Dict.objects.delete(name)
    with pytest.raises(NotFoundError):
        modal.Dict.from_name(name).hydrate()


def test_only_one_of_many_claims_wins(cloud: LocalCloud, name: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    modal.Dict.objects.create(name)
    with ThreadPoolExecutor(8) as pool:
        won = list(
            pool.map(lambda n: modal.Dict.from_name(name).put("claim", n, skip_if_exists=True), range(24)),
        )
    assert won.count(True) == 1
    assert modal.Dict.from_name(name)["claim"] == won.index(True)


def test_environments_are_apart(cloud: LocalCloud, name: str) -> None:
    cloud.modal("environment", "create", name)
    assert name in cloud.modal("environment", "list").stdout
    modal.Secret.objects.create(name, {"A": "1"}, environment_name=name)
    with pytest.raises(NotFoundError):
        modal.Secret.from_name(name).hydrate()
    modal.Secret.from_name(name, environment_name=name).hydrate()
    with pytest.raises(NotFoundError, match="no-such"):
        modal.Secret.from_name(name, environment_name="no-such").hydrate()


def test_unknown_token_is_refused(cloud: LocalCloud) -> None:
    done = cloud.modal("secret", "list", check=False, env={"MODAL_TOKEN_SECRET": "as-wrong"})
    assert done.returncode != 0
    assert "python -m local env" in done.stdout + done.stderr


def test_lists_are_paged(cloud: LocalCloud, name: str) -> None:
    for number in range(5):
        modal.Dict.objects.create(f"{name}-{number}")
    newest = modal.Dict.objects.list(max_objects=2)
    assert [found.name for found in newest] == [f"{name}-4", f"{name}-3"]


def test_token_info(cloud: LocalCloud) -> None:
    assert "local" in cloud.modal("token", "info").stdout


def test_json_lists(cloud: LocalCloud, name: str) -> None:
    modal.Volume.objects.create(name)
    assert name in json.dumps(json.loads(cloud.modal("volume", "list", "--json").stdout))
