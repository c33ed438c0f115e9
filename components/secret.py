"""ModalSecret: a secret of environment variables, created or taken over by name.

Without `values` it only takes over: an existing secret with the right keys is left as it is, and so is one that this
stack wrote when it had a value. One that was there before this stack, or that other stacks may share, outlives it.
With `grace` the value before a rotation stays valid for a while (serving/engines/previous_key.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from components import modal_api, ownership
from components.dynamic import DeploymentError, Properties, Provider, changed, compare, inputs_of, say

INPUTS = ("environment", "name", "keys", "values", "setWith", "stack", "shared", "ambient", "grace")


class SecretProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        known = _with_known_values(olds, news)
        result = compare(olds, known, replace=("environment", "name", "keys"), update=("values", "stack"))
        if changed(olds, known, ["values"]) and news.get("grace") is not None:
            say(f"secret {news['name']}", _mixed_window(int(news["grace"])))
        result.changes = result.changes or _ends_grace(olds, news) or bool(olds.get("problems"))
        return result

    def create(self, props: Properties) -> CreateResult:
        # Another secret of the stack's stays until replicas that read this one have taken over.
        outs = self._write(props, _no_value_before(props))
        return CreateResult(f"{props['environment']}/{props['name']}", outs)

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        news = _with_known_values(olds, news)
        return UpdateResult(self._write(news, _value_before(olds, news), olds))

    def read(self, id_: str, props: Properties) -> ReadResult:
        found = modal_api.secret_keys(props["environment"], props["name"])
        if found is None:
            say(f"secret {props['name']}", "is gone")
            return ReadResult("", {})
        problems = _problems(props, found)
        if problems:
            say(f"secret {props['name']}", "; ".join(problems))
        return ReadResult(id_, {**props, "problems": problems}, inputs_of(props, INPUTS))

    def delete(self, _id: str, props: Properties) -> None:
        environment, name = props["environment"], props["name"]
        found = modal_api.secret_keys(environment, name) or set()
        if props["shared"]:
            say(f"secret {name}", f"kept for other stacks; `modal secret delete {name} --env {environment}` removes it")
        elif ownership.secret_mark(props["stack"]) not in found:
            say(f"secret {name}", "was not made by this stack, left as it is")
        elif ownership.last_made(found) != ownership.last_made(props.get("seen") or []):
            say(f"secret {name}", "is in use again, kept")
        else:
            modal_api.delete_secret(environment, name)

    def _write(self, props: Properties, before: dict[str, str], olds: Properties | None = None) -> Properties:
        """`before`: what the secret says of the value before this one. Returns the outputs."""
        environment, name, keys = props["environment"], props["name"], props["keys"]

        def has(*wanted: str) -> bool:
            return modal_api.secret_has_keys(environment, name, list(wanted))

        mark = ownership.secret_mark(props["stack"])
        ours = has(mark)
        if olds and not ours:
            # Written anew by hand it has lost every mark: then it still is this stack's, unlike one with another's.
            ours = has(ownership.secret_mark(olds["stack"])) or (_is_ours(olds) and not has(ownership.OWNED))
        if props.get("values") and (ours or not has()):
            values = {**props["values"], ownership.OWNED: "1", mark: props["stack"]}
            values[ownership.last_made((olds or {}).get("seen") or []) or ownership.made_mark()] = "1"
            if (not olds or olds.get("problems")) and not props["shared"]:
                modal_api.rewrite_secret(environment, name, {**_no_value_before(props), **values, **before})
            else:
                modal_api.write_secret(environment, name, {**values, **before})  # Modal keeps the other keys
        elif has(ownership.OWNED, *keys) and props["shared"]:
            say(f"secret {name}", "is another stack's, used as it is")
        elif props.get("values") and has(ownership.OWNED):
            raise DeploymentError(
                f"secret {name} belongs to another stack, which would lose its {', '.join(keys)}; give this stack's "
                f"recipe a secret name of its own, or, if that stack is gone, `modal secret delete {name} --env "
                f"{environment}`, then `pulumi up` again"
            )
        elif props["ambient"] and has(*keys):
            say(f"secret {name}", f"exists already, used as it is; `{props['setWith']}` would change it")
        elif props.get("values"):
            say(f"secret {name}", f"exists already, taken over: its {', '.join(keys)} is this stack's from now on")
            modal_api.write_secret(environment, name, {**props["values"], **before})
        elif has(*keys):
            say(f"secret {name}", "exists already, taken over as it is")
        else:
            raise DeploymentError(
                f"secret {name}: Modal has none with the key {', '.join(keys)} and the stack has no value for it; "
                f"`{props['setWith']}`, then `pulumi up` again"
            )
        # Containers read a secret when they start: a new generation tells the app to bring up new ones.
        seen = sorted(modal_api.secret_keys(environment, name) or [])
        return {**inputs_of(props, INPUTS), "generation": f"{time.time():.0f}", "seen": seen, "problems": []}


def _is_ours(outs: Properties) -> bool:
    """Whether this stack has made the secret, and so knows each of its keys. In doubt, as of older states, no."""
    return ownership.secret_mark(outs["stack"]) in (outs.get("seen") or [])


def _problems(outs: Properties, found: set[str]) -> list[str]:
    """In words, how the secret's keys differ from those it had when this stack last wrote it or took it over."""
    problems = [f"has no {key} any more" for key in outs["keys"] if key not in found]
    if not _is_ours(outs):
        return problems  # its other keys are somebody else's
    if ownership.secret_mark(outs["stack"]) not in found:
        problems.append(f"was written anew by hand: what its {', '.join(outs['keys'])} is now is not known")
    more = sorted(found - set(outs["seen"]))
    if more and not outs["shared"]:
        problems.append(f"has {', '.join(more)}, which this stack has not written")
    return problems


