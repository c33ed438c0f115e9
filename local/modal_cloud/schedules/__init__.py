"""Functions with `schedule=modal.Cron(…)` or `modal.Period(…)`, and the clock that tests can move on."""
