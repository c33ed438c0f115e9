"""Digests of the code that each Modal app ships: another digest is another version of the app."""

from __future__ import annotations

import hashlib
from pathlib import Path

import serving

# A change to how weights are fetched must not bring up eight GPUs for a new serving version, nor the reverse.
PIPELINE_ONLY = frozenset({"apps/pipeline.py", "download.py", "compile.py", "verify.py", "manifest.py"})
SERVER_ONLY = frozenset({"apps/server.py", "supervisor.py", "warmup.py", "health.py", "monitor.py", "log_triage.py"})


def source_digest(leave_out: frozenset[str]) -> str:
    """SHA-256 over path and content of serving/'s Python files but those left out (paths relative to serving/)."""
    assert serving.__file__ is not None
    root = Path(serving.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name not in leave_out:
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
