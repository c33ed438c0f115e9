"""The guides' flag tables, as published, against what the recipes start: flag by flag, each difference by its name.

The tables are the guides' (GLM-5.1 with SGLang on B200, GLM-5.2 with vLLM on H200), not this repository's code. A
difference is allowed where it is listed here with the row of docs/differences.md that gives its evidence.
"""

from __future__ import annotations

import re

import pytest
import yaml

from infra.settings import RECIPES
from recipes.flags.catalogue import load
from serving.recipe import Recipe, load_recipe

COMMIT = "0123456789abcdef0123456789abcdef01234567"
KEY = "a-key-of-many-letters"
Value = str | tuple[str, ...] | None
"""None for a bare switch, several words in a tuple."""

GLM_51: dict[str, Value] = {
    "--model-path": "/model-cache/GLM-5.1-FP8",
    "--served-model-name": "glm-5.1",
    "--tp": "8",
    "--host": "0.0.0.0",
    "--port": "8000",
    "--trust-remote-code": None,
    "--ep": "1",
    "--attention-backend": "nsa",
    "--nsa-decode-backend": "trtllm",
    "--nsa-prefill-backend": "trtllm",
    "--moe-runner-backend": "flashinfer_trtllm",
    "--enable-flashinfer-allreduce-fusion": None,
    "--speculative-algorithm": "EAGLE",
    "--speculative-num-steps": "3",
    "--speculative-eagle-topk": "1",
    "--speculative-num-draft-tokens": "4",
    "--reasoning-parser": "glm45",
    "--tool-call-parser": "glm47",
    "--mem-fraction-static": "0.88",
    "--max-running-requests": "48",
    "--max-prefill-tokens": "32768",
    "--max-total-tokens": "65536",
    "--watchdog-timeout": "1200",
    "--enable-metrics": None,
    "--api-key": KEY,
}

GLM_52: dict[str, Value] = {
    "--served-model-name": "glm-5.2-fp8",
    "--host": "0.0.0.0",
    "--port": "8000",
    "--uvicorn-log-level": "info",
    "--async-scheduling": None,
    "--tensor-parallel-size": "8",
    "--kv-cache-dtype": "fp8",
    "--max-model-len": "131072",
    "--max-num-seqs": "32",
    "--gpu-memory-utilization": "0.92",
    "--trust-remote-code": None,
    "--speculative-config": '{"method": "mtp", "num_speculative_tokens": 5}',
    "--tool-call-parser": "glm47",
    "--reasoning-parser": "glm45",
    "--enable-auto-tool-choice": None,
    "--safetensors-load-strategy": "prefetch",
    "--enable-prefix-caching": None,
    "--enforce-eager": None,
    "--api-key": KEY,
}

ABSENT = "absent"
Differences = dict[str, tuple[Value, str]]
"""By flag: what this stack has (ABSENT: nothing), and the row of docs/differences.md."""

ALWAYS: Differences = {
    "--model-path": (f"/model-cache/GLM-5.1-FP8/{COMMIT}", "folders"),
    "--kv-cache-dtype": ("bfloat16", "kv-type"),
    "--api-key": (ABSENT, "api-key"),
    "--config": ("/dev/shm/e/config.yaml", "api-key"),
}
PRODUCTION: Differences = {
    "--max-total-tokens": ("524288", "kv-pool"),
    "--context-length": ("202752", "refusal"),
}
HOPPER: Differences = {
    "--max-total-tokens": ("256000", "kv-pool"),
    "--context-length": ("202752", "refusal"),
    "--mem-fraction-static": ("0.83", "static-fraction"),  # the operations guide's value for H200
    "--nsa-decode-backend": ("fa3", "hopper-kernels"),
    "--nsa-prefill-backend": ("flashmla_sparse", "hopper-kernels"),
    "--moe-runner-backend": ("auto", "hopper-kernels"),
}
VLLM: Differences = {
    "--api-key": (ABSENT, "api-key"),
    "--revision": (COMMIT, "pinned-commit"),
    "--served-model-name": (("glm-5.2-fp8", "glm-5.2-fp8@r-1"), "release-name"),
    "--middleware": ("serving.engines.gate.Gate", "gate"),
    "--shutdown-timeout": ("25", "drain"),
}


