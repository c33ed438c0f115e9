"""Loads a checkpoint as far as an engine without a GPU can: reads every byte and believes nothing."""

from __future__ import annotations

import json
import re
import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

_ITEM_BITS = {"F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
              "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4}  # fmt: skip
_CRC = re.compile(rb'"crc32":"([0-9a-f]{8})"')
_CHUNK = 4 << 20


class SafetensorError(Exception):
    """What is wrong, naming the file; in a traceback it looks like the real library's."""

    __module__ = "safetensors_rust"


@dataclass(frozen=True)
class Checkpoint:
    config: dict[str, Any]
    bytes: int
    tensors: int
    shards: int


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder. Raises OSError or ValueError naming the file."""
    path = folder / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"It looks like the config file at '{path}' is not a valid JSON file: {error}") from None


def load(folder: Path, config: dict[str, Any]) -> Checkpoint:
    """Checks every shard that the index names, all of it. Raises SafetensorError or OSError."""
    index_path = folder / "model.safetensors.index.json"
    if index_path.exists():
        try:
            weight_map: dict[str, str] = json.loads(index_path.read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError) as error:
            raise SafetensorError(f"cannot read the weight map of {index_path}: {error!r}") from None
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
        if not names:
            raise SafetensorError(f"Cannot find any model weights with `{folder}`")
        weight_map = {}
        for name in names:
            weight_map |= dict.fromkeys(_header(folder / name)[1], name)
    found: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        found.setdefault(shard, set()).add(tensor)
    total = 0
    for shard in sorted(found):
        path = folder / shard
        if not path.exists():
            raise SafetensorError(f"{path} is missing, but {index_path.name} names it for {len(found[shard])} tensors")
        total += _check_shard(path, found[shard])
    return Checkpoint(config, total, len(weight_map), len(found))


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise SafetensorError(f"Error while deserializing header of {path}: HeaderTooLarge ({length} bytes)")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise SafetensorError(
                f"Error while deserializing header of {path}: InvalidHeaderDeserialization ({error})"
            ) from None
    header.pop("__metadata__", None)
    return 8 + length, header


def _check_shard(path: Path, expected: set[str]) -> int:
    """Header, extents, the tensors the index expects, and the whole file's CRC where the header states one."""
    start, header = _header(path)
    missing = expected - set(header)
    if missing:
        raise SafetensorError(f"{path} has no tensor {min(missing)} ({len(missing)} missing in all)")
    end = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1].get("data_offsets", [0])):
        try:
            first, last = tensor["data_offsets"]
            size = prod(tensor["shape"]) * _ITEM_BITS[tensor["dtype"]] // 8
        except (KeyError, TypeError, ValueError):
            raise SafetensorError(f"Error while deserializing header of {path}: InvalidTensor({name})") from None
        if first != end or last - first != size:
            raise SafetensorError(f"Error while deserializing header of {path}: InvalidOffset({name})")
        end = last
    actual = path.stat().st_size
    if start + end != actual:
        raise SafetensorError(
            f"Error while deserializing header of {path}: MetadataIncompleteBuffer "
            f"(tensors end at {start + end}, the file at {actual})"
        )
    _check_content(path, start)
    return actual


def _check_content(path: Path, header_size: int) -> None:
    crc = 0
    with path.open("rb") as file:
        head = file.read(header_size)
        match = _CRC.search(head)
        if match is None:
            while file.read(_CHUNK):  # nothing to compare with, but every byte must be readable
                pass
            return
        crc = zlib.crc32(head[: match.start(1)] + b"00000000" + head[match.end(1) :])
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    if f"{crc:08x}" != match[1].decode():
        raise SafetensorError(f"{path} is corrupt: CRC-32 {crc:08x}, its header says {match[1].decode()}")
