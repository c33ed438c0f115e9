"""What every dynamic provider of this package shares.

A provider class must stay importable and hold no instance state: Pulumi then keeps a reference to it in the state
(64 characters that no edit changes) instead of its pickled code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pulumi.dynamic import ConfigureRequest, DiffResult, ResourceProvider
from pulumi.output import Unknown

from components import interruption
from components.garbage import collect_rarely

Properties = dict[str, Any]
R = TypeVar("R")


class DeploymentError(Exception):
    """One line for the person at the terminal: what failed, why, and the next command to type."""

    __module__ = "builtins"  # shown by Pulumi as `DeploymentError: …`, without the package path in front


class Provider(ResourceProvider):
    """Base of all providers: clean one-line errors, nothing secret inside the serialized provider."""

    serialize_as_secret_always = False

    def configure(self, req: ConfigureRequest) -> None:
        # Pulumi shows a provider's exception with its whole traceback; without frames one line is left. This must
        # not happen at import: the Pulumi program imports this module too, and its preview would hang for ever.
        sys.tracebacklimit = 0
        collect_rarely()
        interruption.listen()


def known(value: Any) -> bool:
    """False for what a preview cannot know yet."""
    return not isinstance(value, Unknown)


def changed(olds: Properties, news: Properties, names: Iterable[str]) -> list[str]:
    """The properties among `names` that differ, in their order; a value unknown in preview counts as changed."""
    return [name for name in names if olds.get(name) != news.get(name)]


def compare(olds: Properties, news: Properties, *, replace: Iterable[str], update: Iterable[str] = ()) -> DiffResult:
    """The diff of a resource that is replaced when any of `replace` differs and updated when any of `update` does."""
    replaces = changed(olds, news, replace)
    return DiffResult(changes=bool(replaces or changed(olds, news, update)), replaces=replaces, stables=[])


def inputs_of(properties: Properties, names: Iterable[str]) -> Properties:
    return {name: properties[name] for name in names if name in properties}


def say(resource: str, text: str) -> None:
    """Prints one live line on the resource's row of the running `pulumi up`."""
    print(f"{resource}: {text}", flush=True)


def money(dollars: float) -> str:
    if dollars < 0.01:
        return "$0.01"
    return f"${dollars:.2f}" if dollars < 100 else f"${dollars:,.0f}"


Report = Callable[[str], None]