def _no_value_before(props: Properties) -> dict[str, str]:
    from serving.engines import previous_key

    return {} if props.get("grace") is None else previous_key.NOBODY


def _value_before(olds: Properties, news: Properties) -> dict[str, str]:
    """Nothing where what the secret says of it already stays true."""
    if news.get("grace") is None or not (changed(olds, news, ["values"]) or _ends_grace(olds, news)):
        return {}
    from serving.engines import previous_key

    (value,) = (olds.get("values") or {"": ""}).values()
    return previous_key.for_secret(value, news["grace"]) if value and news["grace"] else previous_key.NOBODY


def _ends_grace(olds: Properties, news: Properties) -> bool:
    """A value before this one must not be accepted any longer."""
    return bool(olds.get("grace")) and news.get("grace") == 0


def _mixed_window(seconds: int) -> str:
    if not seconds:
        return (
            "another value: each replica takes the old one or the new one until the last old replica is gone, and "
            "clients with the other get 401 (apiKeyGrace is 0)"
        )
    return (
        f"another value: the one before is accepted for {seconds / 3600:.3g} h more, so no client gets 401 that "
        "changes over between the end of `pulumi up` and then"
    )


def _with_known_values(olds: Properties, news: Properties) -> Properties:
    """A value may come from the environment of whoever types `pulumi up` (HF_TOKEN). That the next one has none is no
    reason to write the secret again and to redeploy what reads it."""
    return news if news.get("values") else {**news, "values": olds.get("values")}


class ModalSecret(Resource, module="modal", name="Secret"):
    """Outputs: `name`, `generation` (changes whenever values were written), `seen` (names of its keys after that),
    `problems` (what the last refresh found to be different).
    """

    name: pulumi.Output[str]
    generation: pulumi.Output[str]
    seen: pulumi.Output[list[str]]
    problems: pulumi.Output[list[str]]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        name: str,
        keys: list[str],
        values: Mapping[str, pulumi.Input[str]] | None,
        set_with: str,
        stack: str,
        shared: bool = False,
        ambient: bool = False,
        grace: int | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`set_with` is the command that gives the stack the missing value, for the error that asks for it. A `shared`
        secret may be another stack's, and is never deleted; `stack` is this one. With `ambient` the values just
        happen to be there, and overwrite none that somebody set. `grace`: seconds for which the value before stays
        valid, for a secret of one key that serving/engines/gate.py checks.
        """
        props = {
            "environment": environment,
            "name": name,
            "keys": keys,
            "values": None if values is None else pulumi.Output.secret(values),
            "setWith": set_with,
            "stack": stack,
            "shared": shared,
            "ambient": ambient,
            "grace": grace,
            "generation": None,
            "seen": None,
            "problems": None,
        }
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=["values"]))
        super().__init__(SecretProvider(), resource_name, props, opts)
