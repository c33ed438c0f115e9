"""Brings a checkpoint onto the weights volume: whole, checked against the Hub's hashes, resumable at any point."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from serving.checkpoint import LEDGER, Hub, Ledger, RemoteFile
from serving.earlier_download import take_over
from serving.errors import ServingError
from serving.hub_errors import Temporary, translate
from serving.landing import HUB_CACHE, Landing
from serving.log_pump import print_line
from serving.manifest import (
    MANIFEST,
    SENTINEL,
    ManifestFile,
    WeightsManifest,
    damaged_since,
    read_manifest,
    write_atomically,
    write_manifest,
    written_again,
)
from serving.progress import Report, size_text
from serving.recipe import Recipe


def download_weights(
    recipe: Recipe,
    revision: str,
    *,
    token: str | None,
    commit_volume: Callable[[], None],
    report: Report = print_line,
    sleep: Callable[[float], None] = time.sleep,
    suspects: Collection[str] | None = (),
) -> dict[str, Any]:
    """Downloads what is missing of `recipe.model.repo` at `revision` (branch, tag or commit).

    Sizes and dates tell what was complete before; of `suspects` (paths; None: of every file) the content does.
    Returns `{"commit", "folder", "files", "bytes", "fetched_bytes", "seconds", "manifest_sha256", "skipped"}`.
    Raises ServingError for everything that a user can mend. Whatever was complete is committed even then.
    """
    return _Download(recipe, revision, token, commit_volume, report, sleep, suspects).run()


class _Download:
    def __init__(
        self,
        recipe: Recipe,
        revision: str,
        token: str | None,
        commit_volume: Callable[[], None],
        report: Report,
        sleep: Callable[[float], None],
        suspects: Collection[str] | None,
    ) -> None:
        self._recipe = recipe
        self._revision = revision
        self._hub = Hub(recipe, token)
        self._has_token = bool(token)
        self._commit_volume = commit_volume
        self._report = report
        self._sleep = sleep
        self._suspects = suspects
        self._fetched: dict[str, int] = {}
        """Bytes by path of the files that this run fetched."""

    def run(self) -> dict[str, Any]:
        began = time.monotonic()
        commit = (
            self._revision if _is_commit(self._revision) else self._tries(lambda: self._hub.commit_of(self._revision))
        )
        folder = Path(self._recipe.model_path(commit))
        manifest = self._complete(folder)
        skipped = manifest is not None
        if manifest is None:
            folder.mkdir(parents=True, exist_ok=True)
            files = self._tries(lambda: self._hub.files(commit))
            manifest = self._bring(commit, folder, files)
        if self._recipe.download.layout == "hub" and not _is_commit(self._revision):
            self._name_commit(commit)
        seconds = time.monotonic() - began
        fetched = sum(self._fetched.values())
        what = "already complete" if skipped else f"{size_text(fetched)} fetched in {seconds:.0f} s"
        self._report(f"weights: {len(manifest.files)} files · {size_text(manifest.bytes)} · {what}")
        return {
            "commit": commit,
            "folder": self._recipe.weights_folder(commit),
            "files": len(manifest.files),
            "bytes": manifest.bytes,
            "fetched_bytes": fetched,
            "seconds": round(seconds, 3),
            "manifest_sha256": hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
            "skipped": skipped,
        }

    def _complete(self, folder: Path) -> WeightsManifest | None:
        """The manifest, where it and the files on the volume agree; else the marks of completeness are taken away."""
        manifest = read_manifest(WeightsManifest, folder)
        if manifest:
            everything = [file.path for file in manifest.files]
            wrong = damaged_since(manifest, folder, everything if self._suspects is None else self._suspects)
            if not wrong:
                if written_again(manifest, folder):
                    # Rewritten with the same content: a manifest newer than all of it ends the suspicion.
                    write_manifest(manifest, folder)
                    self._commit_volume()
                return manifest
            print_line(
                f"[download] {len(wrong)} of {len(manifest.files)} files changed or gone: {', '.join(wrong[:5])}"
            )
            # The others are as they were when the manifest was written: no need to hash them again.
            ledger = Ledger(folder)
            for file in manifest.files:
                if file.path not in wrong and file.sha256:
                    ledger.add(file.path, file.sha256)
            ledger.save()
        for mark in (SENTINEL, MANIFEST):
            (folder / mark).unlink(missing_ok=True)
        return None

    def _bring(self, commit: str, folder: Path, files: list[RemoteFile]) -> WeightsManifest:
        sentinel = next((file for file in files if file.path == SENTINEL), None)
        if sentinel is None:
            raise ServingError(
                f"weights: {self._recipe.model.repo}@{commit[:12]} has no {SENTINEL}: not a sharded safetensors "
                f"checkpoint. Next: correct model.repo or model.revision in the recipe {self._recipe.name}"
            )
        ledger = Ledger(folder)
        try:
            everything_else = [file for file in files if file is not sentinel]
            earlier = Path(self._recipe.volumes.weights.mount_path) / self._recipe.commits_folder
            if take_over(earlier, folder, everything_else, ledger, report=self._report):
                self._commit_volume()
            self._tries(lambda: self._attempt(commit, folder, everything_else, ledger), lambda: len(self._fetched))
            ledger.save()
            self._commit_volume()
            self._tries(lambda: self._attempt(commit, folder, [sentinel], ledger))
            manifest = WeightsManifest(
                repo=self._recipe.model.repo,
                revision=self._revision,
                commit=commit,
                created=time.time(),
                files=[
                    ManifestFile(path=file.path, size=file.size, sha256=ledger.sha256(file))
                    for file in sorted(files, key=lambda file: file.path)
                ],
                bytes=sum(file.size for file in files),
            )
            write_manifest(manifest, folder)
            # Only of use to an unfinished download.
            (folder / LEDGER).unlink(missing_ok=True)
            shutil.rmtree(folder / ".cache", ignore_errors=True)
        finally:
            # Also on the way out of a failure or a cancellation: finished files shall not be fetched twice.
            self._commit_volume()
        return manifest

    def _name_commit(self, commit: str) -> None:
        """Writes what the branch or tag stands for where the Hub client looks it up, as its own downloads do."""
        mount = Path(self._recipe.volumes.weights.mount_path)
        name = mount / self._recipe.hub_folder / "refs" / self._revision
        if not name.is_file() or name.read_text(encoding="utf-8") != commit:
            name.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(name, commit)
            self._commit_volume()

    def _attempt(self, commit: str, folder: Path, files: list[RemoteFile], ledger: Ledger) -> None:
        """Checks what is there, fetches the rest, checks it as it lands. Raises Temporary for a wrong file."""
        for leftover in (folder / HUB_CACHE).rglob("*.incomplete"):
            leftover.unlink(missing_ok=True)  # the Hub client starts such a file anew under another name
        with Landing(self._recipe, folder, files, ledger, self._commit_volume, self._report) as landing:
            landing.start_watching()
            landing.check_present()
            missing = [file for file in files if not ledger.sha256(file)]
            if missing:
                try:
                    self._hub.fetch(commit, [file.path for file in missing], folder)
                finally:
                    landing.check_present()
                    self._fetched |= {file.path: file.size for file in missing if ledger.sha256(file)}
        wrong = [landing.wrong.get(file.path, f"{file.path}: missing") for file in files if not ledger.sha256(file)]
        if wrong:
            raise Temporary(f"{wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""))

    def _tries(self, step: Callable[[], Any], progress: Callable[[], int] = lambda: 0) -> Any:
        """Runs `step`, again after each of the recipe's delays while it fails for reasons that pass.

        A try that brought new files does not count: only a Hub that gives nothing any more ends the job.
        """
        delays = list(self._recipe.download.retry_delays)
        failures, before = 0, progress()
        while True:
            try:
                return step()
            except Exception as error:
                reason = translate(error, self._recipe, self._revision, has_token=self._has_token)
                if not isinstance(reason, Temporary):
                    raise reason from (None if reason is not error else error.__cause__)
            failures, before = (failures if progress() == before else 0), progress()
            if failures >= len(delays):
                raise ServingError(
                    f"weights: gave up after {failures + 1} tries: {reason}. Next: check https://status.huggingface.co "
                    "and the network, then pulumi up (complete files are kept)"
                )
            wait = max(delays[failures], reason.wait or 0.0)
            failures += 1
            self._report(f"weights: {reason}; try {failures + 1} of {len(delays) + 1} in {wait:g} s")
            self._sleep(wait)


def _is_commit(revision: str) -> bool:
    return len(revision) == 40 and all(character in "0123456789abcdef" for character in revision)
