"""The two container images, and where the volumes are mounted."""

from __future__ import annotations

import modal

from serving.recipe import Recipe
from serving.recipe_sections import VolumeMount

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
    """The engine's own image as published, plus the recipe's mends: all else it was tested with stays untouched."""
    engine = recipe.engine
    image = modal.Image.from_registry(engine.image, setup_dockerfile_commands=engine.setup_commands).entrypoint([])
    if engine.pip_packages:
        image = image.pip_install(*engine.pip_packages)
    return image.add_local_python_source(_SOURCE)


def volume(mount: VolumeMount, *, create: bool = False) -> modal.Volume:
    """`create` is for jobs run by hand: a stack's volumes exist before its apps, taken over perhaps, in any version."""
    if create:
        return modal.Volume.from_name(mount.name, create_if_missing=True, version=mount.version)
    return modal.Volume.from_name(mount.name)
