"""Who starts a job: claims in the stack's Dict, of which one wins however many ask in the same instant.

Each run of a job is a generation with an entry of its own, `claim/<job>/<number>`, which is only ever put where there
is none. Whoever puts it may spawn; the next generation may be put when that run is over, or when its owner has not
named its call within the lease. `claim/<job>` says where to start looking. Nothing is taken away: what is no longer
looked at expires on Modal after seven days.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

LEASE_SECONDS = 30


@dataclass(frozen=True)
class Claim:
    job: str
    generation: int
    owner: str
    call: str | None
    """Id of the call; None until its owner, or the call itself, has written it."""
    at: float
    """Seconds since the epoch, by the owner's clock."""

    @property
    def key(self) -> str:
        return f"claim/{self.job}/{self.generation}"

    @property
    def expired(self) -> bool:
        """Nobody named a call in time: its owner has died, or must not spawn any more."""
        return self.call is None and time.time() - self.at > LEASE_SECONDS


class Claims:
    """The claims of one job."""

    def __init__(self, entries: Any, job: str) -> None:
        """`entries` is the stack's `modal.Dict`."""
        self._entries, self._job, self._owner = entries, job, uuid.uuid4().hex

    def latest(self) -> Claim | None:
        found = None
        generation = self._entries.get(f"claim/{self._job}") or 1
        while entry := self._entries.get(f"claim/{self._job}/{generation}"):
            found = Claim(self._job, generation, **entry)
            generation += 1
        return found

    def take(self, after: Claim | None) -> Claim | None:
        """The next generation, where it is ours; None where somebody else was faster."""
        claim = Claim(self._job, after.generation + 1 if after else 1, self._owner, None, time.time())
        # Not the answer of this call: it says no where an earlier answer to it was lost on the way.
        self._entries.put(claim.key, _entry(claim), skip_if_exists=True)
        if (self._entries.get(claim.key) or {}).get("owner") != self._owner:
            return None
        self._entries.put(f"claim/{self._job}", claim.generation)
        return claim

    def give_up(self, claim: Claim) -> None:
        """Nothing was started for our claim: the next one need not wait for its lease to run out."""
        self._entries.put(claim.key, {**_entry(claim), "at": 0.0})

    def name_call(self, claim: Claim, call_id: str) -> bool:
        """Says which call runs for our claim; False where the claim was taken over before it was said."""
        self._entries.put(claim.key, {**_entry(claim), "call": call_id})
        return self._entries.get(f"claim/{self._job}/{claim.generation + 1}") is None


def _entry(claim: Claim) -> dict[str, Any]:
    return {"owner": claim.owner, "call": claim.call, "at": claim.at}
