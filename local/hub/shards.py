"""Writes safetensors files by hand: 8 bytes of header length, a JSON header, the tensors' bytes.

The content is pseudo-random but fixed by a seed, and made of plausible weights: no NaN, no infinity. The header's
`__metadata__` carries a CRC-32 of the whole file (its own eight digits counted as zeros), so that a reader notices
a single flipped byte anywhere.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

ITEM_BYTES = {"F8_E4M3": 1, "BF16": 2, "F32": 4}
CRC_KEY = "crc32"
_NO_CRC = "00000000"

# FP8: sign and three mantissa bits as drawn, exponent 3..6 of 15 (0.02 to 0.9). BF16's upper byte: sign, and the
# exponent's upper bits so that values stay below 0.07.
_FP8 = bytes((b & 0x87) | ((3 + ((b >> 3) & 0x3)) << 3) for b in range(256))
_BF16_UPPER = bytes((b & 0x80) | 0x3C | (b & 0x01) for b in range(256))


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * ITEM_BYTES[self.dtype]


def tensor_bytes(tensor: Tensor, seed: str) -> bytes:
    """The tensor's content: the same for the same seed, name, type and shape, on every machine."""
    if tensor.dtype == "F32":  # block scales and router biases: one small positive value each
        scale = 0.001 + zlib.crc32(f"{seed}/{tensor.name}".encode()) / 2**32 / 1000
        return struct.pack("<f", scale) * prod(tensor.shape)
    data = hashlib.shake_128(f"{seed}/{tensor.name}".encode()).digest(tensor.size)
    if tensor.dtype == "F8_E4M3":
        return data.translate(_FP8)
    values = bytearray(data)
    values[1::2] = values[1::2].translate(_BF16_UPPER)
    return bytes(values)


def split(tensors: Iterable[Tensor], limit: int) -> Iterator[list[Tensor]]:
    """Consecutive groups of at most `limit` bytes each (a larger tensor makes a group of its own)."""
    group: list[Tensor] = []
    for tensor in tensors:
        if group and sum(t.size for t in group) + tensor.size > limit:
            yield group
            group = []
        group.append(tensor)
    if group:
        yield group


def write_shard(path: Path, tensors: list[Tensor], seed: str) -> str:
    """Writes one file and returns its SHA-256 in hex."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", CRC_KEY: _NO_CRC}}
    offset = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.size],
        }
        offset += tensor.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    parts = [tensor_bytes(tensor, seed) for tensor in tensors]
    crc = zlib.crc32(head)
    for part in parts:
        crc = zlib.crc32(part, crc)
    marker = f'"{CRC_KEY}":"{_NO_CRC}"'.encode()
    head = head.replace(marker, f'"{CRC_KEY}":"{crc:08x}"'.encode(), 1)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in (head, *parts):
            file.write(part)
            digest.update(part)
    return digest.hexdigest()
