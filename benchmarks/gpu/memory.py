"""A GPU's memory as SGLang's log says it, beside what `recipes.memory_fit` says without a GPU."""

from __future__ import annotations

import re
from typing import Any

from recipes.memory_fit import fit_memory
from recipes.memory_plan import GIB
from serving.recipe import Recipe

_LOADED = re.compile(r"Load weight end\..*?type=(\w+).*?mem usage=([\d.]+) GB")
_BEFORE = re.compile(r"Load weight begin\. avail mem=([\d.]+) GB")
_POOL = re.compile(r"KV Cache is allocated\..*?#tokens: (\d+), KV size: ([\d.]+) GB")
_READY = re.compile(r"max_total_num_tokens=(\d+).*?available_gpu_mem=([\d.]+) GB")
_DRAFT = "NextN"


def memory(recipe: Recipe, log: str) -> dict[str, Any]:
    """GiB of one GPU, the fullest where ranks differ: `measured`, `estimated` and measured ÷ estimated of the weights,
    the draft's weights, the KV pool and the three together; tokens of the pool; what rank 0 has `left` in the end.

    SGLang's log calls GiB "GB". Raises ValueError for a log that lacks these lines.
    """
    loaded = [(kind.endswith(_DRAFT), float(size)) for kind, size in _LOADED.findall(log)]
    pools = [(int(tokens), float(size)) for tokens, size in _POOL.findall(log)]
    ready = _READY.search(log)
    if not loaded or not pools or not ready:
        raise ValueError("this log has no lines about loaded weights, the KV pool or the number of tokens")
    # Each rank of a tensor-parallel group writes of its weights and pools, rank 0 alone of the rest.
    ranks = sum(not draft for draft, _ in loaded)
    fit = fit_memory(recipe)
    measured = {
        "weights": max(size for draft, size in loaded if not draft),
        "draft": max((size for draft, size in loaded if draft), default=0.0),
        "kv_pool": sum(size for _, size in pools) / ranks,
    }
    estimated = {"weights": fit.weights / GIB, "draft": fit.draft / GIB, "kv_pool": fit.pool / GIB}
    for sizes in (measured, estimated):
        sizes["together"] = sum(sizes.values())
    return {
        name: {
            "measured": round(size, 2),
            "estimated": round(estimated[name], 2),
            "ratio": round(size / estimated[name], 4) if estimated[name] else None,
        }
        for name, size in measured.items()
    } | {
        "before": max(map(float, _BEFORE.findall(log))),
        "tokens": {"measured": int(ready[1]), "estimated": fit.tokens},
        "left": float(ready[2]),
        "ranks": ranks,
    }
