"""The real huggingface_hub downloads from the Hub: everything, once, checked, and resumed by ranges."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download

from tests.hub.conftest import REPO, RunningHub

SECOND_SHARD = r"GET .*model-00002-"


def _shard(files: dict[str, object], number: int) -> str:
    return next(name for name in files if name.startswith(f"model-{number:05d}-of-"))


def test_model_info_states_commit_sizes_and_hashes(hub: RunningHub) -> None:
    info = HfApi(hub.url, hub.token).model_info(REPO, files_metadata=True)
    assert info.sha is not None
    assert len(info.sha) == 40
    assert info.siblings is not None
    shards = [file for file in info.siblings if file.rfilename.endswith(".safetensors")]
    assert len(shards) >= 4
    assert all(file.size and file.blob_id for file in info.siblings)
    assert all(file.lfs is not None and file.lfs.size == file.size for file in shards)
    names = {file.rfilename for file in info.siblings}
    assert {"config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors.index.json"} <= names
    assert set(HfApi(hub.url, hub.token).list_repo_files(REPO)) == names


def test_commit_follows_from_content(hub: RunningHub, tmp_path: Path) -> None:
    api = HfApi(hub.url, hub.token)
    assert api.model_info(REPO).sha == api.model_info(REPO, revision="main").sha
    assert api.model_info(REPO, revision="v2").sha != api.model_info(REPO).sha
    from local.hub.store import Store

    assert Store(tmp_path).commit(REPO, 0).sha == api.model_info(REPO).sha


def test_snapshot_is_complete_and_matches_the_hashes(hub: RunningHub, tmp_path: Path) -> None:
    snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=hub.token, max_workers=4)
    info = HfApi(hub.url, hub.token).model_info(REPO, files_metadata=True)
    for file in info.siblings or []:
        content = (tmp_path / file.rfilename).read_bytes()
        assert len(content) == file.size
        if file.lfs is not None:
            assert hashlib.sha256(content).hexdigest() == file.lfs.sha256
    assert all(entry["requests"] == 1 for entry in hub.traffic().values())

    hub.control("DELETE", "requests")
    snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=hub.token)
    assert sum(entry["bytes"] for entry in hub.traffic().values()) == 0


def test_shards_are_real_safetensors_and_the_index_names_every_tensor(hub: RunningHub, tmp_path: Path) -> None:
    snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=hub.token)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    dtypes, found, total = set(), {}, 0
    for path in tmp_path.glob("*.safetensors"):
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        assert header.pop("__metadata__")["format"] == "pt"
        assert max(tensor["data_offsets"][1] for tensor in header.values()) == len(content) - 8 - length
        dtypes |= {tensor["dtype"] for tensor in header.values()}
        found |= dict.fromkeys(header, path.name)
        total += len(content) - 8 - length
    assert dtypes == {"F8_E4M3", "BF16", "F32"}
    assert found == index["weight_map"]
    assert total == index["metadata"]["total_size"]


def test_tiny_glm_is_about_64_mb_through_hf_endpoint_with_xet_installed(hub: RunningHub, tmp_path: Path) -> None:
    """As the download job does it: addresses and token from the environment, hf_xet importable."""
    pytest.importorskip("hf_xet")
    code = (
        "import hf_xet, huggingface_hub\n"
        "huggingface_hub.snapshot_download('glm-serving/tiny-glm', local_dir='tiny', max_workers=8)"
    )
    environment = {
        **os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "home"),
        "HF_XET_HIGH_PERFORMANCE": "1",
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True, timeout=60)
    shards = list((tmp_path / "tiny").glob("*.safetensors"))
    assert len(shards) >= 4
    assert 60e6 < sum(path.stat().st_size for path in shards) < 68e6


def test_a_cut_connection_is_resumed_where_it_broke(hub: RunningHub, tmp_path: Path) -> None:
    # Beyond huggingface_hub's 10 MiB chunk: what it has not written yet it cannot resume from.
    hub.fault(SECOND_SHARD, "close", after_bytes=12_000_000)
    repo, name = "glm-serving/tiny-glm", "model-00002-of-00005.safetensors"
    path = Path(hf_hub_download(repo, name, local_dir=tmp_path, endpoint=hub.url, token=hub.token))
    entry = hub.traffic()[f"{repo}/{name}"]
    assert entry["statuses"] == [200, 206]
    start = int(entry["ranges"][0].removeprefix("bytes=").rstrip("-"))
    assert start == 10 << 20
    assert entry["bytes"] == 12_000_000 + path.stat().st_size - start
    assert hashlib.sha256(path.read_bytes()).hexdigest() == _sha256(hub, name, repo)


def test_a_reset_connection_fails_the_file(hub: RunningHub, tmp_path: Path) -> None:
    hub.fault(SECOND_SHARD, "reset", after_bytes=300_000)
    with pytest.raises(Exception, match=r"(?i)reset|disconnect|closed"):
        snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=hub.token)
    assert hub.traffic()[_shard(hub.traffic(), 2)]["completed"] == 0
    snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=hub.token)
    assert len(list(tmp_path.glob("*.safetensors"))) == 7


def test_after_a_failed_download_only_what_is_missing_is_fetched(hub: RunningHub, tmp_path: Path) -> None:
    hub.fault(SECOND_SHARD, "status", status=500)
    with pytest.raises(Exception, match="500"):
        snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=hub.token, max_workers=1)
    complete = {name for name, entry in hub.traffic().items() if entry["completed"]}
    hub.control("DELETE", "requests")
    snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=hub.token)
    again = hub.traffic()
    assert complete
    assert not complete & {name for name, entry in again.items() if entry["bytes"]}
    assert again[_shard(again, 2)]["completed"] == 1


def test_a_moved_ref_brings_only_the_changed_files(hub: RunningHub, tmp_path: Path) -> None:
    first = HfApi(hub.url, hub.token).model_info(REPO).sha
    snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=hub.token)
    moved = hub.control("POST", "refs", {"repo": REPO, "ref": "main", "variant": 1})["commit"]
    try:
        assert moved != first
        hub.control("DELETE", "requests")
        snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=hub.token)
        fetched = {name for name, entry in hub.traffic().items() if entry["bytes"]}
        assert fetched == {"README.md", _shard(hub.traffic(), 2)}
        # The old commit stays reachable by its name.
        assert HfApi(hub.url, hub.token).model_info(REPO, revision=first).sha == first
    finally:
        hub.control("POST", "refs", {"repo": REPO, "ref": "main", "variant": 0})


def test_wrong_bytes_keep_the_size_and_change_the_hash(hub: RunningHub, tmp_path: Path) -> None:
    hub.fault(SECOND_SHARD, "wrong_bytes", after_bytes=5000)
    snapshot_download(REPO, local_dir=tmp_path, endpoint=hub.url, token=hub.token)
    name = _shard(hub.traffic(), 2)
    path = tmp_path / name
    assert path.stat().st_size == (hub.folder / "blobs" / _sha256(hub, name)).stat().st_size
    assert hashlib.sha256(path.read_bytes()).hexdigest() != _sha256(hub, name)


def test_single_file_into_the_cache(hub: RunningHub, tmp_path: Path) -> None:
    path = hf_hub_download(REPO, "config.json", cache_dir=tmp_path, endpoint=hub.url, token=hub.token)
    assert json.loads(Path(path).read_text())["architectures"] == ["GlmMoeDsaForCausalLM"]


def _sha256(hub: RunningHub, name: str, repo: str = REPO) -> str:
    info = HfApi(hub.url, hub.token).model_info(repo, files_metadata=True)
    return next(f.lfs.sha256 for f in info.siblings or [] if f.rfilename == name and f.lfs is not None)
