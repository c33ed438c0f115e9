"""JIT caches: kernels found on disk are used, missing ones take their time and are written."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from standin.environment import scaled


@dataclass(frozen=True)
class Kernel:
    """One compiled kernel: the files it leaves behind, each with its size in bytes, and how long that takes."""

    files: tuple[tuple[Path, int], ...]
    seconds: float
    """On the real engine; scaled when waited for."""

    def cached(self) -> bool:
        for path, size in self.files:
            try:
                if path.stat().st_size != size:
                    return False
                with path.open("rb") as file:
                    if file.read(32) != _stamp(path):
                        return False
            except OSError:
                return False
        return True

    def compile(self) -> None:
        """Raises OSError where the cache can't be written."""
        time.sleep(scaled(self.seconds))
        for path, size in self.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.{os.getpid()}")
            stamp = _stamp(path)
            part.write_bytes((stamp * (size // len(stamp) + 1))[:size])
            part.replace(path)


def compile_missing(kernels: Iterable[Kernel]) -> int:
    """Compiles what is not on disk; returns how many that were."""
    missing = [kernel for kernel in kernels if not kernel.cached()]
    for kernel in missing:
        kernel.compile()
    return len(missing)


def digest(*facts: object) -> str:
    """A kernel's hash from everything it depends on."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def cache_root(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or os.path.expanduser(default))


def _stamp(path: Path) -> bytes:
    """What a kernel file begins with; a file with another beginning is broken and gets compiled anew."""
    return hashlib.sha256("/".join(path.parts[-2:]).encode()).digest()
