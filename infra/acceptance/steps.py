"""The steps, in their order: what each does, what it costs before it begins, and what must be true after it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from components import estimates, modal_api
from components.dynamic import money
from infra.acceptance.stack import CLIENTS, Stack, changed, must
from infra.settings import API_KEY_VARIABLE, Settings

QUESTION = "What is 2+2?"
NOTHING = "nothing"


@dataclass(frozen=True)
class Step:
    name: str
    does: str
    cost: Callable[[Settings], str]
    run: Callable[[Stack], None]


def _one_start(settings: Settings) -> str:
    return estimates.one_replica(settings.recipe, settings.scaling, settings.capacity)


def _one_replica_running(settings: Settings) -> str:
    return f"nothing more where a replica is up, else one start: {_one_start(settings)}"


def _two_versions(settings: Settings) -> str:
    price = 3600 * max(estimates.replica_seconds(settings.recipe, settings.capacity))
    return f"{_one_start(settings)}; beside the version that serves, so twice {money(price)}/h meanwhile"


def _everything(settings: Settings) -> str:
    parts = [f"the download: {estimates.download(settings.recipe, settings.capacity)}"]
    if settings.recipe.kernels:
        parts.append(f"the kernels: {estimates.compilation(settings.recipe)}")
    return "; ".join([*parts, f"the first replica: {_one_start(settings)}"]) + "; what is on the volumes costs nothing"


def preview(stack: Stack) -> None:
    stack.pulumi("preview")


def up(stack: Stack) -> None:
    stack.up()


def question(stack: Stack) -> None:
    _asked_well(stack, "now")
    status, _ = stack.ask(QUESTION, key="not-the-key")
    must(status == 401, f"a wrong key got {status}, not 401")


def no_op(stack: Stack) -> None:
    must(not changed(stack.up()), "an `up` without a change changed something")


def scaling(stack: Stack) -> None:
    """One more replica may start, none has to: nothing is restarted, nobody is refused."""
    most = stack.settings.scaling.max_containers
    version = stack.outputs()["version"]
    with stack.asked_meanwhile() as seen:
        stack.set("scaling.maxContainers", most + 1)
        text = stack.up()
    must("updated in place" in text, "the autoscaler was not updated in place")
    must(stack.outputs()["version"] == version, "a change of scaling deployed another version")
    must(seen and set(seen) == {"200"}, f"clients saw {dict(Counter(seen))}")
    print(f"  {len(seen)} requests meanwhile, all answered")


def drift(stack: Stack) -> None:
    """Somebody changes the autoscaler by hand."""
    settings = stack.settings
    place = (settings.environment, settings.recipe.app, settings.ingress)
    ours = settings.scaling.scaledown_window
    modal_api.update_autoscaler(*place, {"scaledownWindow": ours + 1})
    stack.pulumi("refresh", "--yes", "--skip-preview")
    text = stack.up()
    must(changed(text), "`refresh` and `up` have not seen that the autoscaler was changed by hand")
    live = modal_api.read_autoscaler(*place, ["scaledownWindow"])["scaledownWindow"]
    must(live == ours, f"the idle time is {live} s after `up`, not {ours}")


def key_rotation(stack: Stack) -> None:
    if stack.sets("apiKey") or os.environ.get(API_KEY_VARIABLE):
        print("  the stack has a key of its own: none is generated, nothing to rotate")
        return
    before = stack.outputs()["apiKey"]
    with stack.asked_meanwhile() as seen:
        stack.set("apiKeyRotation", stack.settings.api_key_rotation + 1)
        stack.up()
    after = stack.outputs()["apiKey"]
    must(after != before, "the key is the same as before")
    _asked_well(stack, "with the new key")
    refused = Counter(seen)
    print(f"  clients with the key before saw, until `up` ended: {dict(refused)}")
    must(refused["401"] == 0, f"{refused['401']} requests with the key before were refused before `up` had ended")


def interrupted_up(stack: Stack) -> None:
    """Ctrl-C while a new version is deployed; then `up` again."""
    _change_that_takes_a_version(stack)
    with stack.running("up", "--yes", "--skip-preview", "--suppress-outputs") as printed:
        _, text = printed("ServingApp app")
    must("Traceback" not in text and "KeyboardInterrupt" not in text, "an interrupted `up` printed a traceback")
    stack.up()
    _asked_well(stack, "after the interruption")
    must(not changed(stack.up()), "the `up` after the interrupted one had left something")


def bad_version(stack: Stack) -> None:
    """A version whose smoke test cannot pass: nobody answers with this."""
    _change_that_takes_a_version(stack)
    stack.use_recipe(smokeTest=[{"prompt": QUESTION, "expect": "an answer that no model gives"}])
    with stack.asked_meanwhile() as seen:
        text = stack.up(fails=True)
    must("was rolled back" in text, "the bad version was not rolled back")
    # The bad version answers wrongly, so the roll-back ends it at once, and with it what it is answering just then.
    cut_off = sum(status != "200" for status in seen)
    must(cut_off <= CLIENTS < len(seen), f"clients saw {dict(Counter(seen))}")
    print(f"  {len(seen)} requests meanwhile, {cut_off} of them cut off by the roll-back")
    _asked_well(stack, "after the roll-back")
    stack.take_up("bad-version")  # as one takes back a commit: the settings from before are deployed anew
    stack.up()
    _asked_well(stack, "with the settings from before")


def destroy(stack: Stack) -> None:
    settings = stack.settings
    stack.pulumi("destroy", "--yes", "--skip-preview", "--exclude-protected")
    must(modal_api.find_app(settings.environment, settings.recipe.app) is None, "the app is still deployed")


def _change_that_takes_a_version(stack: Stack) -> None:
    scaling = stack.settings.scaling
    stack.set("scaling.maxConcurrency", (scaling.max_concurrency or scaling.target_concurrency) + 1)


def _asked_well(stack: Stack, when: str) -> None:
    status, answer = stack.ask(QUESTION)
    must(status == 200 and "4" in answer, f"{when} {QUESTION} was answered with {status}: {answer}")
    print(f"  {QUESTION} {answer}")


STEPS = (
    Step("preview", "what `up` would do", lambda _: NOTHING, preview),
    Step("up", "the whole stack, from nothing or from where it stands", _everything, up),
    Step("question", "one answered chat, one refused for its key", _one_replica_running, question),
    Step("no-op", "an `up` that changes nothing", lambda _: NOTHING, no_op),
    Step("scaling", "another maximum of replicas while clients ask", _one_replica_running, scaling),
    Step("drift", "the autoscaler changed by hand, found and put back", lambda _: NOTHING, drift),
    Step("key-rotation", "another API key while clients ask with the one before", _two_versions, key_rotation),
    Step(
        "interrupted-up", "Ctrl-C during the deploy of another version, and `up` again", _two_versions, interrupted_up
    ),
    Step("bad-version", "a version that fails its smoke test is rolled back", _two_versions, bad_version),
    Step("destroy", "all that is not protected or retained goes", lambda _: NOTHING, destroy),
)
