"""The production recipe, cut down to one GPU: what differs is written here and said in the results."""

from __future__ import annotations

from pathlib import Path

from serving.recipe import Recipe

COMMIT = "0" * 40
"""Of weights that no Hub has."""

# Names of 0.5.10 that 0.5.16 only keeps as deprecated aliases.
_RENAMED = {"nsa-decode-backend": "dsa-decode-backend", "nsa-prefill-backend": "dsa-prefill-backend"}
_FUSION, _FUSION_BEFORE = "flashinfer-allreduce-fusion-backend", "enable-flashinfer-allreduce-fusion"


def derive(base: Recipe, *, work: Path, version: str, gpu_type: str, gpus: int, layers: int, port: int) -> Recipe:
    """`base` for `gpus` GPUs and a model of `layers` layers (at least one of them dense) and the MTP layer."""
    document = base.to_json()
    flags, environment = dict(base.engine.flags), dict(base.engine.environment)
    if version != base.engine.version:
        flags = {_RENAMED.get(name, name): value for name, value in flags.items()}
        if flags.get("attention-backend") == "nsa":
            flags["attention-backend"] = "dsa"
        if flags.pop(_FUSION_BEFORE, False):
            # What `auto` is on one Hopper machine (0.5.16 layers/flashinfer_comm_fusion.py:59). Said because the other
            # choice needs NVLink multicast, which a host that shares its GPUs' switches may forbid.
            flags[_FUSION] = "trtllm"
        environment.pop("SGLANG_ENABLE_SPEC_V2", None)  # always on by now
    if gpus == 1:
        for name in (_FUSION, _FUSION_BEFORE):
            flags.pop(name, None)  # one GPU has nothing to reduce
    flags |= {"tp": gpus, "load-format": "dummy"}
    # SGLang's random weights give nearly every token the same experts (the routers' biases outweigh what they compute),
    # and a step would read nine a layer, whatever the number of requests. This draws nine for every token, the shared
    # one, fused with the others, not among them.
    environment["SGLANG_SIMULATE_UNIFORM_EXPERTS"] = "1"
    whole = document["model"]["architecture"]
    dense = max(1, round(whole["firstKDenseReplace"] * layers / whole["numHiddenLayers"]))
    document |= {
        "name": f"{base.name}-cut-down",
        "port": port,
        "model": {
            **document["model"],
            "sizeGb": 1,  # never loaded
            "architecture": {**whole, "numHiddenLayers": layers, "firstKDenseReplace": dense},
        },
        "engine": {
            **document["engine"],
            "version": version,
            "image": f"none: sglang {version} of the machine",
            "flags": flags,
            "environment": environment,
        },
        "gpu": {**document["gpu"], "type": gpu_type, "count": gpus, "fallbacks": []},
        "volumes": {
            "weights": {**document["volumes"]["weights"], "mountPath": str(work / "weights")},
            "kernels": {**document["volumes"]["kernels"], "mountPath": str(work / "kernels")},
        },
    }
    return Recipe.model_validate(document)


def differences(base: Recipe, derived: Recipe) -> list[str]:
    """One phrase for each setting in which the two differ, as `path: before → now`."""
    found: list[str] = []

    def compare(path: str, before: object, now: object) -> None:
        if isinstance(before, dict) and isinstance(now, dict):
            for key in dict.fromkeys([*before, *now]):
                compare(f"{path}.{key}" if path else key, before.get(key), now.get(key))
        elif before != now:
            found.append(f"{path}: {before} → {now}")

    compare("", base.to_json(), derived.to_json())
    return found
