"""The prices of a Modal workspace: asked of Modal, or else those that a recipe carries.

`python -m components.modal_rates` prints Modal's as JSON. Whoever wants them within a time limit runs it as a process
of its own: the SDK goes on trying for a minute where Modal cannot be reached.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError

from components.modal_in_time import NoAnswer, printed_by
from serving.recipe import Recipe
from serving.recipe_sections import Data, Prices

RATES_VARIABLE = "GLM_SERVING_RATES"
"""Hands rates that were asked for once to the processes of the same preview."""

# What `modal billing rates --json` calls its prices, USD an hour: seen in 2026-08 and 2026-10.
_GPU, _CPU, _MEMORY = "gpu_hour_cost_", "cpu_hour_cost", "mem_gib_hour_cost"


class Rates(Data):
    """USD an hour, before what a region or a container that is not preempted adds."""

    gpu: dict[str, float] = Field(description="one GPU, by Modal's name of it in capitals")
    cpu_core: float = Field(gt=0, description="one physical core")
    memory_gib: float = Field(gt=0)
    as_of: str

    def price(self, recipe: Recipe) -> Recipe:
        """The recipe with these prices in place of its own. Raises KeyError for a GPU that is not listed."""
        gpu_second = self.gpu[recipe.gpu.type.upper()] / 3600
        fallbacks = [
            other.model_copy(update={"gpu_second": self.gpu[other.type.upper()] / 3600})
            for other in recipe.gpu.fallbacks
        ]
        prices = Prices(
            gpu_second=gpu_second,
            cpu_core_second=self.cpu_core / 3600,
            memory_gib_second=self.memory_gib / 3600,
            as_of=self.as_of,
            source="Modal's rates of this workspace",
        )
        gpu = recipe.gpu.model_copy(update={"fallbacks": fallbacks})
        return recipe.model_copy(update={"prices": prices, "gpu": gpu})


def read_rates(listed: Mapping[str, Any], as_of: str) -> Rates:
    """Of what Modal's SDK answers. Raises KeyError or ValueError where a price is missing or no number."""
    gpus = {name.removeprefix(_GPU).upper(): float(price) for name, price in listed.items() if name.startswith(_GPU)}
    return Rates(gpu=gpus, cpu_core=float(listed[_CPU]), memory_gib=float(listed[_MEMORY]), as_of=as_of)


def ask_modal(seconds: float = 15) -> Rates | str:
    """Modal's prices, or in a few words why there are none. Needs a Modal token."""
    try:
        return Rates.model_validate_json(printed_by("components.modal_rates", seconds=seconds))
    except NoAnswer as error:
        return str(error)


def rates_from(environ: Mapping[str, str] = os.environ) -> Rates | None:
    """Rates that this process was handed; None where there are none."""
    try:
        return Rates.model_validate_json(environ.get(RATES_VARIABLE, ""))
    except ValidationError:
        return None


def priced(recipe: Recipe, rates: Rates | None) -> Recipe:
    """With these rates where they know the recipe's GPUs, else as it is."""
    try:
        return rates.price(recipe) if rates else recipe
    except KeyError:
        return recipe


def main() -> int:
    import modal

    try:
        listed = dict(modal.Workspace.from_context().billing.rates())
        print(read_rates(listed, datetime.now(UTC).date().isoformat()).model_dump_json(by_alias=True))
    except modal.exception.AuthError:
        print("no valid Modal token (`modal token new`)", file=sys.stderr)
        return 1
    except Exception as error:  # whatever it is, the prices of the recipe do
        print(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
