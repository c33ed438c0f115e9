"""The sections of a recipe file: each one's keys, units and defaults. What they mean together is in recipe.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import NoneType
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.alias_generators import to_camel

from serving.architecture import Architecture

FlagValue = bool | int | float | str | list[int | float | str] | dict[str, Any]
"""A flag's value: `true` writes the bare switch, `false` leaves it out, a list its arguments, anything else the one.

An object is written as JSON, which is what some of vLLM's flags take."""


class Data(BaseModel):
    """Frozen, camelCase in files, unknown keys refused."""

    # Built when first used: most classes are only ever read as a part of another, and each `pulumi up` would wait.
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, defer_build=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _switches_are_no_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's `count: yes` does not mean 1, nor `0` off."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = set(get_args(annotation) or [annotation]) - {NoneType}
        if kinds == {bool} and value not in (None, "true", "false") and not isinstance(value, bool):
            raise ValueError("must be true or false")
        if kinds <= {int, float} and isinstance(value, bool):
            raise ValueError("must be a number")
        return value

    def to_json(self) -> dict[str, Any]:
        """The document that `model_validate` reads back, in the files' own (camelCase) keys."""
        return self.model_dump(mode="json", by_alias=True)

    def to_text(self) -> str:
        """`to_json` as a text that is the same for the same data."""
        return json.dumps(self.to_json(), sort_keys=True)


class Model(Data):
    repo: str = Field(pattern=r"^\w[\w.-]*/\w[\w.-]*$", description="Hugging Face repository, owner/name")
    revision: str = Field(default="main", description="branch, tag or 40-hex commit; a commit is what production pins")
    served_name: str = Field(description="the name clients put into the OpenAI `model` field")
    size_gb: float = Field(gt=0, description="size of the checkpoint, 10^9 bytes")
    context_tokens: int = Field(gt=0, description="longest context the model itself supports")
    architecture: Architecture | None = Field(default=None, description="dimensions; without them no memory fit")
    kv_bytes_per_token: int | None = Field(
        default=None, gt=0, description="only for a model without `architecture`; read `Recipe.kv_bytes_per_token`"
    )

    @model_validator(mode="after")
    def _kv_bytes_have_one_source(self) -> Model:
        if (self.architecture is None) == (self.kv_bytes_per_token is None):
            found = "neither" if self.architecture is None else "both"
            raise ValueError(
                f"{found} of architecture and kvBytesPerToken given: write `architecture`, from which the bytes of a "
                "token follow, or, where its dimensions are unknown, kvBytesPerToken alone"
            )
        return self

    @property
    def folder(self) -> str:
        """The repository's own name: the folder under the weights mount that holds its commits."""
        return self.repo.split("/")[1]

    @property
    def pinned(self) -> bool:
        return len(self.revision) == 40 and all(c in "0123456789abcdef" for c in self.revision)


class Engine(Data):
    name: Literal["sglang", "vllm"]
    version: str = Field(description="exact release, or the name of a build that is no release")
    nearest_release: str | None = Field(
        default=None, description="where the image is no release: the one whose flag catalogue is used in its place"
    )
    image: str = Field(description="registry tag of the serving image")
    setup_commands: list[str] = Field(
        default_factory=list, description="Dockerfile commands that mend the image before anything is installed"
    )
    pip_packages: list[str] = Field(default_factory=list, description="installed into the image, after the mends")
    flags: dict[str, FlagValue] = Field(description="long option names without the dashes")
    environment: dict[str, str] = Field(default_factory=dict)

    @property
    def catalogue_release(self) -> str:
        """The release whose flag catalogue applies."""
        return self.nearest_release or self.version


class GpuFallback(Data):
    """Another GPU that this recipe is known to run on as it is, as many of them."""

    type: str = Field(description="Modal's name")
    memory_gb: float = Field(gt=0, description="memory of one GPU")
    architecture: str = Field(pattern=r"^sm\d+$")
    gpu_second: float = Field(gt=0, description="USD for one GPU for one second, as of prices.asOf")


