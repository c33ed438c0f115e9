"""Modal's public prices of 2026-11-21, USD a second (modal.com/pricing), and what settings add to them."""

from __future__ import annotations

from decimal import Decimal

AS_OF = "2026-11-21"
GPU_SECOND = {
    "B200": Decimal("0.001736"),
    "H200": Decimal("0.001261"),
    "H100": Decimal("0.001097"),
    "A100-80GB": Decimal("0.000694"),
    "A100-40GB": Decimal("0.000583"),
    "L40S": Decimal("0.000542"),
    "A10": Decimal("0.000306"),
    "L4": Decimal("0.000222"),
    "T4": Decimal("0.000164"),
}
CPU_CORE_SECOND = Decimal("0.0000131")
MEMORY_GIB_SECOND = Decimal("0.00000222")
NONPREEMPTIBLE = Decimal(3)
BROAD_REGION = Decimal("1.5")
NARROW_REGION = Decimal("1.75")
BROAD_REGIONS = frozenset({"us", "eu", "ap", "uk", "ca", "me", "sa", "af", "mx"})
LEAST_MILLI_CPU = 125
LEAST_MEMORY_MIB = 128
"""What a container has that asks for nothing."""


def multiplier(regions: list[str], nonpreemptible: bool) -> Decimal:
    """Of several regions, the cheapest counts."""
    factor = Decimal(1)
    if regions:
        factor = BROAD_REGION if BROAD_REGIONS & set(regions) else NARROW_REGION
    return factor * (NONPREEMPTIBLE if nonpreemptible else 1)
