"""The model at its full size, or as many of its layers as the GPUs hold: memory, time to ready, speed with and without
drafts, and what the memory's bandwidth would allow at best.

Weights of this size leave no room for a second server beside the first, so servers run one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.gpu.artifact import stock_kernels
from benchmarks.gpu.bench import Bench, say
from benchmarks.gpu.memory import memory
from benchmarks.gpu.scheduler import decoding
from benchmarks.gpu.servers import Ours, Plain, stock_server
from benchmarks.gpu.steady import alone
from serving.architecture import Architecture
from serving.engines import sglang
from serving.recipe import Recipe

STREAMS = (1, 8, 20, 48)
_REQUESTS = 2
"""Of each client in each turn. Of 48 that come at once SGLang lets one wait until another ends: a request whose prompt
it cuts in two counts twice for a moment. So the scheduler's own figures are kept beside the clients'."""
_READY = 1500
"""Seconds: dummy weights of 704 GiB have to be written, too."""
_EXPERTS_PER_TOKEN = 8  # num_experts_per_tok of zai-org/GLM-5.1's config.json
_BYTES_PER_SECOND = {"H100": 3.35e12, "H200": 4.8e12, "B200": 8.0e12}
"""Of one GPU's memory, by its maker's data sheet."""


def measure(bench: Bench, servers: Sequence[str] = (), turns: int = 4) -> None:
    """Those of SERVERS that are named, one after the other in that order, or all of them; `turns` of each number of
    streams. A result is written after each number."""
    for name in servers or SERVERS:
        SERVERS[name](bench, dict.fromkeys(STREAMS, turns))


def _ours(bench: Bench, turns: dict[int, int]) -> None:
    recipe = bench.recipe
    with Ours(bench, "full-ours") as ours:
        ready = ours.wait_ready(_READY)
        found = {"ready": ready, "limits": _limits(recipe), "memory": memory(recipe, ours.log)}
        bench.save("full-ours", found)
        say(f"memory: {found['memory']}")
        for steady in alone(ours.target, turns, _REQUESTS):
            bench.save("full-ours", {**found, "steady": steady, "scheduler": decoding(ours.log)})


def _no_drafts(bench: Bench, turns: dict[int, int]) -> None:
    recipe, plain = bench.recipe, without_drafts(bench.recipe)
    # Kernels that only drafting has are too many, which harms nobody; what is missing is compiled at first use.
    variables = sglang.engine_environment(plain, recipe.kernel_path(bench.kernel_key), proven=True)
    with Plain(bench, "full-no-drafts", recipe=plain, port=recipe.port, variables=variables) as server:
        found = {"ready": server.wait_ready(_READY)}
        for steady in alone(server.target, turns, _REQUESTS):
            bench.save("full-no-drafts", {**found, "steady": steady, "scheduler": decoding(server.log)})


def _stock(bench: Bench, turns: dict[int, int]) -> None:
    with stock_server(bench, kernels=stock_kernels(bench), port=bench.recipe.port) as stock:
        bench.save("full-stock", {"ready": stock.wait_ready(_READY)})


SERVERS: dict[str, Callable[[Bench, dict[int, int]], None]] = {
    "ours": _ours,
    "no-drafts": _no_drafts,
    "stock": _stock,
}


def without_drafts(recipe: Recipe) -> Recipe:
    """Each token by itself: what a model without an MTP layer would do."""
    flags = {name: value for name, value in recipe.engine.flags.items() if not name.startswith("speculative-")}
    return recipe.model_copy(update={"engine": recipe.engine.model_copy(update={"flags": flags})})


def step_bytes(model: Architecture, tokens: int, ranks: int = 1) -> float:
    """Weights that one of `ranks` GPUs reads in one forward pass over `tokens` tokens of different requests, each byte
    once: of the experts its share of those that at least one token is expected to choose. The KV cache (2,048 tokens a
    request at most, by the sparse attention) is left out."""
    dense, sparse = model.first_k_dense_replace, model.num_hidden_layers - model.first_k_dense_replace
    attention = model.attention_bytes(ranks, loaded=False)
    router = 2 * model.n_routed_experts * model.hidden_size
    experts = model.n_routed_experts + model.n_shared_experts
    expert = (model.moe_layer_bytes(ranks, loaded=False) - attention - router) / experts
    chosen = model.n_routed_experts * (1 - (1 - _EXPERTS_PER_TOKEN / model.n_routed_experts) ** tokens)
    layers = dense * model.dense_layer_bytes(ranks, loaded=False)
    layers += sparse * (attention + router + (model.n_shared_experts + chosen) * expert)
    return layers + model.embedding_bytes(ranks) / 2  # of embedding and head only the head is read as a whole


def _limits(recipe: Recipe) -> dict[str, dict[str, float]]:
    """By number of streams: gigabytes that one GPU reads in a step without drafts, and milliseconds of that step if
    nothing but the bandwidth counted."""
    model = recipe.model.architecture
    assert model is not None
    found = {}
    for count in STREAMS:
        read = step_bytes(model, count, recipe.gpu.count)
        milliseconds = 1000 * read / _BYTES_PER_SECOND[recipe.gpu.type]
        found[str(count)] = {"gigabytes": round(read / 1e9, 1), "milliseconds": round(milliseconds, 3)}
    return found
