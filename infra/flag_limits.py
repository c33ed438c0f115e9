"""Flags and numbers that an engine takes from its command line and that no replica could serve with."""

from __future__ import annotations

import re
from collections.abc import Iterator

from recipes.flags.catalogue import Catalogue
from serving.engines import count
from serving.recipe import Recipe

_SECRET = re.compile(
    r"(?:^|-)(?:(?:hf|api|auth|access|bearer)-token|(?:api|secret|private|access)-key|password|secret)$"
)


def unservable(recipe: Recipe, release: Catalogue) -> Iterator[tuple[str, str]]:
    """Flags to leave out and why, under whichever of its names an option is given. `false` leaves a switch out."""
    module = recipe.engine_module
    causes = {**dict.fromkeys(module.SET_BY_THE_STACK, "set by the stack itself"), **module.UNSERVABLE}
    for flag, value in recipe.engine.flags.items():
        option = release.find(flag)
        names = [flag.partition(".")[0], *(name.lstrip("-") for name in (option.names if option else ()))]
        if release.meant(flag, value) is False:
            continue
        cause = next((causes[name] for name in names if name in causes), None)
        if option is None and (begun := next((name for name in causes if name.startswith(names[0])), None)):
            cause = f"begins {begun}, of which: {causes[begun]}"
        if cause is None and any(_SECRET.search(name) for name in names):
            cause = "a secret would be in the command line, in the log and in the state"
        if cause:
            yield flag, f"{cause}; leave it out"


def out_of_bounds(recipe: Recipe) -> Iterator[str]:
    """Numbers of the right type with which the engine ends or works on nothing, one sentence each."""
    module = recipe.engine_module
    for flag, value in recipe.engine.flags.items():
        try:
            if flag in module.MINUS_ONE and str(value).strip() == "-1":
                continue
            if flag in module.LEAST_ONE and count(value, module.SUFFIXES) < 1:
                yield f"{flag}: is {value}, and the least is 1"
            elif flag in module.FRACTIONS and not 0 < float(str(value)) < 1:
                yield f"{flag}: is {value}, and a fraction lies above 0 and below 1"
        except ValueError:
            continue  # no number, which is reported by the release's own types
