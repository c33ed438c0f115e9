"""A checkpoint that is on the volume already, put there by a script: checked and taken over, not downloaded again.

The usual script downloads into the model's folder itself. Here that folder has one folder for each commit, so files
that are the commit's get a second name there, and the scripts that know the first one find it as it was. On volumes
without hard links they are moved.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from serving.checkpoint import Ledger, RemoteFile, WrongContent, check_file
from serving.log_pump import print_line
from serving.progress import Report, TransferRate, size_text, transfer_line

_READERS = 4
_SECONDS_BETWEEN_LINES = 5.0


def take_over(
    earlier: Path,
    folder: Path,
    files: list[RemoteFile],
    ledger: Ledger,
    *,
    report: Report,
    link: Callable[[Path, Path], None] = os.link,
) -> int:
    """Gives every right file of `earlier` that `folder` lacks its name there; the others stay where they are.

    Returns how many; each is in the ledger. Every candidate is read once: sizes alone prove nothing.
    """
    candidates = [file for file in files if _is_candidate(earlier, folder, file)]
    if not candidates:
        return 0
    total = sum(file.size for file in candidates)
    report(f"weights: checking {len(candidates)} files · {size_text(total)} of an earlier download in {earlier.name}/")
    taken, moved, read, rate, next_line = 0, 0, 0, TransferRate(), time.monotonic() + _SECONDS_BETWEEN_LINES
    with ThreadPoolExecutor(_READERS) as pool:
        checks = {pool.submit(check_file, earlier, file): file for file in candidates}
        for done, check in enumerate(as_completed(checks), 1):
            file = checks[check]
            read += file.size
            try:
                sha256 = check.result()
                moved += _name(earlier / file.path, folder / file.path, link)
                ledger.add(file.path, sha256)
                taken += 1
            except (WrongContent, OSError) as problem:
                print_line(f"[download] {problem}: not taken over, fetched instead")
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
                ledger.save()  # reading 700 GB takes minutes, which the end of this container shall not cost again
                report(transfer_line("weights", done, len(candidates), read, total, rate.add(read)))
    ledger.save()
    how = f"{moved} of them moved" if moved else "they stay there, too"
    report(f"weights: {taken} of {len(candidates)} files taken over from {earlier.name}/, {how}")
    return taken


def _is_candidate(earlier: Path, folder: Path, file: RemoteFile) -> bool:
    place = earlier / file.path
    return not (folder / file.path).exists() and place.is_file() and place.stat().st_size == file.size


def _name(there: Path, here: Path, link: Callable[[Path, Path], None]) -> bool:
    """Whether the file had to be moved to get its name."""
    here.parent.mkdir(parents=True, exist_ok=True)
    try:
        link(there, here)
    except OSError:
        os.replace(there, here)
        return True
    return False
