"""README, docs/ and the changelog: every command in them exists, every link and every file that they name is there.

What the commands do is shown by the tests of what they belong to; here it is that nobody types one that is gone.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.log_rules import SHARED
from serving.log_rules_sglang import SGLANG
from serving.log_rules_vllm import VLLM

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "examples/README.md")),
    ]
)
PULUMI = {"login", "whoami", "preview", "up", "refresh", "destroy", "cancel", "config set", "config rm", "config get"}
PULUMI |= {f"stack {verb}" for verb in ("select", "output", "ls", "export", "rm", "init")}
_FENCE = re.compile(r"```sh\n(.*?)```", re.S)
_INLINE = re.compile(r"`((?:make|pulumi|modal|python -m) [^`]+)`")
_TOP = "benchmarks|bootstrap|components|docs|examples|infra|local|monitoring|recipes|serving|tests"
_PLACE = re.compile(rf"`((?:(?:{_TOP})/)[\w./-]+)(?:::(\w+))?`")
_SHELL = re.compile(r"&&|\|\||[|;]|\$\(|\)|\beval\b")


def commands(path: Path) -> Iterator[str]:
    """Each simple command of the document, without what the shell puts around it."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in _FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *(" ".join(code.split()) for code in _INLINE.findall(text))]:
        for part in _SHELL.split(re.sub(r"(^|\s)#.*", "", line)):
            words = part.strip().strip('"').strip()
            if re.match(r"(make|pulumi|modal|python|\S*/python) ", words):
                yield words


ALL = [(path, command) for path in DOCUMENTS for command in commands(path)]


def words_of(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote that a pipe has cut in two
        return command.replace("'", " ").replace('"', " ").split()


def of(program: str) -> list[tuple[str, list[str]]]:
    return [(path.name, words_of(command)[1:]) for path, command in ALL if command.startswith(f"{program} ")]


def test_there_are_commands_to_look_at() -> None:
    assert {path.name for path, _ in ALL} >= {
        "README.md",
        "first-deploy.md",
        "incidents.md",
        "upgrades.md",
        "security.md",
    }
    assert len(ALL) > 150


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.M))
    wrong = [
        (where, word)
        for where, words in of("make")
        for word in words[:1] + words[1:2] * words[0].startswith("-")
        if not word.startswith("-") and "=" not in word and word not in targets
    ]
    assert not wrong


def test_stacks_that_are_named_exist() -> None:
    named = {word.removeprefix("STACK=") for _, words in of("make") for word in words if word.startswith("STACK=")}
    assert {f"Pulumi.{stack}.yaml" for stack in named - {"…"}} <= {
        path.name for path in REPOSITORY.glob("Pulumi.*.yaml")
    }


def test_modules_and_their_options_exist() -> None:
    wrong = []
    for where, words in of("python"):
        if words[0] != "-m":
            wrong += [(where, words[0])] if not (REPOSITORY / words[0]).exists() else []
            continue
        found = importlib.util.find_spec(words[1])
        if found is None:
            wrong.append((where, words[1]))
        elif words[1].split(".")[0] in _TOP.split("|"):
            origin = Path(str(found.origin))
            files = origin.parent.rglob("*.py") if origin.name == "__init__.py" else [origin]
            source = "".join(file.read_text(encoding="utf-8") for file in files)
            wrong += [(where, words[1], word) for word in words[2:] if word.startswith("--") and word not in source]
    assert not wrong


def test_pulumi_commands_and_config_keys_exist() -> None:
    # Each row is a setting (tests/infra/test_settings.py).
    rows = re.findall(r"^\| (`.+?) \|", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.M)
    known = {key.split(".")[0] for row in rows for key in re.findall(r"`([\w.]+)`", row)}
    wrong = []
    for where, words in of("pulumi"):
        plain = [word for word in words if not word.startswith("-")]
        verb = " ".join(plain[:2]) if plain[0] in ("stack", "config") and len(plain) > 1 else plain[0]
        if verb not in PULUMI:
            wrong.append((where, " ".join(words)))
        elif verb in ("config set", "config rm") and len(plain) > 2:
            key = re.split(r"[.\[]", plain[2].removeprefix("glm-serving:"))[0]
            wrong += [(where, plain[2])] if key not in known and key != "…" else []
    assert not wrong


def test_modals_commands_and_options_exist() -> None:
    import click
    from modal.cli.entry_point import entrypoint_cli

    wrong = []
    for where, words in of("modal"):
        command: click.Command = entrypoint_cli
        rest = list(words)
        while isinstance(command, click.Group) and rest and rest[0] in command.commands:
            command = command.commands[rest.pop(0)]
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        unknown = [word.split("=")[0] for word in rest if word.startswith("--") and word.split("=")[0] not in options]
        # What a group lists is what `command` has come to; a word left over is none of it.
        if unknown or (isinstance(command, click.Group) and rest not in ([], ["…"])):
            wrong.append((where, " ".join(words)))
    assert not wrong


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_files_that_are_named_exist(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [link for link in links if link and not (path.parent / link).exists()]
    for place, test in _PLACE.findall(text):
        file = REPOSITORY / place
        if not file.exists() or (test and not re.search(rf"^(?:async )?def {test}\(", file.read_text(), re.M)):
            missing.append(f"{place}::{test}" if test else place)
    assert not missing


def test_every_document_is_found_from_the_readme() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCUMENTS if path.parent.name == "docs" and f"docs/{path.name}" not in readme] == []


def test_the_incident_guides_failures_are_the_rules() -> None:
    document = (REPOSITORY / "docs" / "incidents.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (both|SGLang|vLLM) \| (\w+) \| (.+) \| (.+) \|$", document, re.M)
    rules = [
        (rule.name, engine, rule.severity, rule.meaning, rule.action)
        for engine, group in (("both", SHARED), ("SGLang", SGLANG), ("vLLM", VLLM))
        for rule in group
        if rule.severity in ("fatal", "error")
    ]
    assert rows == rules
