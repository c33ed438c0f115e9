"""Looks for secrets where they must not be: state, output, logs, the local cloud's own files, process arguments.

    search = SecretSearch({"API key": key, "Hub token": token})
    with search.watching_arguments():
        ...                                        # whatever may start processes
    search.text("the output of `pulumi up`", printed)
    search.state(folder)                           # of a file:// backend
    search.cloud(local_dir)
    assert search.found == []

A secret counts as found in clear, in hexadecimal and in base64 (at each of its three alignments).
"""

from __future__ import annotations

import base64
import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

_CHUNK = 8 << 20
_SECRET_STORES = {"secrets"}
"""Tables of the local cloud that hold secrets because they are Modal's store of them."""
_SECRET_FILES = {"installation.json", "hub/token"}
"""The same as files: the token that clients of the local cloud use, and the one its Hub asks for."""
_SAMPLE_SECONDS = 0.2
_LONGEST = 4096
"""Bytes of a chunk that are searched again with the next, so that no secret is cut in two."""


class SecretSearch:
    def __init__(self, secrets: Mapping[str, str]) -> None:
        """Names and values; a value that is empty or short would be found everywhere. Raises ValueError for one."""
        self._forms: dict[str, list[bytes]] = {}
        for name, value in secrets.items():
            self.add(name, value)
        self.found: list[str] = []
        """`<secret> in <place>`, each once."""
        self.searched = 0
        """Bytes looked through."""
        self.arguments: set[bytes] = set()
        """Command lines seen while watching."""

    def add(self, name: str, value: str) -> None:
        """One more; the command lines seen so far are searched for it, too, in the end. Raises ValueError."""
        if len(value) < 8:
            raise ValueError(f"{name} is too short to be searched for")
        self._forms[name] = _forms(value.encode())

    def text(self, place: str, text: str | bytes) -> None:
        content = text.encode(errors="replace") if isinstance(text, str) else text
        self.searched += len(content)
        for name, forms in self._forms.items():
            line = f"{name} in {place}"
            if line not in self.found and any(form in content for form in forms):
                self.found.append(line)

    def file(self, path: Path) -> None:
        """A file that vanishes while it is looked at counts as searched."""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
            tail = b""
            while chunk := stream.read(_CHUNK):
                self.text(str(path), tail + chunk)
                tail = chunk[-_LONGEST:]

    def folder(self, folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                self.file(path)

    def state(self, folder: Path) -> None:
        """The folder of a file:// backend: checkpoint, backups, history. Raises AssertionError where there is none."""
        assert list(folder.rglob("*.json")), f"no state in {folder}"
        self.folder(folder)

    def cloud(self, folder: Path) -> None:
        """A local cloud's $LOCAL_DIR: its log, volumes, image layers, shipped sources, blobs and every table of its
        database (apps, functions, calls, container logs, …), save the stores of secrets."""
        for path in folder.rglob("*"):
            inside = str(path.relative_to(folder))
            if inside in _SECRET_FILES or inside.startswith("state/") or path.is_symlink() or not path.is_file():
                continue
            self.file(path)
        with contextlib.closing(sqlite3.connect(f"file:{folder / 'state' / 'cloud.sqlite'}?mode=ro", uri=True)) as base:
            tables = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            assert {"secrets", "functions", "logs"} <= set(tables)
            for table in set(tables) - _SECRET_STORES:
                for row in base.execute(f"SELECT * FROM {table}"):
                    for value in row:
                        self.text(f"table {table}", value if isinstance(value, bytes) else str(value))

    @contextlib.contextmanager
    def watching_arguments(self) -> Iterator[None]:
        """Looks at the arguments of every process of the machine, again and again, and once more at the end."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_SAMPLE_SECONDS):
                self._note_arguments()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.look_at_arguments()

    def look_at_arguments(self) -> None:
        """Searches the command lines of this moment, and all that were seen while watching."""
        self._note_arguments()
        for line in list(self.arguments):
            self.text(f"the arguments of a process ({line.split(bytes(1))[0].decode(errors='replace')})", line)

    def _note_arguments(self) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # processes end while we look
                self.arguments.add(path.read_bytes())


def _forms(secret: bytes) -> list[bytes]:
    forms = [secret, secret.hex().encode()]
    for shift in range(3):
        # Base64 of the secret somewhere in a text: the characters that do not depend on its neighbours.
        coded = base64.b64encode(b"\0" * shift + secret)
        forms.append(coded[(0, 2, 3)[shift] : len(coded) - 4])
    return forms
