"""Where and on what a stack runs: what Modal cannot do is refused in a preview, and what it can has its price."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from components import estimates
from components.modal_prices import modal_prices
from infra.settings import RECIPES
from serving.params import Capacity, Scaling
from serving.recipe import Recipe, load_recipe
from tests.infra.test_settings import load, problems

GLM_51 = {"recipe": "glm-5.1-fp8-b200"}
GLM_52 = {"recipe": "glm-5.2-fp8-h200"}
TINY_52 = {"recipe": "tiny-glm52-local"}


def recipe_file(tmp_path: Path, name: str, **gpu: Any) -> Path:
    """A recipe with another `gpu`."""
    document = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    document["gpu"] |= gpu
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_nothing_is_asked_for_by_default() -> None:
    assert load(GLM_51).capacity == Capacity()


def test_a_fallback_is_one_that_the_recipe_lists() -> None:
    settings = load({**TINY_52, "capacity": {"gpuFallbacks": ["B200"]}})
    assert settings.capacity.gpu_fallbacks == ["B200"]
    assert settings.recipe.gpu.requests(settings.capacity.gpu_fallbacks) == ["H200:8", "B200:8"]
    assert settings.recipe.gpu.requests([]) == "H200:8"


@pytest.mark.parametrize(
    ("stack", "kind", "cause"),
    [
        (GLM_51, "H200", "its kernels run on sm100 alone and its flags are sized for 180 GB a GPU"),
        (GLM_51, "B200+", "its kernels run on sm100 alone"),
        (GLM_52, "H100", "its flags are sized for 141 GB a GPU"),
        (TINY_52, "B300", "lists B200 in gpu.fallbacks"),
    ],
)
def test_any_other_fallback_is_refused_with_the_cause(stack: dict[str, object], kind: str, cause: str) -> None:
    (problem,) = problems({**stack, "capacity": {"gpuFallbacks": [kind]}})
    assert problem.startswith(f"capacity.gpuFallbacks: found {kind!r}")
    assert cause in problem
    assert "`pulumi config rm --path capacity.gpuFallbacks`" in problem


def test_a_fallback_twice_is_refused() -> None:
    (problem,) = problems({**TINY_52, "capacity": {"gpuFallbacks": ["B200", "B200"]}})
    assert "B200 more than once" in problem


def test_flags_are_checked_for_the_fallbacks_architecture_too(tmp_path: Path) -> None:
    """trtllm attention, fine on the recipe's B200, has no kernels on Hopper."""
    document = yaml.safe_load((RECIPES / "glm-5.1-fp8-b200.yaml").read_text())
    del document["kernels"]
    document["gpu"]["memoryGb"] = 141
    document["engine"]["flags"] |= {"max-total-tokens": 256000, "mem-fraction-static": 0.83}
    document["gpu"]["fallbacks"] = [{"type": "H200", "memoryGb": 141, "architecture": "sm90", "gpuSecond": 0.001}]
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump(document))
    assert load({"recipe": str(path)}).recipe.gpu.fallbacks
    found = problems({"recipe": str(path), "capacity": {"gpuFallbacks": ["H200"]}})
    assert found
    assert all(problem.startswith("capacity.gpuFallbacks: H200: ") for problem in found)
    assert any("-decode-backend" in problem for problem in found)


@pytest.mark.parametrize(
    ("name", "gpu", "cause"),
    [
        (
            "tiny-glm52-local",
            {"fallbacks": [{"type": "H100", "memoryGb": 80, "architecture": "sm90", "gpuSecond": 0.001}]},
            "H100 has 80 GB a GPU, less than the 141 GB of H200",
        ),
        (
            "glm-5.1-fp8-h200",
            {"fallbacks": [{"type": "B200", "memoryGb": 180, "architecture": "sm100", "gpuSecond": 0.001}]},
            "B200 is sm100, and kernels compiled for sm90 do not run there",
        ),
        ("glm-5.1-fp8-b200", {"type": "B200+"}, "B200+ lets Modal give GPUs of two architectures"),
    ],
)
def test_a_recipe_lists_no_gpu_that_its_kernels_or_flags_do_not_fit(
    tmp_path: Path, name: str, gpu: dict[str, Any], cause: str
) -> None:
    path = recipe_file(tmp_path, name, **gpu)
    with pytest.raises(ValidationError, match=re.escape(cause)):
        load_recipe(path)


def test_gpus_that_cannot_be_kept_are_said_so_and_the_download_can() -> None:
    (problem,) = problems({**GLM_51, "capacity": {"nonpreemptible": True}})
    assert "Modal has it for CPU functions only (modal.com/docs/guide/preemption)" in problem
    assert "--path capacity.nonpreemptibleDownload true" in problem
    assert load({**GLM_51, "capacity": {"nonpreemptibleDownload": True}}).capacity.nonpreemptible_download


