"""Models nobody foresaw, one for each engine: a YAML file and no code, from the preview to the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.settings import Settings, SettingsError, load_settings
from recipes.memory_fit import GIB, fit_memory, main
from serving.recipe import kernel_key

COMMIT = "0123456789abcdef0123456789abcdef01234567"

PRICES = """
prices: { gpuSecond: 0.001261, cpuCoreSecond: 0.0000131, memoryGibSecond: 0.00000222, asOf: 2026-11, source: Modal }
"""

# 64 layers, 8 key and value heads of 128: a token's share of four GPUs is 64 x 2 x 2 heads x 128 x 2 bytes.
QWEN = (
    """
app: qwen
model:
  repo: Qwen/Qwen3-32B-FP8
  servedName: qwen3-32b
  sizeGb: 34.3
  contextTokens: 40960
  kvBytesPerToken: 65536
engine:
  name: sglang
  version: 0.5.16
  image: lmsysorg/sglang:v0.5.16
  flags: { tp: 4, reasoning-parser: qwen3, tool-call-parser: qwen25, context-length: 32Ki, enable-metrics: true }
gpu: { type: H100, count: 4, memoryGb: 80, architecture: sm90 }
volumes:
  weights: { name: qwen-weights, mountPath: /models }
  kernels: { name: qwen-kernels, mountPath: /kernels }
secrets:
  huggingFace: { name: huggingface-secret, key: HF_TOKEN }
  apiKey: { name: qwen-api-key, key: API_KEY }
kernels: { marker: .compiled-qwen, estimatedMinutes: 5 }
"""
    + PRICES
)

DEEPSEEK = (
    """
app: deepseek
model:
  repo: deepseek-ai/DeepSeek-V3.2
  servedName: deepseek-v3.2
  sizeGb: 690
  contextTokens: 163840
  architecture:
    vocabSize: 129280
    hiddenSize: 7168
    numHiddenLayers: 61
    numNextnPredictLayers: 1
    firstKDenseReplace: 3
    intermediateSize: 18432
    moeIntermediateSize: 2048
    nRoutedExperts: 256
    numAttentionHeads: 128
    qLoraRank: 1536
    kvLoraRank: 512
    qkNopeHeadDim: 128
    qkRopeHeadDim: 64
    vHeadDim: 128
    indexNHeads: 64
    indexHeadDim: 128
engine:
  name: vllm
  version: 0.23.0
  image: vllm/vllm-openai:v0.23.0
  flags:
    tensor-parallel-size: 8
    tokenizer-mode: deepseek_v32
    tool-call-parser: deepseek_v32
    reasoning-parser: deepseek_v3
    enable-auto-tool-choice: true
    kv-cache-dtype: fp8
    max-model-len: 128K
    max-num-seqs: 64
gpu: { type: H200, count: 8, memoryGb: 141, architecture: sm90 }
volumes:
  weights: { name: deepseek-weights, mountPath: /root/.cache/huggingface }
  kernels: { name: deepseek-cache, mountPath: /root/.cache/vllm }
secrets:
  huggingFace: { name: huggingface-secret, key: HF_TOKEN }
  apiKey: { name: deepseek-api-key, key: VLLM_API_KEY }
download: { layout: hub }
"""
    + PRICES
)


def preview(folder: Path, text: str, **changes: Any) -> Settings:
    path = folder / "unforeseen.yaml"
    document = yaml.safe_load(text)
    document["engine"]["flags"] |= changes
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_settings({"glm-serving:recipe": str(path)}, {}, stack="test")


def test_qwen_on_sglang(tmp_path: Path) -> None:
    settings = preview(tmp_path, QWEN)
    recipe = settings.recipe
    assert settings.warnings == []
    assert recipe.engine_module.launch_command(recipe, COMMIT) == [
        *("python3", "-m", "sglang.launch_server", "--model-path", f"/models/Qwen3-32B-FP8/{COMMIT}"),
        *("--served-model-name", "qwen3-32b", "--host", "0.0.0.0", "--port", "8000", "--tp", "4"),
        *("--reasoning-parser", "qwen3", "--tool-call-parser", "qwen25", "--context-length", "32Ki"),
        "--enable-metrics",
    ]
    assert kernel_key(recipe, COMMIT).startswith("sm90-")
    assert recipe.engine_module.longest_request(recipe) == 32768
    fit = fit_memory(recipe)
    assert (fit.problem, fit.caution) == (None, None)
    assert fit.weights / GIB == pytest.approx(34.3e9 / 4 / GIB, rel=0.01)
    assert fit.context_tokens == 32768
    assert fit.full_contexts > 10


def test_deepseek_on_vllm(tmp_path: Path) -> None:
    settings = preview(tmp_path, DEEPSEEK)
    recipe = settings.recipe
    assert settings.warnings == []
    argv = recipe.engine_module.launch_command(recipe, COMMIT, release="r-1")
    assert argv[:5] == ["vllm", "serve", "deepseek-ai/DeepSeek-V3.2", "--revision", COMMIT]
    assert argv[5:8] == ["--served-model-name", "deepseek-v3.2", "deepseek-v3.2@r-1"]
    assert argv[argv.index("--max-model-len") + 1] == "128K"
    assert kernel_key(recipe, COMMIT) == ""
    assert recipe.model_path(COMMIT).endswith(f"hub/models--deepseek-ai--DeepSeek-V3.2/snapshots/{COMMIT}")
    fit = fit_memory(recipe)
    assert recipe.kv_bytes_per_token == 61 * (656 + 132)
    assert (fit.problem, fit.context_tokens) == (None, 131072)
    assert fit.full_contexts >= 4


def test_their_mistakes_are_found_in_a_preview_too(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        preview(tmp_path, QWEN, **{"tool-call-parser": "qwen26", "dsa-decode-backend": "trtllm"})
    assert len(caught.value.problems) == 2
    with pytest.raises(SettingsError) as caught:
        preview(tmp_path, DEEPSEEK, **{"tool-call-parser": "deepseek_v33", "kv-cache-dtype": "fp8_e4m3"})
    assert len(caught.value.problems) == 2


def test_what_does_not_fit_is_said_before_a_gpu_is_paid_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        preview(tmp_path, DEEPSEEK, **{"max-model-len": "1M"})
    (problem,) = caught.value.problems
    assert "unforeseen.yaml: memory: one request may have 1,048,576 tokens" in problem
    assert "lower max-model-len to" in problem
    preview(tmp_path, DEEPSEEK)
    assert main([str(tmp_path / "unforeseen.yaml"), "--set", "max-model-len=1M"]) == 1
    assert "lower max-model-len to" in capsys.readouterr().out
