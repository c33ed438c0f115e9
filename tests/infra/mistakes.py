"""Mistakes that people make in stack files and recipes: each makes one, seeded, and knows what must be said of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.settings import RECIPES, SettingsError, load_settings

CONTROL = ["\x1b[31mred", "two\nlines", "bell\x07", "\u202eright to left", "nul\x00"]
SECRET = "hf_S3cretS3cretS3cret"

NUMBERS: dict[str, tuple[float, float | None]] = {
    "scaling.minContainers": (0, 100),
    "scaling.maxContainers": (1, 100),
    "scaling.bufferContainers": (0, 100),
    "scaling.scaledownWindow": (2, 3600),
    "scaling.targetConcurrency": (1, 1000),
    "scaling.maxConcurrency": (1, 1000),
    "apiKeyRotation": (0, None),
    "weightsRehash": (0, None),
    "apiKeyGrace": (0, 30 * 86400),
    "budget.maxMonthlyUsd": (0.01, None),
    "budget.scaleToZeroAtUsd": (0.01, None),
}
SWITCHES = ["allowColdStart503", "proxyAuth", "gpuSnapshot", "retainWeights", "protectWeights"]
SWITCHES += ["capacity.nonpreemptibleDownload"]
CHOICES = {"ingress": "server", "deploymentStrategy": "rolling", "smokeTest": "onDeploy"}
OBJECTS = ["scaling", "schedule", "keepWarm", "budget", "capacity", "engineArgs"]
ZONES = ["Mars/Olympus", "Europe", "../etc/passwd", "berlin", "UTC+25", "/etc/localtime", " "]
CRONS = ["every day", "61 * * * *", "* * * *", "0 8 * * FUNDAY", "0 8 31 2 *", "0 8 * * MON-", "*/0 * * * *", "@daily"]
CRONS += ["0 8 * * * *", "9-5 * * * *", "-1 * * * *", ""]


@dataclass
class Expected:
    """What one problem must say."""

    key: str
    """What it begins with, less `engineArgs.` or the file's name."""
    mend: str
    """The command, or what is to be edited."""
    words: tuple[str, ...] = ()


