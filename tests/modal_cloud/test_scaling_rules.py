"""The arithmetic of scaling, and when a crash loop is one."""

from __future__ import annotations

import math

import pytest
from modal_proto import api_pb2

from local.modal_cloud.scheduling.crash_loop import CrashLoop
from local.modal_cloud.scheduling.demand import SustainedDemand, scaling_of


@pytest.mark.parametrize(
    ("demand", "settings", "function", "containers"),
    [
        (0, {}, {}, 0),
        (1, {}, {}, 1),
        (7, {}, {}, 7),
        (7, {"max_containers": 3}, {}, 3),
        (0, {"min_containers": 2}, {}, 2),
        (1, {"min_containers": 2}, {}, 2),
        (0, {"buffer_containers": 2}, {}, 0),
        (1, {"buffer_containers": 2}, {}, 3),
        (1, {"buffer_containers": 2, "max_containers": 2}, {}, 2),
        (20, {}, {"max_concurrent_inputs": 20}, 1),
        (21, {}, {"max_concurrent_inputs": 20}, 2),
        (21, {}, {"max_concurrent_inputs": 40, "target_concurrent_inputs": 10}, 3),
        # Servers scale on the target only; without one, a single container is all that demand asks for.
        (500, {}, {"is_server": True, "max_concurrent_inputs": 20}, 1),
        (500, {"target_concurrency_float": 0.0}, {"is_server": True}, 1),
        (4, {"target_concurrency_float": 1.5}, {"is_server": True}, 3),
        (61, {"target_concurrency_float": 20.0, "max_containers": 3}, {"is_server": True}, 3),
    ],
)
def test_containers_for_a_demand(
    demand: int, settings: dict[str, float], function: dict[str, int], containers: int
) -> None:
    scaling = scaling_of(api_pb2.AutoscalerSettings(**settings), api_pb2.Function(**function))
    assert scaling.containers_for(demand) == containers


def test_scaledown_window() -> None:
    assert scaling_of(api_pb2.AutoscalerSettings(), api_pb2.Function()).scaledown_window == 60
    assert scaling_of(api_pb2.AutoscalerSettings(scaledown_window=900), api_pb2.Function()).scaledown_window == 900


def test_scaleup_window() -> None:
    scaling = scaling_of(api_pb2.AutoscalerSettings(scaleup_window=10, min_containers=1), api_pb2.Function())
    demand = SustainedDemand()
    assert demand.containers_now(3, 0, scaling, 0.0) == (3, math.inf), "nothing is there: at once"
    assert demand.containers_now(3, 1, scaling, 0.0) == (1, 10.0)
    assert demand.containers_now(5, 1, scaling, 4.0) == (1, 6.0)
    assert demand.containers_now(1, 1, scaling, 5.0) == (1, math.inf), "it was over in between"
    assert demand.containers_now(2, 1, scaling, 8.0) == (1, 10.0)
    assert demand.containers_now(2, 1, scaling, 18.0) == (2, math.inf)


def test_crash_loop() -> None:
    loop = CrashLoop()
    reason = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception="no kernels")
    for at in (0.0, 1.0):
        loop.failed(reason, at)
        assert not loop.broken
        assert loop.pause(at) == 0
    loop.failed(reason, 2.0)
    assert loop.broken
    assert loop.pause(2.0) == 1
    assert loop.pause(3.5) == 0
    assert "3 containers in a row" in loop.verdict().exception
    assert "no kernels" in loop.verdict().exception
    for at in range(3, 20):
        loop.failed(reason, float(at))
    assert loop.pause(19.0) == 30
    loop.succeeded()
    assert not loop.broken
    assert loop.pause(19.0) == 0


def test_the_containers_own_exception_is_what_callers_get() -> None:
    loop = CrashLoop()
    own = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception="E()", data=b"pickle")
    for _ in range(3):
        loop.failed(own, 0.0)
    assert loop.verdict() == own