def recipe(name: str) -> Recipe:
    return load_recipe(RECIPES / f"{name}.yaml")


def flags_of(argv: list[str]) -> dict[str, Value]:
    flags: dict[str, Value] = {}
    name = ""
    for word in argv:
        if word.startswith("--"):
            assert word not in flags, f"{word} twice"
            name, flags[word] = word, None
            continue
        before = flags[name]
        flags[name] = word if before is None else (*([before] if isinstance(before, str) else before), word)
    return flags


def with_differences(guide: dict[str, Value], differences: Differences) -> dict[str, Value]:
    merged = guide | {flag: value for flag, (value, _) in differences.items()}
    return {flag: value for flag, value in merged.items() if value != ABSENT}


def named_rows() -> set[str]:
    text = (RECIPES.parent / "docs" / "differences.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "differences"),
    [
        ("glm-5.1-fp8-b200-reference", ALWAYS),
        ("glm-5.1-fp8-b200", ALWAYS | PRODUCTION),
        ("glm-5.1-fp8-h200", ALWAYS | HOPPER),
    ],
)
def test_the_sglang_commands_are_the_guides(name: str, differences: Differences) -> None:
    ours = recipe(name)
    argv = ours.engine_module.launch_command(ours, COMMIT, config_path="/dev/shm/e/config.yaml", release="r-1")
    # Row `gate`: the same server with the middleware in front of it.
    assert argv[:3] == ["python3", "-m", "serving.engines.sglang_server"]
    assert flags_of(argv[3:]) == with_differences(GLM_51, differences)
    assert {row for _, row in differences.values()} | {"gate"} <= named_rows()
    # Each listed difference is one.
    assert all(GLM_51.get(flag, ABSENT) != value for flag, (value, _) in differences.items())


def test_the_vllm_command_is_the_guides() -> None:
    ours = recipe("glm-5.2-fp8-h200")
    argv = ours.engine_module.launch_command(ours, COMMIT, release="r-1")
    assert argv[:3] == ["vllm", "serve", "zai-org/GLM-5.2-FP8"]
    assert flags_of(argv[3:]) == with_differences(GLM_52, VLLM)
    assert {row for _, row in VLLM.values()} <= named_rows()
    assert all(GLM_52.get(flag, ABSENT) != value for flag, (value, _) in VLLM.items())


@pytest.mark.parametrize(
    ("name", "guide"),
    [
        ("glm-5.1-fp8-b200-reference", GLM_51),
        ("glm-5.1-fp8-b200", GLM_51),
        ("glm-5.1-fp8-h200", GLM_51),
        ("glm-5.2-fp8-h200", GLM_52),
    ],
)
def test_guides_and_recipes_parse_with_the_catalogue(name: str, guide: dict[str, Value]) -> None:
    """Every flag of the guide and of our command is the release's, with a value that it takes."""
    ours = recipe(name)
    catalogue = load(ours.engine.name, ours.engine.catalogue_release)
    module = ours.engine_module
    argv = module.launch_command(ours, COMMIT, config_path=None, release="r-1")
    for flags in (guide, flags_of(argv[3:])):
        plain = {
            flag.removeprefix("--"): True if value is None else list(value) if isinstance(value, tuple) else value
            for flag, value in flags.items()
        }
        assert catalogue.problems(plain) == []


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_key_is_in_the_arguments(path: object) -> None:
    ours = load_recipe(path)  # type: ignore[arg-type]
    module = ours.engine_module
    argv = module.launch_command(ours, COMMIT, config_path="/dev/shm/e/config.yaml", release="r-1")
    assert "--api-key" not in argv
    in_file, in_environment = module.config_file(KEY, "r-1") or "", module.secret_environment(KEY)
    assert (KEY in in_file) != (KEY in in_environment.values())


