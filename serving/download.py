"""Brings a checkpoint onto the weights volume: whole, checked against the Hub's hashes, resumable at any point."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serving.checkpoint import LEDGER, Hub, Ledger, RemoteFile, WrongContent, check_file
from serving.errors import ServingError
from serving.hub_errors import Temporary, translate
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
from serving.progress import Report, TransferRate, size_text, transfer_line
from serving.recipe import Recipe

_HUB_CACHE = ".cache/huggingface"
_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_LOOKS = 0.5


def download_weights(
    recipe: Recipe,
    revision: str,
    *,
    token: str | None,
    commit_volume: Callable[[], None],
    report: Report = print_line,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Downloads what is missing of `recipe.model.repo` at `revision` (branch, tag or commit).

    Returns `{"commit", "folder", "files", "bytes", "fetched_bytes", "seconds", "manifest_sha256", "skipped"}`.
    Raises ServingError for everything that a user can mend. Whatever was complete is committed even then.
    """
    return _Download(recipe, revision, token, commit_volume, report, sleep).run()


class _Download:
    def __init__(
        self,
        recipe: Recipe,
        revision: str,
        token: str | None,
        commit_volume: Callable[[], None],
        report: Report,
        sleep: Callable[[float], None],
    ) -> None:
        self._recipe = recipe
        self._revision = revision
        self._hub = Hub(recipe, token)
        self._has_token = bool(token)
        self._commit_volume = commit_volume
        self._report = report
        self._sleep = sleep
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
        if manifest and (folder / SENTINEL).is_file():
            wrong = damaged_since(manifest, folder)
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
        for leftover in (folder / _HUB_CACHE).rglob("*.incomplete"):
            leftover.unlink(missing_ok=True)  # the Hub client starts such a file anew under another name
        with _Landing(self._recipe, folder, files, ledger, self._commit_volume, self._report) as landing:
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


class _Landing:
    """Checks files as they appear under their final names, reports progress, commits now and then.

    Hashing runs beside the download, over files still in the page cache. `wrong` says what was found instead of a
    right file; such a file is deleted, so that the next try fetches it.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        files: list[RemoteFile],
        ledger: Ledger,
        commit_volume: Callable[[], None],
        report: Report,
    ) -> None:
        self._folder = folder
        self._files = files
        self._ledger = ledger
        self._commit_volume = commit_volume
        self._report = report
        self._total = sum(file.size for file in files)
        self._commit_interval = min(30.0, recipe.download.timeout / 240)
        self._pool = ThreadPoolExecutor(max(1, min(recipe.download.workers, round(recipe.download.cpu) or 1)))
        self._pending: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self.wrong: dict[str, str] = {}

    def __enter__(self) -> _Landing:
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread:
            self._thread.join()
        self._pool.shutdown()

    def check_present(self) -> None:
        """Checks every file that is there and was not checked yet; returns when all are."""
        self._submit()
        with self._lock:
            pending = list(self._pending.values())
        for future in pending:
            future.result()

    def start_watching(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="download-progress", daemon=True)
        self._thread.start()

    def _submit(self) -> None:
        with self._lock:
            for file in self._files:
                if file.path in self._pending or self._ledger.sha256(file) or not (self._folder / file.path).is_file():
                    continue
                self._pending[file.path] = self._pool.submit(self._check, file)

    def _check(self, file: RemoteFile) -> None:
        try:
            sha256 = check_file(self._folder, file)
        except WrongContent as problem:
            print_line(f"[download] {problem}: deleted")
            self.wrong[file.path] = str(problem)
            (self._folder / file.path).unlink(missing_ok=True)
            self._ledger.forget(file.path)
        except FileNotFoundError:
            self.wrong[file.path] = f"{file.path}: vanished while it was checked"
        else:
            self._ledger.add(file.path, sha256)
        with self._lock:
            self._pending.pop(file.path, None)

    def _watch(self) -> None:
        rate = TransferRate()
        next_line = 0.0
        next_commit, committed = time.monotonic() + self._commit_interval, 0
        while True:
            over = self._done.wait(_SECONDS_BETWEEN_LOOKS)
            if over:
                return
            self._submit()
            now = time.monotonic()
            if now >= next_line:
                next_line = now + _SECONDS_BETWEEN_LINES
                done, done_bytes = self._landed()
                speed = rate.add(done_bytes)
                self._report(transfer_line("weights", done, len(self._files), done_bytes, self._total, speed))
            if now >= next_commit and (checked := self._count_checked()) > committed:
                try:
                    self._ledger.save()
                    self._commit_volume()
                except Exception as error:  # the next one, or the last, makes up for it
                    print_line(f"[download] could not commit the volume now: {error}")
                committed, next_commit = checked, time.monotonic() + self._commit_interval

    def _count_checked(self) -> int:
        return sum(1 for file in self._files if self._ledger.sha256(file))

    def _landed(self) -> tuple[int, int]:
        """Files under their final names, and bytes on disk including those still on their way."""
        whole = [file for file in self._files if (self._folder / file.path).is_file()]
        partial = 0
        for path in (self._folder / _HUB_CACHE).rglob("*.incomplete"):
            try:
                partial += path.stat().st_size
            except FileNotFoundError:
                continue  # became whole this very moment
        return len(whole), min(self._total, sum(file.size for file in whole) + partial)


def _is_commit(revision: str) -> bool:
    return len(revision) == 40 and all(character in "0123456789abcdef" for character in revision)
