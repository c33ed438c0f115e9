"""The two container images, and where the volumes are mounted."""

from __future__ import annotations

import modal

from serving.recipe import Recipe, VolumeMount

_SOURCE = "serving"


def download_image() -> modal.Image:
    """CPU only: the Hub client with Xet (two to three times as fast as plain HTTP for large files)."""
    return (
        modal.Image.debian_slim(python_version="3.11")
        .pip_install("huggingface-hub[hf_xet]==2.4.0", "pydantic==2.14.3")
        .env({"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"})
        .add_local_python_source(_SOURCE)
    )


def engine_image(recipe: Recipe) -> modal.Image:
    """The engine's own image as published: its huggingface-hub and all else it was tested with stay untouched."""
    return modal.Image.from_registry(recipe.engine.image).entrypoint([]).add_local_python_source(_SOURCE)


def volume(mount: VolumeMount, *, create: bool = False) -> modal.Volume:
    """`create` is for jobs run by hand: a stack's volumes exist before its apps."""
    if create:
        return modal.Volume.from_name(mount.name, create_if_missing=True, version=mount.version)
    return modal.Volume.from_name(mount.name)