class Gpu(Data):
    type: str = Field(description="Modal's name: B200, H200, ...")
    count: int = Field(ge=1, le=8)
    memory_gb: float = Field(
        gt=0, description="memory of one GPU as its maker names it (B200: 180, H200: 141), in truth GiB"
    )
    architecture: str = Field(pattern=r"^sm\d+$", description="compute capability; kernels do not move between these")
    fallbacks: list[GpuFallback] = Field(
        default_factory=list, description="what a stack's capacity.gpuFallbacks may name; only what was tried"
    )

    @property
    def request(self) -> str:
        return f"{self.type}:{self.count}"

    @property
    def types(self) -> list[str]:
        """The GPU's own type and those of its fallbacks."""
        return [self.type, *(other.type for other in self.fallbacks)]

    def requests(self, fallbacks: Sequence[str]) -> str | list[str]:
        """What Modal is asked for: this GPU, or a list of it and these types, the most wanted first."""
        return [self.request, *(f"{kind}:{self.count}" for kind in fallbacks)] if fallbacks else self.request

    @property
    def capability(self) -> int:
        """100 for sm100."""
        return int(self.architecture[2:])


class VolumeMount(Data):
    name: str
    mount_path: str = Field(pattern=r"^/")
    version: Literal[1, 2] = 2


class Volumes(Data):
    weights: VolumeMount
    kernels: VolumeMount = Field(description="what the engine compiles; an engine that compiles nothing caches here")


class SecretKey(Data):
    name: str = Field(description="name of the Modal secret")
    key: str = Field(description="environment variable it sets in the container")


class Secrets(Data):
    hugging_face: SecretKey
    api_key: SecretKey


class Download(Data):
    layout: Literal["folder", "hub"] = Field(
        default="folder",
        description="`folder`: <model>/<commit>/ on the volume; `hub`: the Hub client's cache, the volume is HF_HOME",
    )
    cpu: float = 4
    memory_mib: int = 32768
    timeout: int = Field(default=7200, description="seconds for one attempt of the job")
    workers: int = 8
    retry_delays: list[float] = Field(
        default_factory=lambda: [30.0, 60.0, 90.0], description="seconds before each new try"
    )
    environment: dict[str, str] = Field(default_factory=lambda: {"HF_XET_HIGH_PERFORMANCE": "1"})


class Kernels(Data):
    marker: str = Field(description="file written last, once every kernel is on the volume")
    timeout: int = Field(default=3600, description="seconds for the whole compilation")
    estimated_minutes: float = Field(description="wall time on the recipe's GPUs, for the cost said beforehand")


class Deadlines(Data):
    """All in seconds."""

    scheduling: int = Field(default=900, description="request to container start: waiting for free GPUs, image pull")
    startup: int = Field(default=900, description="container start to warmed up; Modal ends the container after it")
    typical_startup: int | None = Field(
        default=None, gt=0, description="what a start usually takes, for the costs that a preview tells"
    )
    health: int = Field(default=780, description="engine start to the first 200 of /health")
    warmup_request: float = Field(default=300, description="each of the four warm-up requests")
    shutdown: int = Field(default=30, description="SIGTERM to SIGKILL of the engine")
    monitor_interval: float = Field(default=10, description="how often the monitor looks at a running engine")
    hang: float = Field(
        default=600, description="running requests without token progress for so long: the engine is dead"
    )
    container: int = Field(default=86400, description="Modal's timeout of one container (web ingress)")


class Warmup(Data):
    long_context_tokens: int = Field(default=2400, description="size of the long prompt, in tokens")


class Question(Data):
    prompt: str
    expect: str = Field(description="what the answer must contain, in any case of letters")


class Quality(Data):
    """What a new version has to answer as well as the last good one; log-probabilities in nats."""

    questions: list[Question] = Field(min_length=1, description="asked after each deploy, greedily")
    min_right: float = Field(default=1, ge=0, le=1, description="share of right answers")
    max_mean_drop: float = Field(
        default=0.1, ge=0, description="of the answers' log-probabilities, on average over their tokens"
    )
    max_deviation: float = Field(default=2, ge=0, description="of one token's log-probability, up or down")
    baseline: int = Field(default=1, description="another number makes the next deploy's figures the new baseline")


class Prices(Data):
    """USD, as published on `as_of`; what a preview says when Modal's own rates are out of reach."""

    gpu_second: float = Field(gt=0, description="one GPU for one second")
    cpu_core_second: float = Field(gt=0, description="one physical core for one second")
    memory_gib_second: float = Field(gt=0)
    as_of: str
    source: str
