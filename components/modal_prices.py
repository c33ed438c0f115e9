"""What Modal's settings cost on top of its base prices: the table `modal_prices.yaml`, with source and date."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from serving.recipe_sections import Data
from serving.yaml_file import read_yaml


class RegionKind(Data):
    multiplier: float = Field(ge=1)
    names: list[str]


class Regions(Data):
    source: str
    broad: RegionKind
    narrow: RegionKind

    @property
    def names(self) -> list[str]:
        return [*self.broad.names, *self.narrow.names]

    def multiplier(self, regions: Sequence[str]) -> float:
        """Of the base price, for containers in one of these regions; 1 where none is asked for. Raises KeyError."""
        known = {name: kind.multiplier for kind in (self.broad, self.narrow) for name in kind.names}
        return min((known[region] for region in regions), default=1.0)


class RoutingRegions(Data):
    source: str
    names: list[str]


class Nonpreemptible(Data):
    source: str
    multiplier: float = Field(ge=1, description="of the base price of CPU and memory")


class ModalPrices(Data):
    as_of: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    regions: Regions
    routing_regions: RoutingRegions
    nonpreemptible: Nonpreemptible


@functools.cache
def modal_prices() -> ModalPrices:
    return ModalPrices.model_validate(read_yaml(Path(__file__).with_suffix(".yaml")))
