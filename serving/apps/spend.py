"""The spend app: asks Modal every hour what the stack's apps have cost this month (serving.spend)."""

from __future__ import annotations

from datetime import UTC, datetime

import modal

from serving.apps.clockwork import timed, told_in_one_line
from serving.apps.owner import app_tags
from serving.clockwork import SpendParams
from serving.params import read_params

params = read_params(SpendParams)
app = modal.App(params.app, tags=app_tags(params.stack, params.owner), include_source=False)


# Modal meters within minutes, and what is asked for are full hours.
@timed(app, params, "10 * * * *", "UTC")
def check_spend(request=None):
    """See serving.spend.check; `request` is not looked at."""
    from serving.spend import check

    with told_in_one_line():
        return check(params, datetime.now(UTC))