def test_a_region_is_one_name_or_several_and_a_misspelt_one_is_found() -> None:
    assert load({**GLM_51, "region": "eu"}).capacity.regions == ["eu"]
    several = load({**GLM_51, "region": ["us-east", "eu"], "routingRegion": "eu-west"}).capacity
    assert (several.regions, several.routing_region) == (["us-east", "eu"], "eu-west")
    found = problems({**GLM_51, "region": "eu-wset", "routingRegion": "eu"})
    assert [problem.partition(":")[0] for problem in found] == ["region", "routingRegion"]
    assert "`pulumi config set region eu-west`" in found[0]
    assert "allowed are us-east, us-west, eu-west, ap-south" in found[1]


@pytest.mark.parametrize("stack", [GLM_51, GLM_52, {"recipe": "glm-5.1-fp8-h200"}])
def test_no_gpu_snapshot_of_eight_gpus(stack: dict[str, object]) -> None:
    (problem,) = problems({**stack, "gpuSnapshot": "true"})
    assert "no GPU memory snapshot of more than one GPU" in problem
    assert "`pulumi config rm gpuSnapshot`" in problem
    assert load({**stack, "gpuSnapshot": "false"})


def test_nor_of_one_whose_engine_is_not_put_to_sleep(tmp_path: Path) -> None:
    document = yaml.safe_load((RECIPES / "tiny-glm52-local.yaml").read_text())
    document["gpu"]["count"] = 1
    document["engine"]["flags"]["tensor-parallel-size"] = 1
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump(document))
    (problem,) = problems({"recipe": str(path), "gpuSnapshot": "true"})
    assert "vLLM would have to put its memory aside" in problem


def test_everything_wrong_is_said_at_once() -> None:
    found = problems(
        {
            **GLM_51,
            "capacity": {"gpuFallbacks": ["H200"], "nonpreemptible": True, "spot": True},
            "region": "moon",
            "gpuSnapshot": "true",
            "scaling": {"maxContainers": 0},
        }
    )
    assert {problem.partition(":")[0] for problem in found} == {
        *("capacity.gpuFallbacks", "capacity.nonpreemptible", "capacity.spot"),
        *("region", "gpuSnapshot", "scaling.maxContainers"),
    }
    spot = next(problem for problem in found if problem.startswith("capacity.spot"))
    assert "the keys here are gpuFallbacks, nonpreemptible, nonpreemptibleDownload" in spot
    assert "`pulumi config rm --path capacity.spot`" in spot


def test_multipliers_are_those_of_the_published_table() -> None:
    """modal.com/docs/guide/region-selection and /preemption."""
    table = modal_prices()
    assert table.regions.multiplier([]) == 1
    assert table.regions.multiplier(["us"]) == 1.5
    assert table.regions.multiplier(["us-west"]) == 1.75
    assert table.regions.multiplier(["us-west", "eu"]) == 1.5, "the smaller one counts"
    assert table.nonpreemptible.multiplier == 3


def plan(recipe: Recipe, **capacity: Any) -> str:
    return estimates.plan(recipe, Scaling(max_containers=3), "web", Capacity(**capacity))


def test_a_preview_has_the_price_of_each_setting() -> None:
    glm = load(GLM_52).recipe
    assert "0 to 3 replicas at $36.32/h each, down after" in plan(glm)
    pinned = plan(glm, regions=["us-east"])
    assert "$63.55/h each (1.75 × the base price for region us-east, prices of " in pinned
    tiny = load(TINY_52).recipe
    assert "$36.32/h each, $50.00/h on 8×B200 while none of those are free" in plan(tiny, gpu_fallbacks=["B200"])
    both = plan(tiny, gpu_fallbacks=["B200"], regions=["eu"])
    assert "$54.48/h each (1.5 × " in both
    assert "$75.00/h on 8×B200" in both
    usual, kept = (
        estimates.download(glm, Capacity(nonpreemptible_download=nonpreemptible)) for nonpreemptible in (False, True)
    )
    assert re.search(r"\(\$0\.44/h\)$", usual), usual
    assert re.search(r"\(\$1\.33/h, 3 × the base price for not being preempted\)$", kept), kept
    assert plan(glm, nonpreemptible_download=True).endswith(
        "; the download at $1.33/h, 3 × the base price for not being preempted"
    )


def test_the_smoke_tests_limit_counts_the_dearest_gpu() -> None:
    tiny, scaling = load(TINY_52).recipe, Scaling(scaledown_window=3510)
    assert estimates.one_replica(tiny, scaling, Capacity()).endswith("at most $36.32")
    assert estimates.one_replica(tiny, scaling, Capacity(gpu_fallbacks=["B200"])).endswith("at most $50.00")