def test_the_vllm_deployment_is_the_guides() -> None:
    """Beside the flags: image and its mends, variables, secrets, volumes, GPUs, deadlines, scaling."""
    ours = recipe("glm-5.2-fp8-h200")
    assert ours.app == "glm5-2-inference"
    assert ours.engine.image == "vllm/vllm-openai:glm52-cu129"
    assert ours.engine.setup_commands == [
        "RUN ln -sf $(which python3) /usr/local/bin/python",
        "RUN rm -f /usr/local/lib/python3.12/dist-packages/typing_extensions.py",
    ]
    assert ours.engine.pip_packages == ["aiohttp", "typing-extensions>=4.15.0"]
    assert ours.download.environment == {"HF_XET_HIGH_PERFORMANCE": "1"}
    added = {"TRITON_CACHE_DIR": "/root/.cache/vllm/triton"}  # row `triton-cache`
    assert ours.engine.environment == {"VLLM_LOG_STATS_INTERVAL": "1"} | added
    assert (ours.secrets.hugging_face.name, ours.secrets.api_key.name) == ("huggingface", "vllm-api-key")
    assert ours.secrets.api_key.key == "VLLM_API_KEY"
    mounts = [(volume.name, volume.mount_path) for volume in (ours.volumes.weights, ours.volumes.kernels)]
    assert mounts == [("huggingface-cache", "/root/.cache/huggingface"), ("vllm-cache", "/root/.cache/vllm")]
    assert (ours.download.layout, ours.kernels) == ("hub", None)
    assert (ours.gpu.request, ours.gpu.memory_gb, ours.prices.gpu_second) == ("H200:8", 141, 0.001261)
    assert ours.model.size_gb == pytest.approx(703.74 * 2**30 / 1e9, rel=1e-3)
    assert ours.deadlines.startup == 60 * 60
    stack = yaml.safe_load((RECIPES.parent / "Pulumi.glm52.yaml").read_text())["config"]
    scaling = stack["glm-serving:scaling"]
    assert stack["glm-serving:recipe"] == "glm-5.2-fp8-h200"
    # Row `max-replicas`.
    assert (scaling["maxContainers"], scaling["scaledownWindow"]) == (1, 15 * 60)


def test_the_sglang_deployment_is_the_guides() -> None:
    ours = recipe("glm-5.1-fp8-b200")
    assert (ours.app, ours.gpu.request, ours.port) == ("glm-5.1-production", "B200:8", 8000)
    mounts = [(volume.name, volume.mount_path) for volume in (ours.volumes.weights, ours.volumes.kernels)]
    assert mounts == [("glm51-model-weights", "/model-cache"), ("glm51-deepgemm-cache", "/dg-cache")]
    assert (ours.secrets.hugging_face.name, ours.secrets.api_key.name) == ("huggingface-secret", "glm51-api-key")
    assert (ours.download.cpu, ours.download.memory_mib, ours.download.timeout) == (4, 32768, 7200)
    assert (ours.download.workers, ours.download.retry_delays) == (8, [30, 60, 90])
    assert (ours.deadlines.startup, ours.deadlines.container, ours.deadlines.shutdown) == (900, 86400, 30)
    assert (ours.deadlines.warmup_request, ours.deadlines.monitor_interval) == (300, 10)
    assert ours.compiling.marker == ".compiled-GLM-5.1-FP8"
    stack = yaml.safe_load((RECIPES.parent / "Pulumi.prod.yaml").read_text())["config"]
    scaling = stack["glm-serving:scaling"]
    assert [scaling[key] for key in ("minContainers", "maxContainers", "scaledownWindow", "targetConcurrency")] == [
        *(0, 3, 900, 20),
    ]
    # Row `slots`: what Modal sends to a container stays below what its engine runs at once.
    assert scaling["targetConcurrency"] < ours.engine_module.most_requests(ours)


def test_every_row_says_what_shows_it() -> None:
    """A row that names a test names one that exists."""
    text = (RECIPES.parent / "docs" / "differences.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) >= len(named_rows()) - 2
    for path, test in named:
        assert f"def {test}(" in (RECIPES.parent / path).read_text(encoding="utf-8"), f"{path} has no {test}"
