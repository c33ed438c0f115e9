from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from modal_proto import api_pb2

from local.modal_cloud.clock import now
from local.modal_cloud.folders import Folders
from local.modal_cloud.ids import new_id
from local.modal_cloud.images import packages
from local.modal_cloud.images.dockerfile import read
from local.modal_cloud.images.registry import Brings, flaws_left, look_up
from local.modal_cloud.records import Image
from local.modal_cloud.store import Store, Table


@dataclass(frozen=True)
class Resolved:
    """What a chain of layers means for a container."""

    tag: str
    brings: Brings
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str | None = None
    mount_ids: tuple[str, ...] = ()
    """Build contexts, lowest layer first: files that `copy=True` put into the image."""
    flaws: tuple[str, ...] = ()
    """What is wrong with the real image and mended by none of the layers."""


class Images:
    def __init__(self, store: Store, folders: Folders) -> None:
        self._table = Table(store, "images", Image)
        self.sabotage: Callable[[list[str]], str | None] = lambda commands: None
        """Why a layer with these commands is to fail although it would not (ordered faults)."""
        self.bin_folder = folders.root / "images" / "bin"
        """`python` and `python3` of every image: the interpreter that runs the cloud."""
        self._write_bin_folder()

    def get(self, image_id: str) -> Image:
        return self._table.get(image_id)

    def get_or_create(self, definition: api_pb2.Image, builder_version: str, force: bool) -> tuple[Image, bool]:
        """The image and whether it had been built before. The same definition gives the same image unless forced; one
        that failed is tried again. Raises NotFound for an unknown base."""
        key = _key(definition, builder_version)
        if not force:
            found = self._table.where(lambda image: image.error is None and image.key == key)
            if found:
                return found[-1], True
        return self._table.save(self._build(definition, builder_version, key)), False

    def chain(self, image_id: str) -> list[Image]:
        """Lowest layer first."""
        layers = []
        next_id: str | None = image_id
        while next_id:
            layer = self.get(next_id)
            layers.append(layer)
            next_id = layer.base_id
        return layers[::-1]

    def resolve(self, image_id: str) -> Resolved:
        """Raises ValueError for an image that was never built."""
        layers = self.chain(image_id)
        tag = layers[0].tag
        brings = look_up(tag) if tag else None
        if tag is None or brings is None or layers[-1].error:
            raise ValueError(f"image {image_id} was not built: {layers[-1].error or 'it has no FROM tag'}")
        environment: dict[str, str] = {}
        workdir = None
        for layer in layers:
            environment.update(layer.environment)
            workdir = layer.workdir or workdir
        flaws = flaws_left(tag, brings, (command for layer in layers for command in layer.commands))
        return Resolved(tag, brings, environment, workdir, tuple(filter(None, map(_context, layers))), flaws)

    def build_log(self, image: Image) -> str:
        lines = [f"=> {command}" for command in image.commands]
        lines += packages.report(image.commands)
        lines.append(image.error or "Recorded: on the local cloud commands are not run, ENV and WORKDIR take effect.")
        return "\n".join(lines) + "\n"

    def _write_bin_folder(self) -> None:
        # A script and not a link: a linked interpreter does not find its virtual environment.
        self.bin_folder.mkdir(parents=True, exist_ok=True)
        for name in ("python", "python3"):
            script = self.bin_folder / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            script.chmod(0o755)

    def _build(self, definition: api_pb2.Image, builder_version: str, key: str) -> Image:
        base_id = definition.base_images[0].image_id if definition.base_images else None
        below = self.chain(base_id) if base_id else []
        inherited = {name: value for layer in below for name, value in layer.environment.items()}
        layer = read(definition.dockerfile_commands, inherited)
        error = None
        if below and below[-1].error:
            error = f"its base image {base_id} failed to build: {below[-1].error}"
        elif base_id is None and layer.tag is None:
            error = "no FROM instruction names an image"
        elif layer.tag is not None and look_up(layer.tag) is None:
            error = (
                f"pull of '{layer.tag}' failed: the local cloud has no stand-in for this image"
                " (local/modal_cloud/images/registry.py lists those it has)"
            )
        elif definition.build_function.definition:
            error = "Image.run_function is not supported by the local cloud"
        else:
            error = self.sabotage(list(definition.dockerfile_commands))
        # A layer's FROM tag other than `base` starts a new chain, whatever base images it was given for COPY --from.
        return Image(
            id=new_id("im"),
            key=key,
            base_id=None if layer.tag else base_id,
            commands=list(definition.dockerfile_commands),
            builder_version=builder_version,
            created_at=now(),
            definition=definition,
            tag=layer.tag,
            environment=layer.environment,
            workdir=layer.workdir,
            mount_id=definition.context_mount_id or None,
            error=error,
        )


def _context(layer: Image) -> str | None:
    """Id of the mount with `copy=True` sources: its files carry their absolute paths and all of it is copied
    to the root."""
    return layer.mount_id if "COPY . /" in layer.commands else None


def _key(definition: api_pb2.Image, builder_version: str) -> str:
    return hashlib.sha256(builder_version.encode() + definition.SerializeToString(deterministic=True)).hexdigest()
