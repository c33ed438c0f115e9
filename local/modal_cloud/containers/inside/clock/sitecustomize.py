"""Python in a container sees the cloud's time, also while a test moves it on.

Loaded by the interpreter itself, from PYTHONPATH. `time.time`, `time.time_ns`, `datetime.now`, `utcnow` and
`date.today` go by the file that the cloud writes; steady clocks, time-outs and programs that are no Python don't.
"""

import ctypes
import datetime
import gc
import time

AHEAD = "/run/modal/ahead"
_time, _time_ns = time.time, time.time_ns


def _ahead() -> float:
    try:
        with open(AHEAD, encoding="ascii") as file:
            return float(file.read() or 0)
    except OSError:
        return 0.0


def _datetime_now(cls, tz=None):
    return cls.fromtimestamp(time.time(), tz)


def _datetime_utcnow(cls):
    return cls.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


def _date_today(cls):
    return cls.fromtimestamp(time.time())


def _replace(kind: type, **methods) -> None:
    # The methods of a type written in C can't be assigned to: only its own dictionary can be written.
    own = gc.get_referents(kind.__dict__)[0]
    own.update({name: classmethod(method) for name, method in methods.items()})
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


time.time = lambda: _time() + _ahead()
time.time_ns = lambda: _time_ns() + int(_ahead() * 1e9)
_replace(datetime.datetime, now=_datetime_now, utcnow=_datetime_utcnow)
_replace(datetime.date, today=_date_today)
