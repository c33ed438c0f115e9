"""What a server compiles while it is asked: new files in its caches, by kernel."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.servers import files_outside


class Watched:
    """The artifact (or the stock server's DeepGEMM cache) and what a server has in its home and temporary folder."""

    def __init__(self, bench: Bench, name: str, kernels: Path) -> None:
        self._bench, self._name, self._kernels = bench, name, kernels
        self._known = self._files()

    def news(self) -> dict[str, int]:
        """Since the last time: how many kernels of each name. Triton has one entry a variant."""
        files = self._files()
        new, self._known = files - self._known, files
        return dict(sorted(Counter(filter(None, map(_kernel_of, new))).items()))

    def _files(self) -> set[str]:
        found = {str(path) for path in self._kernels.rglob("*") if path.is_file()}
        return found | set(files_outside(self._bench, self._name))


def _kernel_of(file: str) -> str:
    """The kernel that a cache's file is the one certain sign of; empty for the files beside it."""
    folder, name = file.split("/")[-2:]
    if name == "kernel.cubin":  # DeepGEMM: kernel.NAME.HASH/kernel.cubin
        return f"deep_gemm {folder.split('.')[1]}"
    if name.startswith("__grp__") and name.endswith(".json"):  # Triton
        return f"triton {name.removeprefix('__grp__').removesuffix('.json')}"
    if name.endswith(".so"):
        return f"library {name}"
    return "inductor graph" if "/fxgraph/" in file else ""
