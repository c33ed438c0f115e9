"""What a job left on a volume, checked from outside: its manifest against the volume's listing.

No container is started for that. A file that was written after its manifest is suspect even when its size is right:
the job then hashes it again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from components import modal_api

MANIFEST = ".manifest.json"
CLOCK_SLACK_SECONDS = 2
"""Listings carry whole seconds."""


@dataclass(frozen=True)
class Artifact:
    manifest: dict
    manifest_sha256: str
    problems: list[str]
    """One phrase per file that is missing, differs in size or was changed later; empty when complete."""


def inspect(environment: str, volume: str, folder: str, markers: list[str]) -> Artifact | None:
    """The artifact in `folder`, or None where no manifest was written: nothing there was ever finished."""
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
    for path, size in expected.items():
        found = listing.get(path)
        if found is None:
            if path not in markers:
                problems.append(f"{path} is missing")
        elif found.size not in (size, None):
            problems.append(f"{path} has {found.size:,} bytes instead of {size:,}")
        elif found.mtime > written + CLOCK_SLACK_SECONDS:
            problems.append(f"{path} was written again after its check")
    return Artifact(manifest, hashlib.sha256(content).hexdigest(), problems)


def summary(problems: list[str]) -> str:
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more
