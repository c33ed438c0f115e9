"""Repositories on disk: content-addressed blobs, one JSON per commit, refs, and the token.

<dir>/token                          0600
<dir>/blobs/<sha256>
<dir>/repos/<owner>/<name>/commits/<40 hex>.json    {"variant": 0, "files": [...]}
<dir>/repos/<owner>/<name>/refs.json                {"main": 0, ...}: the variant a ref stands for
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from local.hub.models import MODELS, Model, generate

_REF_NAMES = {"main": 0, "v2": 1}
"""Refs every repository has from the beginning; what they point at is generated when first asked for."""


@dataclass(frozen=True)
class File:
    path: str
    size: int
    sha256: str
    oid: str
    """SHA-1 of the Git object: of the content, or of the LFS pointer."""
    pointer_size: int | None
    """Bytes of the LFS pointer; None for a file kept in Git itself."""

    @property
    def lfs(self) -> bool:
        return self.pointer_size is not None

    @property
    def etag(self) -> str:
        return f'"{self.sha256 if self.lfs else self.oid}"'


@dataclass(frozen=True)
class Commit:
    sha: str
    variant: int
    files: dict[str, File]


class Store:
    """All calls may come from several threads; generating a commit takes a second or two and happens once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        self.token = _read_or_make_token(folder / "token")
        self._lock = threading.Lock()
        self._commits: dict[tuple[str, int], Commit] = {}

    def model(self, repo: str) -> Model | None:
        return MODELS.get(repo)

    def refs(self, repo: str) -> dict[str, int]:
        path = self._repo(repo) / "refs.json"
        return {**_REF_NAMES, **(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})}

    def point(self, repo: str, ref: str, variant: int) -> Commit:
        """Makes a ref stand for a variant, as a push would; returns its commit."""
        commit = self.commit(repo, variant)
        refs = {**self.refs(repo), ref: variant}
        _write_json(self._repo(repo) / "refs.json", refs)
        return commit

    def resolve(self, repo: str, revision: str) -> Commit | None:
        """The commit of a ref or of a full 40-hex name; None where there is none."""
        refs = self.refs(repo)
        if revision in refs:
            return self.commit(repo, refs[revision])
        path = self._repo(repo) / "commits" / f"{revision}.json"
        if not revision.isalnum() or not path.exists():
            return None
        return self.commit(repo, json.loads(path.read_text(encoding="utf-8"))["variant"])

    def commit(self, repo: str, variant: int) -> Commit:
        """A variant of a repository, generated if it never was."""
        with self._lock:
            key = (repo, variant)
            if key not in self._commits:
                self._commits[key] = self._stored(repo, variant) or self._generate(repo, variant)
            return self._commits[key]

    def blob(self, file: File) -> Path:
        return self.folder / "blobs" / file.sha256

    def _repo(self, repo: str) -> Path:
        return self.folder / "repos" / repo

    def _stored(self, repo: str, variant: int) -> Commit | None:
        for path in sorted((self._repo(repo) / "commits").glob("*.json")):
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["variant"] == variant:
                files = {entry["path"]: File(**entry) for entry in document["files"]}
                if all(self.blob(f).exists() and self.blob(f).stat().st_size == f.size for f in files.values()):
                    return Commit(path.stem, variant, files)
        return None

    def _generate(self, repo: str, variant: int) -> Commit:
        work = Path(tempfile.mkdtemp(dir=self.folder, prefix="generating-"))
        try:
            hashes = generate(MODELS[repo], work, variant)
            files = {}
            for path in sorted(work.iterdir()):
                file = _describe(path, hashes.get(path.name))
                files[file.path] = file
                path.replace(self.blob(file))
        finally:
            shutil.rmtree(work)
        listing = "".join(f"{file.path}\0{file.oid}\n" for file in files.values())
        commit = Commit(hashlib.sha1(f"{repo}\n{listing}".encode()).hexdigest(), variant, files)
        _write_json(
            self._repo(repo) / "commits" / f"{commit.sha}.json",
            {"variant": variant, "files": [asdict(file) for file in files.values()]},
        )
        return commit


def _describe(path: Path, sha256: str | None) -> File:
    """`sha256` given: the file is one that the real Hub keeps in LFS."""
    size = path.stat().st_size
    if sha256 is None:
        content = path.read_bytes()
        return File(path.name, size, hashlib.sha256(content).hexdigest(), _git_oid(content), None)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return File(path.name, size, sha256, _git_oid(pointer), len(pointer))


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=1), encoding="utf-8")
    part.replace(path)


def _read_or_make_token(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    token = "hf_" + secrets.token_urlsafe(24).replace("-", "x").replace("_", "y")
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    return token
