"""A recipe: one model on one engine on one kind of GPU, as data.

The files are `recipes/<name>.yaml`; their keys are the camelCase aliases of the fields below and in
recipe_sections.py. The same model validates a recipe in `pulumi preview` and reads it inside the containers.
"""

from __future__ import annotations

import hashlib
import json
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from serving.recipe_sections import (
    Data,
    Deadlines,
    Download,
    Engine,
    FlagValue,
    Gpu,
    Kernels,
    Model,
    Prices,
    Quality,
    Question,
    Secrets,
    Volumes,
    Warmup,
)
from serving.yaml_file import read_yaml

if TYPE_CHECKING:
    from serving.engines import EngineModule


class Recipe(Data):
    name: str
    app: str = Field(description="name of the serving app; the pipeline app is `<app>-pipeline`")
    model: Model
    engine: Engine
    gpu: Gpu
    volumes: Volumes
    secrets: Secrets
    kernels: Kernels | None = Field(default=None, description="left out: nothing is compiled before serving")
    prices: Prices
    download: Download = Download()
    deadlines: Deadlines = Deadlines()
    warmup: Warmup = Warmup()
    smoke_test: list[Question] = Field(
        default_factory=lambda: [Question(prompt="What is 2+2? Answer with the number only.", expect="4")],
        description="asked from outside after each deploy",
    )
    quality: Quality | None = Field(
        default=None, description="compared with the last good deploy; left out where the weights are random"
    )
    port: int = 8000

    @field_validator("engine")
    @classmethod
    def _flags_are_bare_names(cls, engine: Engine) -> Engine:
        # What follows a dot is a key of a JSON option, which vLLM spells with '_'.
        dashed = [name for name in engine.flags if name.startswith("-") or "_" in name.partition(".")[0]]
        if dashed:
            raise ValueError(f"write flags without dashes in front and with '-' inside: {', '.join(dashed)}")
        return engine

    @field_validator("deadlines")
    @classmethod
    def _health_comes_before_the_end(cls, deadlines: Deadlines) -> Deadlines:
        if deadlines.health >= deadlines.startup:
            raise ValueError(
                f"health ({deadlines.health} s) must be less than startup ({deadlines.startup} s): "
                "else Modal ends the container before it can say what was wrong"
            )
        return deadlines

    @model_validator(mode="after")
    def _flags_leave_what_the_stack_sets(self) -> Recipe:
        if taken := sorted(self.engine_module.SET_BY_THE_STACK & self.engine.flags.keys()):
            raise ValueError(
                f"engine.flags: {', '.join(taken)}: set by the stack itself (the API key by `apiKey`), leave it out"
            )
        return self

    @model_validator(mode="after")
    def _parallelism_takes_all_gpus(self) -> Recipe:
        factors = self.engine_module.parallelism(self.engine.flags)
        if (product := prod(factors.values())) == self.gpu.count:
            return self
        found = " x ".join(f"{flag} {count}" for flag, count in factors.items()) + f" is {product}"
        if len(factors) == 1:
            found = f"{next(iter(factors))} is {product}"
        first = next(iter(factors))
        left_out = "" if first in self.engine.flags else f" ({first} is left out, which means 1)"
        raise ValueError(f"engine.flags.{found}{left_out}, gpu.count is {self.gpu.count}: they must be equal")

    @model_validator(mode="after")
    def _kernels_can_be_compiled(self) -> Recipe:
        if self.kernels and not self.engine_module.cache_folders():
            raise ValueError(f"kernels: {self.engine_module.TITLE} has no tool that compiles ahead; leave it out")
        return self

    @model_validator(mode="after")
    def _fallbacks_hold_what_the_flags_need(self) -> Recipe:
        for other in self.gpu.fallbacks:
            if other.memory_gb < self.gpu.memory_gb:
                raise ValueError(
                    f"gpu.fallbacks: {other.type} has {other.memory_gb:g} GB a GPU, less than the "
                    f"{self.gpu.memory_gb:g} GB of {self.gpu.type} that the flags are sized for; leave it out"
                )
            if self.kernels and other.architecture != self.gpu.architecture:
                raise ValueError(
                    f"gpu.fallbacks: {other.type} is {other.architecture}, and kernels compiled for "
                    f"{self.gpu.architecture} do not run there; leave it out and make a recipe for it"
                )
        if self.kernels and (mixed := [kind for kind in self.gpu.types if kind.endswith("+")]):
            raise ValueError(
                f"gpu: {mixed[0]} lets Modal give GPUs of two architectures, and kernels run on one; "
                f"write {mixed[0].rstrip('+')}"
            )
        return self

    @property
    def compiling(self) -> Kernels:
        """`kernels`, for those who are only called where a recipe has them."""
        assert self.kernels is not None
        return self.kernels

    @property
    def engine_module(self) -> EngineModule:
        """What is particular to this recipe's engine, such as the meaning of its flags."""
        from serving.engines import engine_for  # the engines know recipes, so not at import

        return engine_for(self)

    @property
    def speculates(self) -> bool:
        """Whether the model's own MTP layers draft tokens."""
        return self.engine_module.speculates(self.engine.flags)

    @property
    def kv_cache_dtype(self) -> str:
        """`bfloat16` or an FP8 type, also where the engine is left to choose."""
        return self.engine_module.kv_cache_dtype(self)

    @property
    def kv_bytes_per_token(self) -> int:
        """KV cache bytes that one token takes on each GPU, all layers, the draft's as well."""
        model = self.model.architecture
        if model is None:
            assert self.model.kv_bytes_per_token is not None  # the model's validator
            return self.model.kv_bytes_per_token
        layers = model.num_hidden_layers + (model.num_nextn_predict_layers if self.speculates else 0)
        return layers * self.engine_module.kv_bytes_per_layer(self, model)

    def with_engine_args(self, overrides: dict[str, FlagValue | None]) -> Recipe:
        """This recipe with `engineArgs` of a stack merged over its flags; `null` removes a flag.

        An object is merged into the recipe's: `pulumi config set --path engineArgs.a.b` writes one entry of `a`.
        """
        merged: dict[str, Any] = {**self.engine.flags, **overrides}
        for name, value in overrides.items():
            if isinstance(value, dict):
                merged[name] = {**_as_object(self.engine.flags.get(name)), **value}
        flags = {k: v for k, v in merged.items() if v is not None}
        return Recipe.model_validate({**self.to_json(), "engine": {**self.engine.to_json(), "flags": flags}})

    def as_served(self) -> Recipe:
        """This recipe less what no replica reads: an edit of a price or of a job's settings then deploys nothing.

        A replica is told its commit apart from the recipe. What only a preview computes with, such as the memory of
        a GPU and the model's dimensions, has been looked at by then.
        """
        unread = {"revision": "main", "size_gb": 1, "architecture": None, "kv_bytes_per_token": 1}
        return self.model_copy(
            update={
                "name": self.app,
                "model": self.model.model_copy(update=unread),
                "engine": self.engine.model_copy(update={"nearest_release": None}),
                "prices": Prices(gpu_second=1, cpu_core_second=1, memory_gib_second=1, as_of="", source=""),
                "smoke_test": [],
                "quality": None,
                "download": Download(layout=self.download.layout),
                "gpu": self.gpu.model_copy(update={"fallbacks": [], "memory_gb": 1}),
                "deadlines": self.deadlines.model_copy(update={"scheduling": 0, "typical_startup": None}),
                "kernels": self.kernels and self.kernels.model_copy(update={"estimated_minutes": 0.0, "timeout": 0}),
            }
        )

    def weights_folder(self, commit: str) -> str:
        """Path inside the weights volume; never shared between commits."""
        return f"{self.commits_folder}/{commit}"

    @property
    def commits_folder(self) -> str:
        """Path inside the weights volume that holds a folder for each commit."""
        return f"{self.hub_folder}/snapshots" if self.download.layout == "hub" else self.model.folder

    @property
    def hub_folder(self) -> str:
        """The repository's folder in a volume that is the Hub client's HF_HOME."""
        return f"hub/models--{self.model.repo.replace('/', '--')}"

    def model_path(self, commit: str) -> str:
        """Absolute path of the weights inside a container."""
        return f"{self.volumes.weights.mount_path}/{self.weights_folder(commit)}"

    def kernel_path(self, key: str) -> str:
        """Absolute path of the kernel artifact inside a container; inside the volume it is just `key`."""
        return f"{self.volumes.kernels.mount_path}/{key}"


