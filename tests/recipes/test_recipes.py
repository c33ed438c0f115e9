"""The recipes as data: what their engines are started with, and what changing between them keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.settings import RECIPES
from recipes.flags import catalogue
from recipes.flags.extract import extract
from recipes.flags.literals import NotLiteral
from serving.engines import sglang
from serving.recipe import Recipe, kernel_key, load_recipe

COMMIT = "0123456789abcdef0123456789abcdef01234567"

COMMON = {
    "--model-path": f"/model-cache/GLM-5.1-FP8/{COMMIT}",
    "--served-model-name": "glm-5.1",
    "--host": "0.0.0.0",
    "--port": "8000",
    "--tp": "8",
    "--ep": "1",
    "--trust-remote-code": None,
    "--kv-cache-dtype": "bfloat16",
    "--speculative-algorithm": "EAGLE",
    "--speculative-num-steps": "3",
    "--speculative-eagle-topk": "1",
    "--speculative-num-draft-tokens": "4",
    "--reasoning-parser": "glm45",
    "--tool-call-parser": "glm47",
    "--max-running-requests": "48",
    "--max-prefill-tokens": "32768",
    "--context-length": "202752",
    "--watchdog-timeout": "1200",
    "--enable-metrics": None,
}
H200 = COMMON | {
    "--attention-backend": "nsa",
    "--nsa-decode-backend": "fa3",
    "--nsa-prefill-backend": "flashmla_sparse",
    "--moe-runner-backend": "auto",
    "--enable-flashinfer-allreduce-fusion": None,
    "--mem-fraction-static": "0.83",
    "--max-total-tokens": "256000",
}
NEXT = COMMON | {
    "--attention-backend": "dsa",
    "--dsa-decode-backend": "trtllm",
    "--dsa-prefill-backend": "trtllm",
    "--moe-runner-backend": "flashinfer_trtllm",
    "--flashinfer-allreduce-fusion-backend": "auto",
    "--mem-fraction-static": "0.88",
    "--max-total-tokens": "524288",
    "--weight-loader-prefetch-checkpoints": None,
}


def recipe(name: str) -> Recipe:
    return load_recipe(RECIPES / f"{name}.yaml")


def flags_of(argv: list[str]) -> dict[str, str | None]:
    """Options and their values, None for a bare switch."""
    flags: dict[str, str | None] = {}
    for word in argv:
        if word.startswith("--"):
            assert word not in flags
            flags[word] = None
        else:
            name = list(flags)[-1]
            assert flags[name] is None
            flags[name] = word
    return flags


@pytest.mark.parametrize(("name", "expected"), [("glm-5.1-fp8-h200", H200), ("glm-5.1-fp8-b200-next", NEXT)])
def test_the_command_line_flag_by_flag(name: str, expected: dict[str, str | None]) -> None:
    argv = sglang.launch_command(recipe(name), COMMIT)
    assert argv[:3] == ["python3", "-m", "sglang.launch_server"]
    assert flags_of(argv[3:]) == expected


def test_the_h200_recipe() -> None:
    h200 = recipe("glm-5.1-fp8-h200")
    assert (h200.gpu.request, h200.gpu.architecture, h200.gpu.memory_gb) == ("H200:8", "sm90", 141)
    assert h200.prices.gpu_second == 0.001261
    assert h200.engine.environment == {"SGLANG_ENABLE_SPEC_V2": "1"}


def test_the_next_release_has_no_variable_that_it_warns_about() -> None:
    following = recipe("glm-5.1-fp8-b200-next")
    assert following.engine.version == "0.5.16"
    assert following.engine.image == "lmsysorg/sglang:v0.5.16"
    assert following.engine.environment == {}


@pytest.mark.parametrize("name", ["glm-5.1-fp8-h200", "glm-5.1-fp8-b200-next"])
def test_changing_the_recipe_keeps_app_weights_and_secrets_and_builds_other_kernels(name: str) -> None:
    before, after = recipe("glm-5.1-fp8-b200"), recipe(name)
    assert (after.app, after.volumes, after.secrets) == (before.app, before.volumes, before.secrets)
    assert after.model_path(COMMIT) == before.model_path(COMMIT)
    assert after.kernels.marker == before.kernels.marker
    assert kernel_key(after, COMMIT) != kernel_key(before, COMMIT)
    assert kernel_key(after, COMMIT).startswith(after.gpu.architecture)


def test_options_made_from_annotated_fields_are_read() -> None:
    """Facts of the 0.5.16 wheel, of each shape that its definitions have."""
    release = catalogue.load("sglang", "0.5.16")
    model, tp, canary = release.find("model-path"), release.find("tp"), release.find("kv-canary-real-data")
    assert model is not None
    assert (model.names, model.required) == (("--model-path", "--model"), True)
    assert tp is not None
    assert (tp.dest, tp.type, tp.default) == ("tp_size", "int", 1)
    assert canary is not None
    assert canary.choices == ("none", "partial", "all")
    good = {
        "weight-loader-prefetch-checkpoints": True,
        "fp8-gemm-backend": "deep_gemm",  # another name than its field
        "flashinfer-allreduce-fusion-backend": "mnnvl",  # choices from a Literal
        "cuda-graph-bs-decode": [1, 2, 4],
        "max-total-tokens": "64Ki",
        "cuda-graph-backend-decode": "full",
    }
    assert release.lint(good) == []
    bad = {"weight-loader-prefetch-checkpoints": 4, "flashinfer-allreduce-fusion-backend": "on", "tp": "many"}
    assert len(release.problems(bad)) == 3
    assert release.find("dsa-prefill-cp-mode-nope") is None
    assert len(release.problems({"sidecar-args": "no json"})) == 1


@pytest.mark.parametrize("path", sorted(catalogue.FOLDER.glob("*-*.json")), ids=lambda path: path.stem)
def test_a_name_belongs_to_one_option(path: Path) -> None:
    engine, _, version = path.stem.partition("-")
    names = [name for option in catalogue.load(engine, version).options for name in option.names]
    assert len(names) == len(set(names))


def test_old_names_take_a_value_and_are_remarked() -> None:
    release = catalogue.load("sglang", "0.5.16")
    flags = {"nsa-decode-backend": "trtllm", "enable-flashinfer-allreduce-fusion": True, "smg-grpc-mode": False}
    assert release.problems(flags) == []
    assert release.remarks(flags) == [
        "nsa-decode-backend: deprecated in sglang 0.5.16; use dsa-decode-backend",
        "enable-flashinfer-allreduce-fusion: deprecated in sglang 0.5.16; use flashinfer-allreduce-fusion-backend",
    ]
    assert release.problems({"nsa-decode-backend": "fa4"})


def test_several_values_are_several_words_of_the_command_line() -> None:
    sized = recipe("glm-5.1-fp8-b200").with_engine_args({"cuda-graph-bs": [1, 2, 4]})
    argv = sglang.launch_command(sized, COMMIT)
    assert argv[-4:] == ["--cuda-graph-bs", "1", "2", "4"]
    assert catalogue.load("sglang", "0.5.10.post1").lint(sized.engine.flags) == []


def test_a_release_that_is_arranged_otherwise_is_not_misread(tmp_path: Path) -> None:
    """As SGLang's of autumn 2026 are: the fields are elsewhere, a few manual options are all that is found."""
    folder = tmp_path / "sglang" / "srt"
    (folder / "utils").mkdir(parents=True)
    (folder / "server_args.py").write_text(
        "from sglang.srt.config_parser import ConfigArgumentMerger\n"
        "class ServerArgs:\n"
        "    @staticmethod\n"
        "    def add_cli_args(parser):\n"
        "        parser.add_argument('--config', type=str)\n"
        "    @classmethod\n"
        "    def from_cli_args(cls, args):\n"
        "        return cls()\n"
    )
    (folder / "config_parser.py").write_text("def load(suffix):\n    return suffix not in ['.yaml', '.yml']\n")
    compiling = "class CompileArgs:\n    @staticmethod\n    def add_cli_args(parser):\n        pass\n"
    (tmp_path / "sglang" / "compile_deep_gemm.py").write_text(compiling)
    with pytest.raises(NotLiteral, match=r"no api_key, .* among 1 options: sglang 9\.9 arranges its arguments"):
        extract("sglang", "9.9", tmp_path)
