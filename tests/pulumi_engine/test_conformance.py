"""The story of a stack, told by the bundled engine and by the real CLI: same operations, states and exit codes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.pulumi_engine.lab import BUNDLED, STACK, Lab, Outcome, Plan, real_cli

pytestmark = pytest.mark.timeout(900)  # the whole story is one fixture, and machines can be busy

# A chain, so that the order of what happens is the same in every run.
THINGS: Plan = {
    "a": {"text": "one", "opts": {"in": "group"}},
    "b": {"text": "$a.token", "opts": {"in": "group", "ignore_changes": ["more"]}},
    "c": {"text": "!hush", "more": {"x": "!deep", "y": 1, "z": None}, "opts": {"after": ["b"]}},
    "d": {"kind": "$a.length", "text": "dd", "opts": {"after": ["c"]}},
}


def things(**changed: Any) -> Plan:
    """The plan with some things changed, added, or taken away by None."""
    plan = {**copy.deepcopy(THINGS), **changed}
    return {
        "things": {name: props for name, props in sorted(plan.items()) if props is not None},
        "outputs": {"token": "$a.token", "length": "$a.length"},
    }


def step(*flags: str, verb: str = "up", **changed: Any) -> Callable[[Lab], Outcome]:
    def run(lab: Lab) -> Outcome:
        lab.plan(things(**changed))
        return lab.run(verb, *flags)

    return run


A2 = {**THINGS["a"], "kind": "second"}
A3 = {**THINGS["a"], "kind": "third", "deleteFirst": True}
C2 = {**THINGS["c"], "name": "c", "opts": {"after": ["b"], "formerly": ["c"], "protect": True}}
LATER: Plan = {"a": A3, "c": None, "c2": C2, "d": {**THINGS["d"], "opts": {"after": ["c2"]}}}
FREE: Plan = {**LATER, "c2": {**C2, "opts": {"after": ["b"]}}}
LAST: Plan = {"a": A3, "c": None, "d": {**THINGS["d"], "opts": {"after": ["b"]}}}


def drift(lab: Lab) -> Outcome:
    (lab.folder / "world" / "third-a").write_text('"by hand"')
    (lab.folder / "world" / "3.0-d").unlink()
    return lab.run("refresh")


def killed(lab: Lab) -> Outcome:
    lab.plan(things(**LAST, h={"text": "hang", "opts": {"after": ["d"]}}))
    lab.up_and_kill()
    locked = lab.run("up")
    assert "locked by 1 lock" in locked.text
    assert lab.pulumi("cancel", "--yes", "--stack", STACK).returncode == 0
    return Outcome(locked.code, locked.text, [], lab.state(), lab.world())


def config_error(lab: Lab) -> Outcome:
    lab.plan({**things(**LAST), "required": ["needed"]})
    return lab.run("up")


def secret_config(lab: Lab) -> Outcome:
    set_ = lab.pulumi("config", "set", "--secret", "word", "--stack", STACK, text="sesame")
    assert set_.returncode == 0, set_.stderr
    lab.plan({**things(**LAST), "secret": "word"})
    outcome = lab.run("up")
    assert "sesame" not in lab.state_file.read_text() + (lab.folder / f"Pulumi.{STACK}.yaml").read_text() + outcome.text
    shown = lab.pulumi("stack", "output", "fromConfig", "--stack", STACK).stdout
    told = lab.pulumi("stack", "output", "fromConfig", "--show-secrets", "--stack", STACK).stdout
    assert (shown.strip(), told.strip()) == ("[secret]", "sesame")
    return outcome


# Each step, its exit code and operations.
STORY: dict[str, tuple[Callable[[Lab], Outcome], int, list[str]]] = {
    "create": (step(), 0, ["create things-test-local", "create group", *(f"create {name}" for name in "abcd")]),
    "no-op, for all that what is ignored changes": (step(b={**THINGS["b"], "more": "ignored"}), 0, []),
    "preview": (
        step(verb="preview", a={**THINGS["a"], "text": "two"}),
        0,
        ["update a", "update b", "create-replacement d", "replace d", "delete-replaced d"],
    ),
    "update": (
        step(a={**THINGS["a"], "text": "two"}, c={**THINGS["c"], "text": "!louder"}),
        0,
        ["update a", "update c"],
    ),
    "replace, created first": (
        step(a=A2),
        0,
        ["create-replacement a", "replace a", "update b", "update c", "delete-replaced a"],
    ),
    "replace, deleted first with its dependent": (
        step(a=A3),
        0,
        [
            *("delete-replaced d", "delete-replaced a", "replace a", "create-replacement a"),
            *("update b", "replace d", "create-replacement d"),
        ],
    ),
    "rename by alias, and protect": (step(**LATER), 0, []),
    "delete something protected": (step(**LAST), 1, ["delete c2"]),
    "replace something protected": (step(**{**LATER, "c2": {**C2, "kind": "other"}}), 1, []),
    "drift is refreshed": (drift, 0, ["delete d", "update a"]),
    "and mended; unprotect": (step(**FREE), 0, ["update a", "create d"]),
    "delete": (step(**LAST), 0, ["delete c2"]),
    "a check fails": (step(**LAST, e={"text": "", "opts": {"after": ["d"]}}), 1, []),
    "a create fails": (step(**LAST, e={"text": "fail", "opts": {"after": ["d"]}}), 1, ["create e"]),
    "killed": (killed, 1, []),
    "resumed": (step(**LAST, h={"text": "mended", "opts": {"after": ["d"]}}), 0, ["create h"]),
    "a value is missing from the configuration": (config_error, 1, []),
    "secret in, secret out": (secret_config, 0, ["delete h"]),
    "destroy": (
        lambda lab: lab.run("destroy"),
        0,
        ["delete d", "delete b", "delete a", "delete group", "delete things-test-local"],
    ),
}


AT_ONCE = {"drift is refreshed"}
"""Steps in which both engines ask about all things at the same time, so that the operations come as answers do."""


@pytest.fixture(scope="module")
def told(cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Outcome]]:
    """The outcomes of each step by engine: `bundled`, and `cli` where there is one; both at the same time, the bundled
    one in this process but for what is to be killed."""
    engines: dict[str, Path] = {"bundled": BUNDLED}
    if cli := real_cli():
        engines["cli"] = cli
    labs = {
        engine: Lab(tmp_path_factory.mktemp("story") / "lab", cli, cloud.env, here=cli == BUNDLED)
        for engine, cli in engines.items()
    }

    def tell(lab: Lab) -> dict[str, Outcome]:
        outcomes = {}
        for name, (run, _, _) in STORY.items():
            outcomes[name] = run(lab)
            if name == "secret in, secret out":
                for other in engines.values():
                    if other != lab.cli:
                        outcomes["handed over"] = lab.run("preview", cli=other)
        return outcomes

    with ThreadPoolExecutor() as pool:
        beside = {engine: pool.submit(tell, lab) for engine, lab in labs.items() if engine != "bundled"}
        return {"bundled": tell(labs["bundled"]), **{engine: told.result() for engine, told in beside.items()}}


@pytest.mark.parametrize("name", STORY)
def test_same_operations_and_exit_code(told: dict[str, dict[str, Outcome]], name: str) -> None:
    _, code, operations = STORY[name]
    for engine, outcomes in told.items():
        outcome = outcomes[name]
        done = sorted(outcome.operations) if name in AT_ONCE else outcome.operations
        assert (outcome.code, done) == (code, operations), f"{engine}: {outcome.text}"


@pytest.mark.cli
@pytest.mark.parametrize("name", STORY)
def test_same_state_and_same_world(told: dict[str, dict[str, Outcome]], name: str) -> None:
    bundled, cli = told["bundled"][name], told["cli"][name]
    assert bundled.state == cli.state
    assert bundled.world == cli.world


@pytest.mark.cli
def test_each_engine_plans_no_change_for_the_others_stack(told: dict[str, dict[str, Outcome]]) -> None:
    for engine, outcomes in told.items():
        outcome = outcomes["handed over"]
        assert outcome.code == 0, f"{engine}'s stack: {outcome.text}"
        assert outcome.operations == []
        assert "5 unchanged" in outcome.text


def test_what_the_bundled_engine_does_not_do_is_refused_in_one_line(cloud: Any, tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", BUNDLED, cloud.env, here=True)
    refused = {
        "a uses customTimeouts": {"custom_timeouts": {"create": "5m"}},
        "the program uses RegisterResourceHook": {"hooked": True},
    }
    for what, options in refused.items():
        lab.plan(things(a={**THINGS["a"], "opts": options}))
        outcome = lab.run("preview")
        assert outcome.code == 1
        assert f"error: {what}, which the bundled engine does not do; install the Pulumi CLI for it\n" in outcome.text
        assert "Traceback" not in outcome.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("delete something protected", "cannot be deleted\n    because it is protected"),
        ("replace something protected", "To unprotect the resource"),
        ("a check fails", "property text value {} has a problem: must not be empty"),
        ("a create fails", "error: RuntimeError: e cannot be made"),
        ("a value is missing from the configuration", "Missing required configuration variable 'things:needed'"),
        ("resumed", "h, interrupted while creating"),
        ("update", "    ~ 2 updated\n    4 unchanged"),
        ("update", "Outputs:\n"),
    ],
)
def test_both_say_the_same(told: dict[str, dict[str, Outcome]], name: str, words: str) -> None:
    for engine, outcomes in told.items():
        assert words in outcomes[name].text, f"{engine}: {outcomes[name].text}"
        assert "Traceback" not in outcomes[name].text
