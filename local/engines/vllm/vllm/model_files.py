"""Where a model's files are: a folder, or the Hub client's cache under HF_HOME."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from vllm import log

_COMMIT = re.compile(r"[0-9a-f]{40}")


class LocalEntryNotFoundError(FileNotFoundError):
    """As the Hub's client raises it; the traceback names it with its module."""

    __module__ = "huggingface_hub.errors"


def find_model(args: argparse.Namespace) -> Path:
    """A folder with a config.json. Raises LocalEntryNotFoundError or ValueError.

    The stand-in never downloads: without HF_HUB_OFFLINE the real engine would, and here says what is missing.
    """
    if os.path.exists(args.model):
        folder = Path(args.model)
    else:
        folder = _snapshot(args.model, args.revision, args.download_dir)
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            log.info(
                "arg_utils.py:757", f"HF_HUB_OFFLINE is True, replace model_id [{args.model}] to model_path [{folder}]"
            )
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"Invalid repository ID or local directory specified: '{args.model}'.\nPlease verify the following "
            "requirements:\n1. Provide a valid Hugging Face repository ID.\n2. Specify a local directory that contains "
            "a recognized configuration file.\n   - For Hugging Face models: ensure the presence of a 'config.json'.\n"
            "   - For Mistral models: ensure the presence of a 'params.json'.\n"
        )
    return folder


def cache_folder(download_dir: str | None = None) -> Path:
    """The Hub client's cache: --download-dir, HF_HUB_CACHE, or `hub` under HF_HOME."""
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    return Path(download_dir or os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _snapshot(repo: str, revision: str | None, download_dir: str | None) -> Path:
    """The snapshot's folder, whose files are real ones or links to blobs."""
    folder = cache_folder(download_dir) / f"models--{repo.replace('/', '--')}"
    revision = revision or "main"
    commit = revision
    if not _COMMIT.fullmatch(revision):
        reference = folder / "refs" / revision
        commit = reference.read_text(encoding="ascii").strip() if reference.is_file() else revision
    snapshot = folder / "snapshots" / commit
    if snapshot.is_dir():
        return snapshot
    raise LocalEntryNotFoundError(
        "Cannot find an appropriate cached snapshot folder for the specified revision on the local disk and outgoing "
        "traffic has been disabled. To enable repo look-ups and downloads online, pass 'local_files_only=False' as "
        f"input. (looked for {snapshot})"
    )
