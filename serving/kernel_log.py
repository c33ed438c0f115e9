"""Reads from DeepGEMM's log lines which GEMM shapes a compilation has announced and finished."""

from __future__ import annotations

import re

_SHAPE = re.compile(r"DeepGEMM JIT Compiling for <(?P<kernel>[^>]+)> (?P<sizes>N=\d+, K=\d+(?:, num_groups=\d+)?)")
_BAR = re.compile(r"DeepGEMM warmup:\s*(\d+)%\|")
_SUCCESS = re.compile(r"DeepGEMM Kernels compilation finished successfully")


class KernelLog:
    def __init__(self) -> None:
        self.shapes: list[str] = []
        """In the order of their announcement."""
        self.percent = 0
        """Of the current shape."""
        self.succeeded = False
        self._with_bar: set[str] = set()
        self._finished: set[str] = set()

    def read(self, line: str) -> None:
        if match := _SHAPE.search(line):
            shape = f"{match['kernel']} {match['sizes']}"
            if shape not in self.shapes:
                self.shapes.append(shape)
            self.percent = 0
        elif (match := _BAR.search(line)) and self.shapes:
            self.percent = int(match[1])
            self._with_bar.add(self.shapes[-1])
            if self.percent == 100:
                self._finished.add(self.shapes[-1])
        elif _SUCCESS.search(line):
            self.succeeded = True

    @property
    def unfinished(self) -> list[str]:
        """Shapes whose progress was shown and never came to its end."""
        return [shape for shape in self.shapes if shape in self._with_bar - self._finished]
