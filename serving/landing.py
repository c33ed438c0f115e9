"""Files of a checkpoint as they land on the volume: checked, counted for the progress line, committed now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from serving.checkpoint import Ledger, RemoteFile, WrongContent, check_file
from serving.log_pump import print_line
from serving.progress import Report, TransferRate, transfer_line
from serving.recipe import Recipe

HUB_CACHE = ".cache/huggingface"
"""Where the Hub client keeps what is on its way, below the folder it downloads into."""

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_LOOKS = 0.5


class Landing:
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

    def __enter__(self) -> Landing:
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
        for path in (self._folder / HUB_CACHE).rglob("*.incomplete"):
            try:
                partial += path.stat().st_size
            except FileNotFoundError:
                continue  # became whole this very moment
        return len(whole), min(self._total, sum(file.size for file in whole) + partial)
