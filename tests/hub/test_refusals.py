"""What the Hub refuses, huggingface_hub raises as its own exceptions; ranges and limits as HTTP has them."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub.conftest import REPO, RunningHub


def test_token_file_is_private(hub: RunningHub) -> None:
    assert (hub.folder / "token").stat().st_mode & 0o777 == 0o600
    assert hub.token.startswith("hf_")


def test_no_token(hub: RunningHub, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError) as raised:
        snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=False)
    assert raised.value.response.status_code == 401
    assert "Invalid username or password" in str(raised.value)


def test_wrong_token(hub: RunningHub, tmp_path: Path) -> None:
    with pytest.raises(HfHubHTTPError, match="Invalid credentials in Authorization header") as raised:
        snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token="hf_wrong")
    assert raised.value.response.status_code == 401
    assert not isinstance(raised.value, RepositoryNotFoundError)


def test_unknown_repository(hub: RunningHub, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError) as raised:
        snapshot_download("glm-serving/no-such", local_dir=tmp_path, endpoint=hub.url, token=hub.token)
    assert raised.value.response.status_code == 404


def test_unknown_revision(hub: RunningHub, tmp_path: Path) -> None:
    with pytest.raises(RevisionNotFoundError):
        snapshot_download(REPO, revision="nope", local_dir=tmp_path, endpoint=hub.url, token=hub.token)
    with pytest.raises(RevisionNotFoundError):
        HfApi(hub.url, hub.token).model_info(REPO, revision="0" * 40)


def test_unknown_file(hub: RunningHub, tmp_path: Path) -> None:
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(REPO, "no.json", cache_dir=tmp_path, endpoint=hub.url, token=hub.token)


def test_gated_repository_shows_its_info_and_refuses_its_files(hub: RunningHub, tmp_path: Path) -> None:
    repo = "glm-serving/tiny-glm-gated"
    assert HfApi(hub.url, hub.token).model_info(repo).gated == "manual"
    with pytest.raises(GatedRepoError) as raised:
        hf_hub_download(repo, "config.json", cache_dir=tmp_path, endpoint=hub.url, token=hub.token)
    assert raised.value.response.status_code == 403


def test_rate_limit_is_waited_out_as_retry_after_says(hub: RunningHub, tmp_path: Path) -> None:
    hub.fault(r"GET .*config\.json", "429", retry_after=0)
    start = time.monotonic()
    hf_hub_download(REPO, "config.json", cache_dir=tmp_path, endpoint=hub.url, token=hub.token)
    assert 0.9 < time.monotonic() - start < 5  # huggingface_hub adds a second of its own
    assert hub.control("GET", "faults")[0]["hits"] == 1


def test_a_stalled_stream_moves_on_when_the_fault_is_lifted(hub: RunningHub) -> None:
    hub.fault(r"GET .*tokenizer\.json", "stall", after_bytes=100)
    request = urllib.request.Request(f"{hub.url}/{REPO}/resolve/main/tokenizer.json")
    request.add_header("Authorization", f"Bearer {hub.token}")
    with urllib.request.urlopen(request, timeout=0.5) as response:
        assert len(response.read(100)) == 100
        with pytest.raises(TimeoutError):
            response.read(100)
    hub.control("DELETE", "faults")


def test_throttle_holds(hub: RunningHub, tmp_path: Path) -> None:
    hub.control("POST", "throttle", {"bytes_per_second": 20_000})
    start = time.monotonic()
    path = hf_hub_download(REPO, "tokenizer.json", cache_dir=tmp_path, endpoint=hub.url, token=hub.token)
    seconds = time.monotonic() - start
    assert os.path.getsize(path) / 30_000 < seconds < os.path.getsize(path) / 10_000 + 1


def test_a_slow_file_holds_up_no_other(hub: RunningHub, tmp_path: Path) -> None:
    hub.fault(r"GET .*tokenizer\.json", "slow", bytes_per_second=20_000)
    took = {}
    for name in ("tokenizer.json", "config.json"):
        start = time.monotonic()
        path = hf_hub_download(REPO, name, cache_dir=tmp_path, endpoint=hub.url, token=hub.token)
        took[name] = time.monotonic() - start
        size = os.path.getsize(path)
        if name == "tokenizer.json":
            assert took[name] > size / 30_000
    assert took["config.json"] < took["tokenizer.json"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_ordered_status_is_the_hubs_own_refusal(hub: RunningHub, status: int) -> None:
    hub.fault("", "status", status=status, times=None)
    with pytest.raises(HfHubHTTPError) as raised:
        HfApi(hub.url, hub.token).model_info(REPO)
    assert raised.value.response.status_code == status
    assert isinstance(raised.value, GatedRepoError) is (status == 403)
    assert isinstance(raised.value, RepositoryNotFoundError) is (status in (403, 404))  # a gated one is a subclass


@pytest.mark.parametrize(
    ("asked", "status", "length"),
    [("bytes=0-99", 206, 100), ("bytes=-10", 206, 10), ("bytes=99999999-", 416, 0), ("bytes=0-1,5-6", 416, 0)],
)
def test_ranges(hub: RunningHub, asked: str, status: int, length: int) -> None:
    request = urllib.request.Request(f"{hub.url}/{REPO}/resolve/main/config.json")
    request.add_header("Authorization", f"Bearer {hub.token}")
    request.add_header("Range", asked)
    with _open(request) as response:
        assert response.status == status
        assert len(response.read()) == length
        assert response.headers["Content-Range"].startswith("bytes " if length else "bytes */")


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    """The answer, whatever its status."""
    address = urllib.parse.urlsplit(request.full_url)
    connection = http.client.HTTPConnection(address.netloc, timeout=5)
    connection.request(request.get_method(), address.path, headers=dict(request.header_items()))
    return connection.getresponse()


def test_signed_links_need_no_token_and_cannot_be_forged(hub: RunningHub) -> None:
    api = HfApi(hub.url, hub.token)
    name = next(name for name in api.list_repo_files(REPO) if name.endswith(".safetensors"))
    request = urllib.request.Request(f"{hub.url}/{REPO}/resolve/main/{name}", method="HEAD")
    request.add_header("Authorization", f"Bearer {hub.token}")

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments: object) -> None:
            return None

    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.build_opener(Stay).open(request, timeout=5)
    headers = raised.value.headers
    assert raised.value.code == 302
    assert headers["X-Repo-Commit"] == api.model_info(REPO).sha
    assert headers["X-Linked-Size"].isdigit()
    assert len(headers["X-Linked-ETag"].strip('"')) == 64
    assert "X-Xet-Hash" not in headers
    link = hub.url + headers["Location"]
    with urllib.request.urlopen(link, timeout=5) as response:
        assert response.status == 200
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(link[:-4] + "0000", timeout=5)


def test_a_bad_fault_is_refused_with_its_reason(hub: RunningHub) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        hub.fault("x", "explode")
    assert raised.value.code == 400
    assert "kind must be one of" in raised.value.read().decode()
