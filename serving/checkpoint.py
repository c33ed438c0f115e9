"""The files of a checkpoint: what the Hub says they are, and whether those on disk are the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from serving.manifest import write_atomically
from serving.recipe import Recipe

LEDGER = ".verified.json"
_READ = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    path: str
    size: int
    """Bytes."""
    sha256: str | None
    """Of the content, where the Hub states it (files in LFS or Xet)."""
    blob_id: str | None
    """git's name of the content, for the others."""


class Hub:
    """The three questions asked of the Hub. Whatever it raises is the Hub client's; see `hub_errors.translate`."""

    def __init__(self, recipe: Recipe, token: str | None) -> None:
        from huggingface_hub import HfApi

        self._repo = recipe.model.repo
        self._workers = recipe.download.workers
        # `False`: without a token of the stack's own, none that happens to lie around is used either.
        self._token: str | bool = token or False
        self._endpoint = os.environ.get("HF_ENDPOINT") or None
        self._api = HfApi(endpoint=self._endpoint, token=self._token)

    def commit_of(self, revision: str) -> str:
        """The 40-hex commit that a branch or tag stands for now."""
        sha = self._api.model_info(self._repo, revision=revision).sha
        if not sha:
            raise ConnectionError(f"the Hub did not tell the commit of {self._repo}@{revision}")
        return sha

    def files(self, commit: str) -> list[RemoteFile]:
        from huggingface_hub.hf_api import RepoFile

        tree = self._api.list_repo_tree(self._repo, recursive=True, revision=commit)
        return [
            RemoteFile(
                path=entry.path,
                size=entry.lfs.size if entry.lfs else entry.size,
                sha256=entry.lfs.sha256 if entry.lfs else None,
                blob_id=None if entry.lfs else entry.blob_id,
            )
            for entry in tree
            if isinstance(entry, RepoFile)
        ]

    def fetch(self, commit: str, paths: Iterable[str], folder: Path) -> None:
        """Downloads these files into `folder`; each appears under its name only when it is whole."""
        import glob

        from huggingface_hub import snapshot_download
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        snapshot_download(
            self._repo,
            revision=commit,
            local_dir=folder,
            allow_patterns=[glob.escape(path) for path in paths],
            max_workers=self._workers,
            token=self._token,
            endpoint=self._endpoint,
        )


def content_hashes(path: Path) -> tuple[str, str]:
    """SHA-256 of the content, and git's blob id of it."""
    size = path.stat().st_size
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_READ):
            sha256.update(chunk)
            if size < 100 * _READ:  # large files are in LFS and have a SHA-256: no second hash over 700 GB
                blob.update(chunk)
    return sha256.hexdigest(), blob.hexdigest()


class WrongContent(Exception):
    """A file that is not what the Hub says it is."""


def check_file(folder: Path, remote: RemoteFile) -> str:
    """SHA-256 of the file on disk. Raises WrongContent or FileNotFoundError."""
    path = folder / remote.path
    size = path.stat().st_size
    if size != remote.size:
        raise WrongContent(f"{remote.path}: {size:,} bytes, expected {remote.size:,}")
    sha256, blob_id = content_hashes(path)
    if remote.sha256 and sha256 != remote.sha256:
        raise WrongContent(f"{remote.path}: SHA-256 {sha256[:16]}…, expected {remote.sha256[:16]}…")
    if not remote.sha256 and remote.blob_id and blob_id != remote.blob_id:
        raise WrongContent(f"{remote.path}: git blob {blob_id[:16]}…, expected {remote.blob_id[:16]}…")
    return sha256


class Ledger:
    """Which files were checked already, so that a resumed download does not read 700 GB again.

    An entry holds as long as size and modification time are those of the check.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[str, tuple[int, int, str]] = {}
        try:
            document = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
            self._entries = {path: (int(e[0]), int(e[1]), str(e[2])) for path, e in document.items()}
        except (OSError, ValueError, TypeError, AttributeError, IndexError):
            self._entries = {}  # none yet, or cut off while written: everything is checked anew

    def sha256(self, remote: RemoteFile) -> str | None:
        """Of a file known to be right; None where it has to be checked (or fetched)."""
        entry = self._entries.get(remote.path)
        if entry is None or entry[0] != remote.size or (remote.sha256 and entry[2] != remote.sha256):
            return None
        try:
            status = (self._folder / remote.path).stat()
        except OSError:
            return None
        return entry[2] if (status.st_size, status.st_mtime_ns) == entry[:2] else None

    def add(self, path: str, sha256: str) -> None:
        status = (self._folder / path).stat()
        self._entries[path] = (status.st_size, status.st_mtime_ns, sha256)

    def forget(self, path: str) -> None:
        self._entries.pop(path, None)

    def save(self) -> None:
        write_atomically(self._folder / LEDGER, json.dumps(dict(self._entries)))
