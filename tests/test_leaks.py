"""A search that finds nothing has to be able to find: every form and every place once."""

from __future__ import annotations

import base64
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.leaks import SecretSearch

SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWx"


@pytest.fixture
def search() -> SecretSearch:
    return SecretSearch({"token": SECRET, "another": "not-to-be-found-anywhere"})


@pytest.mark.parametrize("around", ["", "a", "ab", "abc"])
def test_every_form(search: SecretSearch, around: str) -> None:
    text = f"{around}{SECRET}{around}"
    for number, form in enumerate((text, text.encode().hex(), base64.b64encode(text.encode()).decode())):
        search.text(f"form {number}", f"before {form} after")
    assert search.found == ["token in form 0", "token in form 1", "token in form 2"]


def test_nothing(search: SecretSearch) -> None:
    search.text("x", SECRET[:-1] + "X")
    assert search.found == []
    with pytest.raises(ValueError, match="too short"):
        SecretSearch({"key": ""})


def test_state_and_the_cloud_but_not_its_secret_stores(search: SecretSearch, tmp_path: Path) -> None:
    state, cloud = tmp_path / "state", tmp_path / "cloud"
    for path in (state / "stack.json", cloud / "daemon.log", cloud / "hub" / "token", cloud / "state" / "lock"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"x {SECRET}")
    with sqlite3.connect(cloud / "state" / "cloud.sqlite") as base:
        for table in ("secrets", "functions", "logs"):
            base.execute(f"CREATE TABLE {table} (body BLOB)")
            base.execute(f"INSERT INTO {table} VALUES (?)", (SECRET.encode() if table != "logs" else b"-",))
    search.state(state)
    search.cloud(cloud)
    assert sorted(search.found) == sorted(
        [f"token in {state / 'stack.json'}", f"token in {cloud / 'daemon.log'}", "token in table functions"]
    )


def test_arguments_of_a_process_that_lives_for_a_moment(search: SecretSearch) -> None:
    with search.watching_arguments():
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.5)", SECRET], check=True)
    assert [line.startswith("token in the arguments of a process") for line in search.found] == [True]
