"""A registry of counters, gauges and histograms, and their text form."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

Labels = tuple[tuple[str, str], ...]


def labels(**values: str) -> Labels:
    return tuple(sorted(values.items()))


class Registry:
    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {}
        self._buckets: dict[str, tuple[float, ...]] = {}

    def declare(self, kind: str, name: str, text: str, buckets: Iterable[float] = ()) -> None:
        self._kinds[name] = (kind, text)
        if kind == "histogram":
            self._buckets[name] = tuple(buckets)
            self._histograms[name] = {}
        else:
            self._values[name] = {}

    def set(self, name: str, at: Labels, value: float) -> None:
        self._values[name][at] = value

    def add(self, name: str, at: Labels, value: float = 1) -> None:
        self._values[name][at] = self._values[name].get(at, 0.0) + value

    def get(self, name: str, at: Labels) -> float:
        return self._values[name].get(at, 0.0)

    def observe(self, name: str, at: Labels, value: float, times: int = 1) -> None:
        histogram = self._histograms[name].setdefault(at, _Histogram(len(self._buckets[name])))
        histogram.sum += value * times
        histogram.count += times
        index = bisect_left(self._buckets[name], value)
        if index < len(histogram.counts):
            histogram.counts[index] += times

    def render(self) -> str:
        lines = []
        for name, (kind, text) in self._kinds.items():
            if not (self._values.get(name) or self._histograms.get(name)):
                continue
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            if kind == "histogram":
                for at, histogram in self._histograms[name].items():
                    lines += self._histogram(name, dict(at), histogram)
            else:
                lines += [f"{name}{_braces(dict(at))} {_number(value)}" for at, value in self._values[name].items()]
        return "\n".join(lines) + "\n"

    def _histogram(self, name: str, at: dict[str, str], histogram: _Histogram) -> Iterable[str]:
        yield f"{name}_sum{_braces(at)} {_number(histogram.sum)}"
        total = 0
        for bound, count in zip(self._buckets[name], histogram.counts, strict=True):
            total += count
            yield f"{name}_bucket{_braces({**at, 'le': _bound(bound)})} {_number(total)}"
        yield f"{name}_bucket{_braces({**at, 'le': '+Inf'})} {_number(histogram.count)}"
        yield f"{name}_count{_braces(at)} {_number(histogram.count)}"


class _Histogram:
    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.sum = 0.0
        self.count = 0


def _braces(at: Mapping[str, str]) -> str:
    def quoted(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{key}="{quoted(at[key])}"' for key in sorted(at)) + "}" if at else ""


def _number(value: float) -> str:
    return repr(float(value))


def _bound(value: float) -> str:
    return repr(float(value)) if value < 1e6 else f"{value:g}"
