"""The memory fit against what was measured and published, and its verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from recipes.memory_fit import GIB, MemoryFit, fit_memory, main, report
from serving.architecture import Architecture
from serving.errors import ServingError
from serving.recipe import Recipe, load_recipe
from serving.recipe_sections import Gpu

RECIPES = Path(__file__).parents[2] / "recipes"
B200 = "glm-5.1-fp8-b200-reference"
HOPPER_BACKENDS = {"nsa-decode-backend": "fa3", "nsa-prefill-backend": "flashmla_sparse"}

GLM_CONFIG = {
    "architectures": ["GlmMoeDsaForCausalLM"],
    "vocab_size": 154880,
    "hidden_size": 6144,
    "num_hidden_layers": 78,
    "num_nextn_predict_layers": 1,
    "first_k_dense_replace": 3,
    "intermediate_size": 12288,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 64,
    "q_lora_rank": 2048,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 192,
    "qk_rope_head_dim": 64,
    "v_head_dim": 256,
    "index_n_heads": 32,
    "index_head_dim": 128,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
GLM = Architecture.from_config(GLM_CONFIG)
DEEPSEEK_V3 = Architecture.from_config({
    **{k: v for k, v in GLM_CONFIG.items() if not k.startswith("index_")},
    "vocab_size": 129280,
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "intermediate_size": 18432,
    "num_attention_heads": 128,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
})  # fmt: skip


def recipe(name: str) -> Recipe:
    return load_recipe(RECIPES / f"{name}.yaml")


@pytest.fixture(scope="module")
def b200() -> Recipe:
    return recipe(B200)


def on_h200(recipe: Recipe, **flags) -> Recipe:
    """The same model and flags on H200, as far as memory goes."""
    gpu = Gpu(type="H200", count=8, memory_gb=141, architecture="sm90")
    document = {**recipe.to_json(), "name": "glm-5.1-fp8-h200", "gpu": gpu.to_json()}
    arguments = {**HOPPER_BACKENDS, "mem-fraction-static": 0.83, **flags}
    return Recipe.model_validate(document).with_engine_args(arguments)


def gib(size: float) -> float:
    return size / GIB


# ── measured: SGLang 0.5.16 on one H200, GLM-5.1's layers (its log says GB and means GiB) ──


@pytest.mark.parametrize(
    ("estimate", "measured"),
    [
        pytest.param(GLM.moe_layer_bytes(), (31.77 - 13.25) / 2, id="one MoE layer"),
        pytest.param(GLM.draft_bytes(), 12.94, id="MTP layer with embedding and head"),
        pytest.param(
            GLM.dense_layer_bytes() + 3 * GLM.moe_layer_bytes() + GLM.embedding_bytes(), 31.77, id="1 dense + 3 MoE"
        ),
        pytest.param(GLM.embedding_bytes(), 97.46 - 94.01, id="what the draft gives back"),
        pytest.param(65536 * 4 * GLM.kv_bytes_per_layer(fp8=False, packed=False), 0.31, id="KV, 65,536 x 4 layers"),
        pytest.param(17495744 * 4 * GLM.kv_bytes_per_layer(fp8=False, packed=False), 83.69, id="KV, largest pool"),
    ],
)
def test_measured_on_one_h200(estimate, measured):
    assert gib(estimate) == pytest.approx(measured, rel=0.03)


def test_token_capacity_measured_on_one_h200(b200):
    """The same cut-down model without EAGLE, mem-fraction-static 0.83, filled 17,495,744 tokens."""
    four_layers = {**b200.to_json()["model"]["architecture"], "numHiddenLayers": 4, "firstKDenseReplace": 1}
    document = on_h200(b200).to_json()
    document["model"]["architecture"] = four_layers
    document["gpu"]["count"] = 1
    flags = {"tp": 1, "mem-fraction-static": 0.83, "kv-cache-dtype": "bfloat16"}
    document["engine"]["flags"] = flags
    assert fit_memory(Recipe.model_validate(document)).tokens == pytest.approx(17495744, rel=0.03)


# ── published; sources in docs/memory.md ──


def test_bytes_per_token_are_exact():
    assert GLM.kv_bytes_per_layer(fp8=False, packed=False) == 1284
    assert DEEPSEEK_V3.kv_bytes_per_layer(fp8=False, packed=False) * 61 == 70272  # arXiv 2505.09343, table 1
    assert GLM.kv_bytes_per_layer(fp8=True, packed=False) == 512 + 16 + 128 + 132


@pytest.mark.parametrize(
    ("estimate", "published"),
    [
        pytest.param(GLM.checkpoint_bytes, 703.74, id="GLM-5.2-FP8 checkpoint"),
        pytest.param(GLM.target_bytes(8), 89.44, id="GLM-5.2-FP8 in SGLang 0.5.13, tp 8"),
        pytest.param(464768 * 78 * GLM.kv_bytes_per_layer(fp8=True, packed=True), 23.91, id="FP8 KV, 464,768 tokens"),
        pytest.param(4096 * 78 * GLM.kv_bytes_per_layer(fp8=True, packed=True), 0.21, id="FP8 KV, 4,096 tokens"),
        pytest.param(DEEPSEEK_V3.target_bytes(8), 81.66, id="DeepSeek-V3 in SGLang 0.4.6, tp 8"),
    ],
)
def test_published(estimate, published):
    assert gib(estimate) == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize(
    ("model", "main", "with_mtp"),
    [pytest.param(GLM, 744e9, 753.9e9, id="GLM-5"), pytest.param(DEEPSEEK_V3, 671e9, 685e9, id="DeepSeek-V3")],
)
def test_published_parameter_counts(model, main, with_mtp):
    parameters = model.model_copy(update={"fp8_block": None})  # then every parameter takes two bytes
    assert parameters.target_bytes(loaded=False) / 2 == pytest.approx(main, rel=0.003)
    assert parameters.checkpoint_bytes / 2 == pytest.approx(with_mtp, rel=0.005)


# ── dimensions and recipes ──


def test_the_recipe_has_the_dimensions_of_the_config(b200):
    assert b200.model.architecture == GLM


def test_config_names_what_it_lacks():
    with pytest.raises(ValueError, match="kv_lora_rank, qk_nope_head_dim"):
        Architecture.from_config({k: v for k, v in GLM_CONFIG.items() if k not in ("kv_lora_rank", "qk_nope_head_dim")})
    with pytest.raises(ValueError, match="'awq'"):
        Architecture.from_config({**GLM_CONFIG, "quantization_config": {"quant_method": "awq"}})


def test_config_with_layer_kinds_and_without_quantization():
    config = {k: v for k, v in GLM_CONFIG.items() if k not in ("first_k_dense_replace", "quantization_config")}
    bf16 = Architecture.from_config({**config, "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 75})
    assert bf16.first_k_dense_replace == 3
    assert bf16.checkpoint_bytes == pytest.approx(1506e9, rel=0.01)  # published size of the BF16 weights


def test_sharding_leaves_the_replicated_parts_whole():
    replicated = GLM.target_bytes(8) * 8 - GLM.target_bytes(1)
    assert 0 < replicated < 0.03 * GLM.target_bytes(1)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_knows_its_kv_bytes(path):
    recipe = load_recipe(path)
    assert recipe.kv_bytes_per_token > 0
    assert Recipe.model_validate(recipe.to_json()) == recipe
    assert fit_memory(recipe).problem is None


def test_two_truths_about_kv_bytes_are_refused(b200):
    document = b200.to_json()
    with pytest.raises(ValidationError, match="both of architecture and kvBytesPerToken"):
        Recipe.model_validate({**document, "model": {**document["model"], "kvBytesPerToken": 101436}})
    with pytest.raises(ValidationError, match="neither of architecture and kvBytesPerToken"):
        Recipe.model_validate({**document, "model": {**document["model"], "architecture": None}})


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param({}, 1284 * 79, id="bf16 with MTP"),
        pytest.param({"speculative-algorithm": None}, 1284 * 78, id="no drafting"),
        pytest.param({"kv-cache-dtype": "fp8_e4m3"}, 708 * 79, id="fp8, trtllm"),
        pytest.param({"kv-cache-dtype": None}, 708 * 79, id="auto is fp8 on sm100"),
    ],
)
def test_kv_bytes_follow_the_flags(b200, flags, expected):
    assert b200.with_engine_args(flags).kv_bytes_per_token == expected


def test_kv_bytes_on_hopper(b200):
    assert on_h200(b200, **{"kv-cache-dtype": None}).kv_bytes_per_token == 1284 * 79
    assert on_h200(b200, **{"kv-cache-dtype": "fp8_e4m3"}).kv_bytes_per_token == 788 * 79


# ── verdicts ──


def test_the_reference_pool_leaves_1365_tokens_a_request(b200):
    fit = fit_memory(b200)
    assert (fit.tokens, fit.requests, fit.tokens_per_request, fit.full_contexts) == (65536, 48, 1365, 0)
    assert fit.problem is None
    assert "can't be longer than 65,536 tokens" in (fit.caution or "")


def test_parts_add_up_to_the_memory(b200):
    fit = fit_memory(b200)
    assert fit.weights + fit.draft + fit.pool + fit.margin + fit.free == fit.memory


def test_static_fraction_covers_weights_and_pool(b200):
    fit = fit_memory(b200.with_engine_args({"max-total-tokens": None}))
    static = fit.weights + fit.draft + fit.pool
    assert static <= fit.memory * 0.88 < static + 64 * fit.kv_bytes_per_token + fit.kv_bytes_per_token
    assert fit.tokens % 64 == 0


def test_more_tokens_than_fit_names_the_flag_and_its_value(b200):
    fit = fit_memory(b200.with_engine_args({"max-total-tokens": 2_000_000}))
    assert fit.problem is not None
    assert f"lower max-total-tokens to {fit.fitting_tokens}" in fit.problem
    assert fit_memory(b200.with_engine_args({"max-total-tokens": fit.fitting_tokens})).problem is None


def test_fraction_below_the_weights_names_one_that_works(b200):
    fit = fit_memory(b200.with_engine_args({"mem-fraction-static": 0.5}))
    assert fit.tokens == 0
    assert fit.problem is not None
    assert "mem-fraction-static" in fit.problem
    enough = float(fit.problem.rsplit(" ", 1)[1])
    assert fit_memory(b200.with_engine_args({"mem-fraction-static": enough})).problem is None


def test_fraction_that_leaves_no_room_to_work_is_refused(b200):
    uncapped = b200.with_engine_args({"mem-fraction-static": 0.97, "max-total-tokens": None})
    fit = fit_memory(uncapped)
    assert fit.problem is not None
    assert "lower mem-fraction-static to 0.94" in fit.problem
    lower = float(fit.problem.rsplit(" ", 1)[1])
    assert fit_memory(uncapped.with_engine_args({"mem-fraction-static": lower})).problem is None


def test_weights_larger_than_the_gpus_name_tp_and_gpu(b200):
    document = b200.to_json()
    document["gpu"] |= {"type": "H100", "memoryGb": 80, "architecture": "sm90"}
    fit = fit_memory(Recipe.model_validate(document))
    assert "change tp with gpu.count" in (fit.problem or "")


def test_heads_that_tp_does_not_divide(b200):
    document = b200.to_json()
    document["gpu"]["count"] = document["engine"]["flags"]["tp"] = 7
    assert "tp 7 doesn't divide" in (fit_memory(Recipe.model_validate(document)).problem or "")


def test_what_is_not_modelled_is_said(b200):
    with pytest.raises(ServingError, match="enable-dp-attention"):
        fit_memory(b200.with_engine_args({"enable-dp-attention": True}))
    with pytest.raises(ServingError, match="--max-total-tokens is 'many'"):
        fit_memory(b200.with_engine_args({"max-total-tokens": "many"}))


def test_without_a_fraction_the_engines_own_applies(b200):
    fit = fit_memory(b200.with_engine_args({"mem-fraction-static": None, "max-total-tokens": None}))
    assert fit.plan.fraction == pytest.approx(0.822, abs=0.001)
    assert fit.problem is None


# ── the command and the docs ──


def test_command_prints_a_table_and_the_verdict(capsys):
    assert main([B200]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{B200}: 8 x B200, SGLang, bfloat16 KV cache, drafting with the MTP layer"
    assert any(line.split()[:4] == ["all", "at", "once", "48"] and "1,365" in line for line in lines)
    assert lines[-1].startswith("fits, but a request can't be longer than 65,536 tokens")


def test_command_exits_1_when_it_does_not_fit(capsys):
    assert main([B200, "--set", "max-total-tokens=2000000"]) == 1
    assert "does not fit: 2,000,000 tokens are asked for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["glm-5.2-fp8-h200", "--set", "tensor-parallel-size=4", "--set", "pipeline-parallel-size=2"],
            "doesn't know pipeline-parallel-size",
        ),
        (["no-such-recipe"], "No such file"),
        ([B200, "--set", "tp=4"], "engine.flags.tp is 4, gpu.count is 8"),
    ],
)
def test_command_exits_2_with_one_line(capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_command_wants_a_value_for_each_flag(capsys):
    with pytest.raises(SystemExit) as ended:
        main([B200, "--set", "tp"])
    assert ended.value.code == 2
    assert "--set tp: write FLAG=VALUE" in capsys.readouterr().err


def _row(recipe: Recipe, fit: MemoryFit) -> str:
    flags = recipe.engine.flags
    return (
        f"| {recipe.gpu.type} | {flags['mem-fraction-static']:g} | {recipe.kv_cache_dtype} | "
        f"{flags.get('max-total-tokens', '–')} | {gib(fit.weights + fit.draft):.1f} | {gib(fit.pool):.1f} | "
        f"{gib(fit.left):.1f} | {gib(fit.margin):.1f} | {fit.tokens:,} | {fit.tokens_per_request:,} | "
        f"{fit.full_contexts} |"
    )


def test_docs_show_what_the_command_says(b200):
    docs = (RECIPES.parent / "docs" / "memory.md").read_text(encoding="utf-8")
    uncapped, fp8 = {"max-total-tokens": None}, {"kv-cache-dtype": "fp8_e4m3"}
    production, hopper, vllm = recipe("glm-5.1-fp8-b200"), recipe("glm-5.1-fp8-h200"), recipe("glm-5.2-fp8-h200")
    shown = [
        b200,
        production,
        b200.with_engine_args(uncapped),
        b200.with_engine_args({**uncapped, "mem-fraction-static": 0.82}),
        b200.with_engine_args({**uncapped, **fp8}),
        on_h200(b200),
        hopper,
        hopper.with_engine_args(uncapped),
        on_h200(b200, **uncapped, **fp8),
    ]
    missing = [row for row in (_row(recipe, fit_memory(recipe)) for recipe in shown) if row not in docs]
    assert not missing, "docs/memory.md lacks:\n" + "\n".join(missing)
    assert report(production, fit_memory(production)) in docs
    assert report(vllm, fit_memory(vllm)) in docs
