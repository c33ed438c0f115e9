"""What a job left on a volume, checked from outside: its manifest against the volume's listing; and what the resources
that stand for such a folder have in common.

No container is started for that. A file that was written after its manifest is suspect even when its size is right,
and so is one with another date than the listing had when this stack last looked: the job then hashes it again. What
changes content and keeps size and date is not seen from outside; hashing everything again finds it
(`weightsRehash`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pulumi.dynamic import DiffResult, ReadResult

from components import modal_api, ownership
from components.dynamic import Properties, Provider, compare, inputs_of, say

MANIFEST = ".manifest.json"
CLOCK_SLACK_SECONDS = 2
"""Listings carry whole seconds."""


@dataclass(frozen=True)
class Artifact:
    manifest: dict
    manifest_sha256: str
    problems: list[str]
    """One phrase per file that is missing, differs in size or was changed later; empty when complete."""
    suspects: list[str] = field(default_factory=list)
    """Paths among them whose size is right: only their content can tell whether they are."""
    dates: dict[str, float] = field(default_factory=dict)
    """When each of the manifest's files was written (Unix time), as the listing has it; by path."""


def inspect(
    environment: str, volume: str, folder: str, markers: list[str], dates: Mapping[str, float] | None = None
) -> Artifact | None:
    """The artifact in `folder`, or None where no manifest was written: nothing there was ever finished.

    `dates` are those of an earlier look, for which another date is a problem.
    """
    content = modal_api.read_volume_file(environment, volume, f"{folder}/{MANIFEST}")
    if content is None:
        return None
    try:
        manifest = json.loads(content)
        expected = {entry["path"]: entry["size"] for entry in manifest["files"]}
    except (ValueError, KeyError, TypeError):
        return None
    listing = modal_api.list_volume_files(environment, volume, folder)
    written = listing[MANIFEST].mtime if MANIFEST in listing else 0
    problems = [f"{marker} is missing" for marker in markers if marker not in listing]
    suspects = []
    for path, size in expected.items():
        found = listing.get(path)
        if found is None:
            if path not in markers:
                problems.append(f"{path} is missing")
        elif found.size not in (size, None):
            problems.append(f"{path} has {found.size:,} bytes instead of {size:,}")
        elif found.mtime > written + CLOCK_SLACK_SECONDS or (dates and dates.get(path, found.mtime) != found.mtime):
            problems.append(f"{path} was written again after its check")
            suspects.append(path)
    seen = {path: listing[path].mtime for path in expected if path in listing}
    return Artifact(manifest, hashlib.sha256(content).hexdigest(), problems, suspects, seen)


def summary(problems: list[str]) -> str:
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more


class ArtifactProvider(Provider):
    """A folder that a job of the pipeline app fills: a refresh finds what is wrong with it, an update mends just that.

    Subclasses create and update; what differs otherwise is in these constants and in `folder` and `markers`.
    """

    label: ClassVar[str]
    """How the live lines call it."""
    inputs: ClassVar[tuple[str, ...]]
    identity: ClassVar[tuple[str, ...]]
    """Inputs of which another value is another folder."""
    updated: ClassVar[tuple[str, ...]]

    def folder(self, props: Properties) -> str:
        """Path in the volume."""
        raise NotImplementedError

    def markers(self, props: Properties) -> list[str]:
        """Files beside the manifest's that say that the folder is complete."""
        raise NotImplementedError

    def found(self, artifact: Artifact) -> Properties:
        """More outputs that a refresh takes from what it finds."""
        return {}

    def inspect(self, props: Properties) -> Artifact | None:
        place = (props["environment"], props["volume"], self.folder(props))
        return inspect(*place, self.markers(props), props.get("dates"))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        result = compare(olds, news, replace=self.identity, update=self.updated)
        result.changes = result.changes or bool(olds.get("problems"))
        return result

    def read(self, id_: str, props: Properties) -> ReadResult:
        artifact = self.inspect(props)
        if artifact is None:
            say(self.label, f"{self.folder(props)} on volume {props['volume']} is gone, or its {MANIFEST} is")
            return ReadResult("", {})
        if artifact.problems:
            say(self.label, summary(artifact.problems))
        elif artifact.manifest_sha256 != props.get("manifestSha256", artifact.manifest_sha256):
            say(self.label, f"{self.folder(props)} has another {MANIFEST} than this stack has seen")
        outs = {**props, "problems": artifact.problems, "manifestSha256": artifact.manifest_sha256}
        outs |= self.found(artifact)
        return ReadResult(id_, outs, inputs_of(props, self.inputs))

    def delete(self, _id: str, props: Properties) -> None:
        place = (props["environment"], props["volume"], self.folder(props))
        if props.get("retain"):
            say(self.label, f"{place[2]} is kept on volume {props['volume']}")
        elif ownership.taken_from(props["owner"], *place):
            say(self.label, f"{place[2]} is in use again, kept")
        else:
            modal_api.delete_volume_folder(*place)