@dataclass
class Stack:
    """A stack file and its recipe, right until a mistake is made in them."""

    values: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    """Changes to the recipe's file by path; the file is only written where there are some."""
    text: bytes | None = None
    """The recipe's file as it is."""
    clear: set[str] = field(default_factory=set)
    """Secrets in clear text."""

    def set(self, key: str, value: Any) -> None:
        *above, last = key.split(".")
        place = self.values
        for name in above:
            place = place.setdefault(name, {})
        place[last] = value

    def problems(self, folder: Path) -> list[str]:
        """Of the config as Pulumi hands it over: objects as JSON, everything else as text."""
        values = {"recipe": "tiny-glm-local", **self.values}
        if self.recipe or self.text is not None:
            file = folder / "mine.yaml"
            file.write_bytes(self.text if self.text is not None else yaml.safe_dump(self._document()).encode())
            values["recipe"] = str(file)
        texts = {f"glm-serving:{k}": v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
        secret = [key for key in texts if key.partition(":")[2] not in self.clear]
        with pytest.raises(SettingsError) as caught:
            load_settings(texts, {}, stack="test", secret_keys=secret)
        return caught.value.problems

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = yaml.safe_load((RECIPES / "tiny-glm-local.yaml").read_text())
        for key, value in self.recipe.items():
            *above, last = key.split(".")
            place = document
            for name in above:
                place = place[name]
            if value is ...:
                del place[last]
            else:
                place[last] = value
        return document


Mistake = Callable[[random.Random, Stack], Expected]


def set_command(key: str) -> str:
    return f"`pulumi config set {'--path ' if '.' in key else ''}{key}"


def number_of_a_wrong_type(rng: random.Random, stack: Stack) -> Expected:
    key = rng.choice(list(NUMBERS))
    value = rng.choice(["many", "", "1e", [1], {"a": 1}, 1.5 if "Usd" not in key else "1,5", True, "0x10", "٣x", "NaN"])
    stack.set(key, value)
    return Expected(key, set_command(key), ("found ",))


def number_out_of_range(rng: random.Random, stack: Stack) -> Expected:
    key = rng.choice(list(NUMBERS))
    lowest, highest = NUMBERS[key]
    value = rng.choice([lowest - 1, -(10**30), *([highest + 1, 10**30] if highest is not None else [lowest - 2])])
    stack.set(key, int(value))
    return Expected(key, set_command(key), (f"found {int(value)}" if "." in key else f"found '{int(value)}'",))


def switch_of_a_wrong_type(rng: random.Random, stack: Stack) -> Expected:
    key = rng.choice(SWITCHES)
    value = rng.choice(["perhaps", "yes", "on", "TRUE!", "", 2, 1, [True], {"a": True}])
    stack.set(key, value)
    return Expected(key, set_command(key), ("found ", "true or false"))


def choice_that_is_none(rng: random.Random, stack: Stack) -> Expected:
    key = rng.choice(list(CHOICES))
    value = rng.choice(["", CHOICES[key].upper(), CHOICES[key] + " ", "no", *CONTROL, ["web"], {"a": "web"}])
    stack.set(key, value)
    return Expected(key, set_command(key), ("found ", CHOICES[key]))


def object_that_is_none(rng: random.Random, stack: Stack) -> Expected:
    key = rng.choice(OBJECTS)
    stack.set(key, rng.choice(["5", "on", "", [], [1], "{", '{"a":', "[" * 5000]))
    return Expected(key, f"`pulumi config set {key}", ("found ",))


def minimum_above_maximum(rng: random.Random, stack: Stack) -> Expected:
    lower, upper, key = rng.choice(
        [
            ("scaling.minContainers", "scaling.maxContainers", "scaling.maxContainers"),
            ("scaling.targetConcurrency", "scaling.maxConcurrency", "scaling.maxConcurrency"),
            ("budget.maxMonthlyUsd", "budget.scaleToZeroAtUsd", "budget.scaleToZeroAtUsd"),
        ]
    )
    highest = rng.randint(1, 50)
    stack.set(lower, highest + rng.randint(1, 50))
    stack.set(upper, highest)
    return Expected(key, set_command(key), (f"found {highest}", lower))


def unknown_key(rng: random.Random, stack: Stack) -> Expected:
    key = rng.choice(["scaling.replicas", "scaling.max_containers", "budget.usd", "keepWarm.url", "capacity.gpu"])
    key = rng.choice(
        [key, *(mistyped(rng, name) for name in ("environment", "retainWeights", "apiKeyGrace", "region"))]
    )
    stack.set(key, rng.choice([1, "x", True, None, [], {"deep": {"deeper": 1}}]))
    if key.startswith("budget"):
        stack.set("budget.maxMonthlyUsd", 5)
    return Expected(key, f"`pulumi config rm {'--path ' if '.' in key else ''}{key}`", ("no such key",))


def mistyped(rng: random.Random, word: str) -> str:
    place = rng.randrange(1, len(word))
    return rng.choice([word[:place] + word[place + 1 :], word[:place] + "x" + word[place:], word.upper(), word + "s"])


def environment_that_is_no_name(rng: random.Random, stack: Stack) -> Expected:
    value = rng.choice(["", "two words", "-x", "ü", "a/b", "x" * 65, "x" * 10**6, "$(reboot)", *CONTROL])
    stack.set("environment", value)
    return Expected("environment", set_command("environment"), ("found ",))


def cron_that_is_none(rng: random.Random, stack: Stack) -> Expected:
    cron = rng.choice([*CRONS, *CONTROL, "0 " * 10**5])
    if rng.random() < 0.5:
        stack.set("keepWarm", {"cron": cron})
        return Expected("keepWarm.cron", set_command("keepWarm.cron"), ("found ",))
    stack.set("schedule", {"changes": [{"cron": "0 8 * * *", "minContainers": 1}, {"cron": cron, "minContainers": 0}]})
    return Expected("schedule.changes[1].cron", "`pulumi config set --path 'schedule.changes[1].cron'", ("found ",))


def zone_that_is_none(rng: random.Random, stack: Stack) -> Expected:
    key = rng.choice(["schedule", "keepWarm"])
    stack.set(key, {"timezone": rng.choice([*ZONES, *CONTROL])})
    if key == "schedule":
        stack.set("schedule.changes", [{"cron": "0 8 * * *", "minContainers": 1}])
    return Expected(f"{key}.timezone", set_command(f"{key}.timezone"), ("found ", "IANA"))


def schedule_that_is_none(rng: random.Random, stack: Stack) -> Expected:
    change = {"cron": "0 8 * * *", "minContainers": 1}
    key, value = rng.choice(
        [
            ("schedule.changes", {"changes": []}),
            ("schedule.changes", {}),
            ("schedule.until", {"changes": [change], "until": "tomorrow"}),
            ("schedule.until", {"changes": [change], "until": "2027-02-30"}),
            ("schedule.changes[0].minContainers", {"changes": [{**change, "minContainers": 101}]}),
            ("schedule.changes[0].minContainers", {"changes": [{"cron": "0 8 * * *"}]}),
            ("schedule.changes[0].replicas", {"changes": [{**change, "replicas": 1}]}),
        ]
    )
    stack.set("schedule", value)
    return Expected(key, "`pulumi config ")


def engine_flag_that_is_none(rng: random.Random, stack: Stack) -> Expected:
    flag = mistyped(rng, rng.choice(["kv-cache-dtype", "attention-backend", "watchdog-timeout", "tool-call-parser"]))
    stack.set("engineArgs", {flag: rng.choice([1, "x", True])})
    return Expected(f"engineArgs.{flag}", "`pulumi config ")


def engine_flag_of_a_wrong_value(rng: random.Random, stack: Stack) -> Expected:
    values: dict[str, list[Any]] = {
        "mem-fraction-static": ["much", 1.5, -0.1, True],
        "max-running-requests": ["x", 0, -5, 1.5],
        "kv-cache-dtype": ["float3", "", 7],
        "attention-backend": ["magic"],
    }
    flag = rng.choice(list(values))
    stack.set(f"engineArgs.{flag}", rng.choice(values[flag]))
    return Expected(flag, "`pulumi config ")


def engine_flag_that_the_stack_sets(rng: random.Random, stack: Stack) -> Expected:
    flag = rng.choice(["port", "api-key", "model-path", "served-model-name", "host", "config"])
    stack.set(f"engineArgs.{flag}", SECRET)
    return Expected(
        f"engine.flags: {flag}", f"`pulumi config rm --path engineArgs.{flag}`", ("set by the stack itself",)
    )


def secret_in_clear_text(rng: random.Random, stack: Stack) -> Expected:
    key = rng.choice(["hfToken", "apiKey"])
    stack.set(key, SECRET)
    stack.clear.add(key)
    return Expected(key, f"`pulumi config set --secret {key}", ("clear text",))


def secret_that_is_none(rng: random.Random, stack: Stack) -> Expected:
    stack.set("apiKey", rng.choice([SECRET[:9], f"-{SECRET}", f"{SECRET} {SECRET}", f"{SECRET}\n{SECRET}"]))
    return Expected("apiKey", "`pulumi config set --secret apiKey", ("its value is not shown",))


def recipe_that_is_not_there(rng: random.Random, stack: Stack) -> Expected:
    name = rng.choice(["", "glm-9", "recipes", "/", "no.yaml", "../x.yaml", "x" * 5000, "nul\x00.yaml", *CONTROL])
    stack.set("recipe", name)
    return Expected("recipe", "`pulumi config set recipe", ("found ", "tiny-glm-local"))


def recipe_section_that_is_wrong(rng: random.Random, stack: Stack) -> Expected:
    key, value = rng.choice(
        [
            *((name, ...) for name in ("app", "model", "engine", "gpu", "volumes", "secrets", "prices", "model.repo")),
            *((name, "text") for name in ("model", "engine", "gpu", "kernels", "deadlines", "warmup", "gpu.count")),
            *(("gpu.count", value) for value in (0, 9, -1, True, 1.5, 10**30)),
            *(("gpu.architecture", value) for value in ("blackwell", "", 100)),
            *(("model.repo", value) for value in ("", "no-owner", "a/b/c", "../..", 5, *CONTROL)),
            *(("model.sizeGb", value) for value in (0, -1, "big", [], float("nan"))),
            *(("engine.version", value) for value in (0.5, None, [])),
            *(("engine.name", value) for value in ("tensorrt", "", None)),
            *(("prices.gpuSecond", value) for value in (0, -1, "free")),
            *(("deadlines.health", value) for value in (10**6, "soon")),
            *((name, 1) for name in ("modle", "engine.flag", "gpu.kind")),
        ]
    )
    stack.recipe[key] = value
    return Expected(key if key != "deadlines.health" or value == "soon" else "deadlines", "edit the file")


def recipe_file_that_is_broken(rng: random.Random, stack: Stack) -> Expected:
    whole = (RECIPES / "tiny-glm-local.yaml").read_bytes()
    bomb = b"a: &a [x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (n + 1, n + 1, b",".join([b"*%c" % n] * 9)) for n in range(97, 120)
    )
    stack.text = rng.choice(
        [
            *(
                b"",
                b"[]",
                b"text",
                b"- a\n- b",
                b"null",
                b"app: [",
                b"\tapp: x",
                b"app: x\napp\n",
                b"\xff\xfe\x00",
                b"\x00",
            ),
            *(b"app: @x", b"%x", b"app: !!python/object/apply:os.system [reboot]", b"a: " + b"[" * 20000, bomb),
            *(whole[: len(whole) // rng.randint(2, 9)], whole.replace(b": ", b":", 3), whole.replace(b"  ", b"\t", 9)),
            *(whole.replace(b"count: 8", b"count: yes"), whole.replace(b"servedName: tiny-glm", b"servedName: no")),
            *(whole.replace(b'"2026-11-21"', b"2026-11-21"), whole.replace(b"tiny-glm-ap", b"tiny-glm\x1b-ap")),
        ]
    )
    return Expected("", "edit the file")


SINGLE: list[Mistake] = [
    *(number_of_a_wrong_type, number_out_of_range, switch_of_a_wrong_type, choice_that_is_none, object_that_is_none),
    *(minimum_above_maximum, unknown_key, environment_that_is_no_name, cron_that_is_none, zone_that_is_none),
    *(schedule_that_is_none, engine_flag_that_is_none, engine_flag_of_a_wrong_value),
    *(engine_flag_that_the_stack_sets, secret_in_clear_text, secret_that_is_none, recipe_that_is_not_there),
    *(recipe_section_that_is_wrong, recipe_file_that_is_broken),
]
COMBINED = [mistake for mistake in SINGLE if not mistake.__name__.startswith("recipe")]
