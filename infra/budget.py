"""`budget` of a stack file."""

from __future__ import annotations

from serving.budget import Budget

__all__ = ["Budget"]
