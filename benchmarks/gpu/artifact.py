"""The phases before any serving: the machine, the model, the kernel artifact, its verification."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu import cut_down_model, derived_recipe
from benchmarks.gpu.bench import Bench, say
from benchmarks.gpu.servers import fresh_machine, left_outside
from serving.compile import compile_kernels
from serving.errors import ServingError
from serving.recipe import load_recipe
from serving.verify import verify

_ROOM_FOR_FOUR_LAYERS = 120  # GiB: two servers of 45 GiB each at once, and what their kernels need


def prepare(bench: Bench, base: Path, *, gpus: int, port: int, version: str | None, layers: int | None) -> None:
    """Writes the derived recipe and its model; says what machine this is."""
    machine = _machine()
    version = version or importlib.metadata.version("sglang")
    gpu = machine["gpu"] or "H200 (none here)"
    gpu_type = next((kind for kind in ("H200", "H100", "B200") if kind in gpu), "H200")
    memory = machine["gpu_memory_gib"]
    layers = layers or (4 if memory >= _ROOM_FOR_FOUR_LAYERS else 2)
    original = load_recipe(base)
    recipe = derived_recipe.derive(
        original, work=bench.work, version=version, gpu_type=gpu_type, gpus=gpus, layers=layers, port=port
    )
    (bench.work / "recipe.json").write_text(recipe.model_dump_json(by_alias=True, indent=1), encoding="utf-8")
    size = cut_down_model.write_model(recipe, bench.commit)
    result = {
        "machine": machine,
        "base_recipe": original.name,
        "differences": derived_recipe.differences(original, recipe),
        "flags": recipe.engine.flags,
        "model_bytes": size,
        "kernel_key": bench.kernel_key,
    }
    bench.save("prepare", result)
    say(f"{machine['gpu']}, sglang {version}, {layers} layers and the MTP layer; kernels {bench.kernel_key}")


def _machine() -> dict[str, Any]:
    versions = {}
    for package in ("torch", "sglang", "sglang-kernel", "sgl-deep-gemm", "flashinfer-python", "triton", "transformers"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "none"
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        lines = []
    name, memory, driver = [part.strip() for part in lines[0].split(",")] if lines else ("", "0", "")
    return {
        "gpu": name,
        "gpus": len(lines),
        "gpu_memory_gib": round(int(memory) / 1024, 1),
        "driver": driver,
        "python": platform.python_version(),
        "versions": versions,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def compile_artifact(bench: Bench) -> None:
    """The product's compilation. On the way, what the engine's own tool alone leaves is kept for the stock server."""
    recipe, log = bench.recipe, bench.log("compile").open("a", encoding="utf-8")
    began = time.monotonic()
    tool_ended: list[float] = []
    progress: list[str] = []
    stock = stock_kernels(bench)

    def out(line: str) -> None:
        log.write(line + "\n")
        log.flush()

    def report(line: str) -> None:
        progress.append(f"{time.monotonic() - began:.0f} s: {line}")
        out(f"[report] {line}")
        say(line)

    def commit_volume() -> None:
        # First called once the compile tool has succeeded, before anything else has filled a cache.
        if not tool_ended:
            tool_ended.append(round(time.monotonic() - began, 1))
            shutil.rmtree(stock, ignore_errors=True)
            shutil.copytree(Path(recipe.kernel_path(bench.kernel_key)) / "deep_gemm", stock)

    result: dict[str, Any] = {}
    try:
        result = compile_kernels(
            *(recipe, bench.commit, bench.kernel_key),
            commit_volume=commit_volume,
            report=report,
            out=out,
            environment=fresh_machine(bench, "compile"),
        )
    except ServingError as error:
        result = {"error": str(error)}
        say(f"compile: {error}")
    finally:
        log.close()
        result |= {
            "wall_seconds": round(time.monotonic() - began, 1),
            "tool_seconds": tool_ended[0] if tool_ended else None,
            "caches": _sizes(Path(recipe.kernel_path(bench.kernel_key))),
            "stock_kernel_files": sum(1 for path in stock.rglob("*") if path.is_file()),
            "left_outside": left_outside(bench, "compile"),
            "progress": [line for line in progress if "%" not in line and "loading" not in line],
        }
        bench.save(f"compile-{1 + len(list(bench.results.glob('compile-*.json')))}", result)
    if "error" in result:
        raise SystemExit(1)


def stock_kernels(bench: Bench) -> Path:
    """DeepGEMM's cache as `sglang.compile_deep_gemm` leaves it."""
    return bench.work / "stock-deep-gemm"


def _sizes(folder: Path) -> dict[str, dict[str, int]]:
    return {
        cache.name: {
            "files": sum(1 for path in cache.rglob("*") if path.is_file()),
            "bytes": sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()),
        }
        for cache in sorted(folder.iterdir())
        if cache.is_dir()
    }


def verify_artifact(bench: Bench) -> None:
    """The product's verification, of what `compile` left."""
    began = time.monotonic()
    found = verify(bench.recipe, bench.commit, bench.kernel_key)
    bench.save("verify", {**found, "wall_seconds": round(time.monotonic() - began, 2)})
    say(f"verify: {found}")
