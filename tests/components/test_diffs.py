"""What each resource does about a change: nothing, an update in place, or a replacement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.output import Unknown

from components.api_key import ApiKeyProvider
from components.dynamic import Properties, compare
from components.kernels import KernelsProvider
from components.pipeline_app import PipelineAppProvider
from components.release_record import ReleaseRecordProvider
from components.secret import SecretProvider
from components.serving_app import ServingAppProvider
from components.smoke_test import SmokeTestProvider
from components.verification import VerificationProvider
from components.volume import VolumeProvider
from components.weights import WeightsProvider

APP: Properties = {
    "environment": "main",
    "name": "glm",
    "ingress": "web",
    "params": "{}",
    "source": "s1",
    "attachments": {"apiSecret": "1"},
    "autoscaler": {"minContainers": 0, "maxContainers": 3},
    "artifacts": {"weights": "w1", "kernels": "k1"},
    "strategy": "rolling",
    "version": 2.0,
    "liveVersion": 2.0,
    "url": "http://x",
}

SMOKE: Properties = {"app": "glm", "appId": "ap-1", "version": 2.0, "release": "r2", "url": "u"}


def verdict(provider: object, olds: Properties, **changes: object) -> tuple[bool, list[str]]:
    result = provider.diff("id", olds, {**olds, **changes})  # type: ignore[attr-defined]
    return bool(result.changes), list(result.replaces or [])


@pytest.mark.parametrize(
    ("provider", "olds", "change", "expected"),
    [
        (VolumeProvider(), {"name": "v", "retain": False}, {"retain": True}, (True, [])),
        (VolumeProvider(), {"environment": "main", "name": "v", "version": 2.0}, {}, (False, [])),
        (VolumeProvider(), {"environment": "main", "name": "v", "version": 2.0}, {"name": "w"}, (True, ["name"])),
        (SecretProvider(), {"name": "s", "keys": ["A"], "values": {"A": "1"}}, {"values": {"A": "2"}}, (True, [])),
        (SecretProvider(), {"name": "s", "keys": ["A"], "values": {"A": "1"}}, {"keys": ["B"]}, (True, ["keys"])),
        (SecretProvider(), {"name": "s", "keys": ["A"], "values": {"A": "1"}}, {"values": None}, (False, [])),
        (SecretProvider(), {"name": "s", "keys": ["A"], "values": None}, {"values": {"A": "1"}}, (True, [])),
        (SecretProvider(), {"name": "s", "grace": 60.0}, {"grace": 0}, (True, [])),
        (SecretProvider(), {"name": "s", "grace": 0.0}, {"grace": 60}, (False, [])),  # for the next rotation
        (SecretProvider(), {"name": "s"}, {"grace": 60}, (False, [])),  # a state that does not know
        (ApiKeyProvider(), {"rotation": 0.0, "value": "a"}, {"rotation": 1}, (True, ["rotation"])),
        (ApiKeyProvider(), {"rotation": 0.0, "value": "a"}, {"given": "b"}, (True, [])),
        (ApiKeyProvider(), {"rotation": 0.0, "value": "a"}, {"given": "a"}, (False, [])),
        (ApiKeyProvider(), {"rotation": 0.0, "value": "a", "given": "a"}, {"given": None}, (False, [])),
        (WeightsProvider(), {"revision": "main", "problems": []}, {"estimate": "x"}, (False, [])),
        (WeightsProvider(), {"revision": "main", "problems": ["a is missing"]}, {}, (True, [])),
        (WeightsProvider(), {"revision": "main", "problems": []}, {"revision": "v2"}, (True, ["revision"])),
        (WeightsProvider(), {"revision": "main", "problems": [], "rehash": 0.0}, {"rehash": 1}, (True, [])),
        (WeightsProvider(), {"revision": "main", "problems": []}, {"rehash": 0}, (False, [])),  # an older state
        (SecretProvider(), {"name": "s", "keys": ["A"], "problems": ["has no A any more"]}, {}, (True, [])),
        (KernelsProvider(), {"key": "a", "problems": ["marker is missing"]}, {}, (True, [])),
        (KernelsProvider(), {"key": "a", "problems": []}, {"key": Unknown()}, (True, ["key"])),
        (KernelsProvider(), {"problems": [], "proven": False, "proofTimeout": 60.0, "timeout": 60}, {}, (False, [])),
        (KernelsProvider(), {"problems": [], "proven": False, "proofTimeout": 60, "timeout": 90}, {}, (True, [])),
        (KernelsProvider(), {"problems": [], "proven": False, "timeout": 60}, {}, (True, [])),  # never tried
        (KernelsProvider(), {"problems": [], "proven": True, "proofTimeout": 60, "timeout": 90}, {}, (False, [])),
        (KernelsProvider(), {"problems": [], "timeout": 60}, {}, (False, [])),  # a state that does not know
        (VerificationProvider(), {"kernelsManifest": "a"}, {"kernelsManifest": "b"}, (True, ["kernelsManifest"])),
        (PipelineAppProvider(), {"source": "a", "version": 1, "liveVersion": 1}, {"source": "b"}, (True, [])),
        (PipelineAppProvider(), {"source": "a", "version": 1, "liveVersion": 2}, {}, (True, [])),
        (ServingAppProvider(), APP, {}, (False, [])),
        (ServingAppProvider(), APP, {"strategy": "recreate"}, (False, [])),
        (ServingAppProvider(), APP, {"autoscaler": {"minContainers": 0, "maxContainers": 5}}, (True, [])),
        (ServingAppProvider(), APP, {"params": '{"a":1}'}, (True, [])),
        (ServingAppProvider(), APP, {"params": Unknown()}, (True, [])),
        (ServingAppProvider(), APP, {"params": '{"routingRegion": "us-east"}'}, (True, [])),  # what it is by default
        (ServingAppProvider(), APP, {"params": '{"routingRegion": "eu-west"}'}, (True, ["params"])),
        (ServingAppProvider(), {**APP, "liveVersion": 3.0}, {}, (True, [])),
        (ServingAppProvider(), APP, {"name": "other"}, (True, ["name"])),
        (SmokeTestProvider(), SMOKE, {"version": Unknown(), "release": Unknown(), "url": Unknown()}, (False, [])),
        (SmokeTestProvider(), SMOKE, {"version": 3.0, "release": "r3"}, (True, [])),
        (SmokeTestProvider(), SMOKE, {"appId": "ap-2", "release": "r3"}, (True, ["appId"])),
        (SmokeTestProvider(), SMOKE, {"autoscaler": {"maxContainers": 5}}, (False, [])),
        (SmokeTestProvider(), SMOKE, {"quality": {"minRight": 0.9}}, (True, [])),
        (SmokeTestProvider(), SMOKE, {"facts": {"gpu": "H200:8"}}, (False, [])),  # the release tells of that
        (ReleaseRecordProvider(), {"app": "glm", "release": "r1"}, {"release": "r2"}, (True, [])),
        (ReleaseRecordProvider(), {"app": "glm", "release": "r1"}, {"release": Unknown()}, (False, [])),
        (ReleaseRecordProvider(), {"app": "glm", "release": "r1"}, {"facts": {"scaling": {}}}, (False, [])),
    ],
)
def test_verdict(provider: object, olds: Properties, change: Properties, expected: tuple[bool, list[str]]) -> None:
    assert verdict(provider, olds, **change) == expected


values = st.one_of(st.none(), st.text(max_size=3), st.integers(0, 3), st.just(Unknown()))
bags = st.dictionaries(st.sampled_from("abcd"), values)


@given(bags)
def test_nothing_changes_where_nothing_differs(bag: Properties) -> None:
    assert not compare(bag, dict(bag), replace="ab", update="cd").changes


@given(bags, bags)
def test_a_replacement_is_always_a_change_and_names_only_what_differs(olds: Properties, news: Properties) -> None:
    result = compare(olds, news, replace="ab", update="cd")
    assert result.replaces is not None
    assert bool(result.changes) >= bool(result.replaces)
    assert all(olds.get(name) != news.get(name) for name in result.replaces)
