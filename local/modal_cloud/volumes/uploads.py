"""v2 uploads: files arrive as 8 MiB blocks, addressed by content, and are put together once all are there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local.modal_cloud.folders import Folders
from local.modal_cloud.volumes.content import Content

BLOCK_SIZE = 8 * 1024 * 1024

UploadKey = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class UploadedFile:
    path: str
    size: int
    mode: int
    blocks: Sequence[str]
    """SHA-256 of each block, hex; trailing zero bytes of a block may have been left out."""


class Uploads:
    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._under_way: dict[UploadKey, frozenset[str]] = {}
        # An upload that was under way when the cloud stopped begins anew.
        for block in (folders.root / "blocks").iterdir():
            block.unlink()

    def missing(self, files: Sequence[UploadedFile]) -> list[tuple[int, int, str]]:
        """(file index, block index, SHA-256) of the blocks that have not arrived, each content once. Blocks that have
        arrived stay until `assemble` of the same files."""
        key = _key(files)
        self._under_way[key] = frozenset(sha256 for _, blocks in key for sha256 in blocks)
        seen: set[str] = set()
        missing = []
        for file_index, file in enumerate(files):
            for block_index, sha256 in enumerate(file.blocks):
                if sha256 not in seen and not self._folders.block(sha256).exists():
                    missing.append((file_index, block_index, sha256))
                seen.add(sha256)
        return missing

    async def assemble(self, content: Content, files: Sequence[UploadedFile]) -> None:
        """Puts the files into the volume; their blocks go unless another upload needs them."""
        parts = [(file, await asyncio.to_thread(self._assemble, content, file)) for file in files]
        for file, part in parts:
            content.finish_file(part, file.path, file.mode)
        done = self._under_way.pop(_key(files), frozenset())
        for sha256 in done.difference(*self._under_way.values()):
            self._folders.block(sha256).unlink(missing_ok=True)

    def _assemble(self, content: Content, file: UploadedFile) -> Path:
        part = content.start_file()
        with part.open("wb") as target:
            for index, sha256 in enumerate(file.blocks):
                target.seek(index * BLOCK_SIZE)
                target.write(self._folders.block(sha256).read_bytes())
            target.truncate(file.size)
        return part


def _key(files: Sequence[UploadedFile]) -> UploadKey:
    return tuple((file.path, tuple(file.blocks)) for file in files)