def _as_object(value: FlagValue | None) -> dict[str, Any]:
    """A JSON flag's value; empty where it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


# Variables of the engine's environment that can change what is compiled.
COMPILER_PREFIXES = ("SGLANG_", "SGL_", "DG_", "FLASHINFER_", "TRITON_", "TVM_", "TORCH", "CUDA_", "NVCC_")


def kernel_key(recipe: Recipe, commit: str) -> str:
    """Name of the kernel artifact: everything that a compiled kernel depends on, hashed.

    Weights commit, GPU type and count, engine version, image, what is put into the image and environment, all flags but
    those known not to matter
    (an unknown flag counts as shape-affecting: a needless rebuild costs $8, a wrong kernel costs an outage).
    Returns 16 hex digits behind the GPU architecture, such as `sm100-3f9c…`; nothing for a recipe without kernels.
    """
    if recipe.kernels is None:
        return ""
    shapeless = recipe.engine_module.SHAPELESS_FLAGS
    facts = {
        "commit": commit,
        "gpu": recipe.gpu.request,
        "architecture": recipe.gpu.architecture,
        "engine": [recipe.engine.name, recipe.engine.version, recipe.engine.image],
        "flags": {k: v for k, v in sorted(recipe.engine.flags.items()) if k not in shapeless},
        "environment": {k: v for k, v in sorted(recipe.engine.environment.items()) if k.startswith(COMPILER_PREFIXES)},
    }
    # Left out where there are none: artifacts from before these were part of the key keep theirs.
    added = {"setup": recipe.engine.setup_commands, "packages": recipe.engine.pip_packages}
    facts |= {name: lines for name, lines in added.items() if lines}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"{recipe.gpu.architecture}-{digest[:16]}"


def load_recipe(path: Path) -> Recipe:
    """Reads one recipe file, whose stem is its name. Raises pydantic.ValidationError, OSError or yaml.YAMLError."""
    document = read_yaml(path)
    document = document if isinstance(document, dict) else {}
    return Recipe.model_validate({"name": path.stem, **document}, by_alias=True, by_name=False)
