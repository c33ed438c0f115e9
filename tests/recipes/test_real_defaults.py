"""What the real releases make of the attention flags on each GPU: their own functions, run with a pretended device."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
import types
import zipfile
from typing import Any

import pytest

from infra.settings import RECIPES
from serving.recipe import load_recipe

GLM = "GlmMoeDsaForCausalLM"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Reads a module's source from the wheel of a version."""
    folder = tmp_path_factory.mktemp("wheels")

    def read(version: str, member: str) -> str:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "0", "--timeout", "10"),
            *("--disable-pip-version-check", "--dest", str(folder / version), "--only-binary=:all:"),
            *("--python-version", "3.11", "--platform", "manylinux_2_34_x86_64", f"sglang=={version}"),
        ]
        if not list((folder / version).glob("*.whl")):
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=60)
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"THE DEFAULTS WERE NOT CHECKED: cannot download sglang {version}: {error}")
        (wheel,) = (folder / version).glob("*.whl")
        return zipfile.ZipFile(wheel).read(member).decode()

    return read


def functions(source: str, names: set[str], namespace: dict[str, Any]) -> dict[str, Any]:
    """The named functions and constants of a module, and nothing else of it, in a namespace of their own."""
    nodes: list[ast.stmt] = []
    for node in ast.walk(ast.parse(source)):
        if (isinstance(node, ast.FunctionDef) and node.name in names) or (
            isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in names
        ):
            nodes.append(node)
    module = ast.Module([ast.parse("from __future__ import annotations").body[0], *nodes], [])
    never = {"is_hip": lambda: False, "is_npu": lambda: False, "is_xpu": lambda: False}
    namespace = {"logger": logging.getLogger("sglang"), "register_post_process": lambda f: f, **never, **namespace}
    exec(compile(ast.fix_missing_locations(module), "wheel", "exec"), namespace)
    return namespace


def old(release: Any, flags: dict[str, Any], major: int) -> tuple[str, str, str]:
    found = functions(
        release("0.5.10.post1", "sglang/srt/server_args.py"),
        {"_set_default_nsa_kv_cache_dtype", "_set_default_nsa_backends"},
        {},
    )
    args = types.SimpleNamespace(
        nsa_prefill_backend=flags.get("nsa-prefill-backend"),
        nsa_decode_backend=flags.get("nsa-decode-backend"),
        kv_cache_dtype=flags.get("kv-cache-dtype", "auto"),
        enable_hisparse=False,
    )
    found["_set_default_nsa_kv_cache_dtype"](args, major, "fp8")
    found["_set_default_nsa_backends"](args, args.kv_cache_dtype, major)
    return args.kv_cache_dtype, args.nsa_prefill_backend, args.nsa_decode_backend


def new(release: Any, flags: dict[str, Any], major: int, patch: pytest.MonkeyPatch) -> tuple[str, str, str]:
    cuda = types.SimpleNamespace(get_device_capability=lambda: (major, 0))
    for name, contents in {
        "torch": {"cuda": cuda},
        "sglang": {},
        "sglang.srt": {},
        "sglang.srt.configs": {},
        "sglang.srt.configs.model_config": {"is_deepseek_dsa": lambda config: True},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(contents)
        patch.setitem(sys.modules, name, module)
    found = functions(
        release("0.5.16", "sglang/srt/arg_groups/overrides.py"),
        {"_dsa_kv_cache_dtype_default", "_dsa_split_backend_resolution", "_DEEPSEEK_FAMILY_ARCHS"},
        {},
    )
    config = types.SimpleNamespace(hf_config=types.SimpleNamespace(architectures=[GLM]))
    view = types.SimpleNamespace(
        get_model_config=lambda: config,
        dsa_prefill_backend=flags.get("dsa-prefill-backend"),
        dsa_decode_backend=flags.get("dsa-decode-backend"),
        kv_cache_dtype=flags.get("kv-cache-dtype", "auto"),
        enable_hisparse=False,
    )
    for step in ("_dsa_kv_cache_dtype_default", "_dsa_split_backend_resolution"):
        vars(view).update(found[step](view))
    return view.kv_cache_dtype, view.dsa_prefill_backend, view.dsa_decode_backend


HOPPER = ("bfloat16", "flashmla_sparse", "fa3")
BLACKWELL = ("bfloat16", "trtllm", "trtllm")


def test_the_h200_recipe_says_what_hopper_would_get_by_itself(release: Any) -> None:
    flags = load_recipe(RECIPES / "glm-5.1-fp8-h200.yaml").engine.flags
    assert old(release, flags, 9) == old(release, {}, 9) == HOPPER


def test_the_b200_recipes_get_what_they_say(release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert old(release, load_recipe(RECIPES / "glm-5.1-fp8-b200.yaml").engine.flags, 10) == BLACKWELL
    assert new(release, load_recipe(RECIPES / "glm-5.1-fp8-b200-next.yaml").engine.flags, 10, monkeypatch) == BLACKWELL


def test_left_to_itself_blackwell_gets_an_fp8_cache(release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the rule eagle-fp8-kv-by-default stands on, in both releases."""
    assert old(release, {}, 10) == new(release, {}, 10, monkeypatch) == ("fp8_e4m3", "trtllm", "trtllm")
    assert new(release, {}, 9, monkeypatch) == HOPPER
