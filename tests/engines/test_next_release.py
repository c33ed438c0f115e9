"""SGLang 0.5.16: the flags of the recipe to try next, the names that changed, and a real start's lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.engines.conftest import ROOT, Launch, assert_lines_in_order, recorded

IMAGE = {"LOCAL_IMAGE_TAG": "lmsysorg/sglang:v0.5.16", "STANDIN_SPEED": "2000"}
RECORDED = [
    *("--tp", "8", "--trust-remote-code", "--speculative-algorithm", "EAGLE", "--speculative-num-steps", "3"),
    *("--speculative-eagle-topk", "1", "--speculative-num-draft-tokens", "4", "--max-running-requests", "48"),
    *("--max-total-tokens", "65536", "--max-prefill-tokens", "32768", "--enable-metrics"),
]
"""What the recorded server was started with, but for the number of GPUs."""


def _words(flags: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in flags.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def test_lines_come_in_the_recorded_order(launcher: Launch, tmp_path: Path) -> None:
    engine = launcher(kernels=tmp_path, flags=RECORDED, LOCAL_GPU="H200:8", **IMAGE)
    engine.wait_ready()
    assert_lines_in_order(engine.lines(), recorded("start.txt"))
    assert "Set DSA backends for bfloat16 KV Cache: prefill=flashmla_sparse, decode=fa3." in engine.log


def test_the_recipe_to_try_next_is_served(launcher: Launch, tmp_path: Path) -> None:
    recipe = yaml.safe_load((ROOT / "recipes" / "glm-5.1-fp8-b200-next.yaml").read_text())
    flags = recipe["engine"]["flags"] | {"context-length": 8192}  # as much as the small checkpoint has
    engine = launcher(kernels=tmp_path, flags=_words(flags), **IMAGE)
    engine.wait_ready()
    assert engine.chat("What is 6 * 7?").json()["choices"][0]["message"]["content"] == "6 * 7 = 42."
    assert "is deprecated" not in engine.log
    assert "Set DSA backends for bfloat16 KV Cache: prefill=trtllm, decode=trtllm." in engine.log
    assert "SGLANG_ENABLE_SPEC_V2 has been removed" in engine.log  # the fixture sets it
    prefetch = "Rank 0: prefetching 1/7 checkpoint shards into page cache (background, 8 local ranks sharing the work, "
    assert prefetch in engine.log
    assert "Rank 0: prefetching checkpoint files into page cache finished in " in engine.log


def test_former_names_still_work_and_say_what_to_write_instead(launcher: Launch, tmp_path: Path) -> None:
    former = [*RECORDED, "--attention-backend", "nsa", "--nsa-decode-backend", "trtllm", "--cuda-graph-max-bs", "8"]
    former += ["--kv-cache-dtype", "bfloat16", "--enable-flashinfer-allreduce-fusion"]
    engine = launcher(kernels=tmp_path, flags=former, **IMAGE)
    engine.wait_ready()
    said = "'--nsa-decode-backend' is deprecated and will be removed in a future release."
    assert f"{said} Use '--dsa-decode-backend' instead." in engine.log
    assert "--enable-flashinfer-allreduce-fusion is deprecated." in engine.log
    assert "prefill=flashmla_sparse, decode=trtllm." in engine.log
    assert "bs=[1, 2, 4, 8]" in engine.log
    info = engine.request("GET", "/server_info").json()
    assert (info["attention_backend"], info["dsa_decode_backend"]) == ("dsa", "trtllm")
    assert info["flashinfer_allreduce_fusion_backend"] == "auto"


def test_a_former_name_takes_only_its_choices(launcher: Launch, tmp_path: Path) -> None:
    engine = launcher(kernels=tmp_path, flags=[*RECORDED, "--nsa-decode-backend", "trt"], **IMAGE)
    assert engine.wait_exit() == 2
    assert "argument --nsa-decode-backend: invalid choice: 'trt'" in engine.log
