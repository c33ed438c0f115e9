"""Faults on demand: what the public SDK sees of each."""

from __future__ import annotations

import errno
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import modal
import pytest
from modal.exception import AuthError, NotFoundError, RemoteError, ResourceExhaustedError, ServiceError

from local.control_api import Refused
from local.faults import SPEND_LIMIT, Faults
from tests.local_cloud import LocalCloud

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def app(cloud: LocalCloud) -> str:
    cloud.modal("deploy", "-m", "tests.modal_cloud.apps.faulty_app")
    return "faulty"


@pytest.fixture
def faults(cloud: LocalCloud) -> Iterator[Faults]:
    ordering = Faults.of(cloud.dir)
    yield ordering
    ordering.clear()


@pytest.fixture
def name() -> str:
    return f"f-{uuid4().hex[:8]}"


def function(name: str) -> modal.Function:
    return modal.Function.from_name("faulty", name)


def hits(faults: Faults) -> list[int]:
    return [fault["hits"] for fault in faults.listed()]


def test_an_rpc_fails_as_often_as_ordered(faults: Faults, name: str) -> None:
    faults.rpc("SecretGetOrCreate", status="UNAVAILABLE", times=3)
    modal.Secret.objects.create(name, {"A": "1"})  # the SDK tries four times
    faults.rpc("SecretGetOrCreate", status="UNAVAILABLE", message="try later", times=4)
    with pytest.raises(ServiceError, match="try later"):
        modal.Secret.objects.create(f"{name}-2", {"A": "1"})
    assert hits(faults) == [3, 4]
    modal.Secret.objects.create(f"{name}-2", {"A": "1"})


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        ("RESOURCE_EXHAUSTED", ResourceExhaustedError),
        ("UNAUTHENTICATED", AuthError),
        ("DEADLINE_EXCEEDED", ServiceError),
        ("NOT_FOUND", NotFoundError),
    ],
)
def test_each_status_is_the_sdks_exception(faults: Faults, status: str, raised: type[Exception]) -> None:
    faults.rpc("Secret*", status=status, message="in these words", times=None)
    with pytest.raises(raised, match="in these words"):
        modal.Secret.objects.list()


def test_a_rate_limit_is_waited_out_by_the_sdk(faults: Faults) -> None:
    faults.rpc("SecretList", status="RESOURCE_EXHAUSTED", retry_after=0.7)
    began = time.monotonic()
    modal.Secret.objects.list()
    assert 0.7 <= time.monotonic() - began < 5


def test_a_late_answer_and_the_first_ones_let_through(faults: Faults) -> None:
    faults.rpc("SecretList", delay=0.5, skip=1)
    took = []
    for _ in range(2):
        began = time.monotonic()
        modal.Secret.objects.list()
        took.append(time.monotonic() - began)
    assert took[0] < 0.5 <= took[1]


@pytest.mark.parametrize("moment", ["request", "answer"])
def test_a_dropped_connection_is_made_again(faults: Faults, name: str, moment: str) -> None:
    faults.rpc("DictUpdate", drop=moment, contains="claim")
    record = modal.Dict.from_name(name, create_if_missing=True)
    record["other"] = 1  # its request does not have the text
    assert hits(faults) == [0]
    record["claim"] = 1
    assert hits(faults) == [1]
    assert record["claim"] == 1


def test_only_containers_or_only_clients(faults: Faults, app: str, name: str) -> None:
    faults.rpc("DictUpdate", status="PERMISSION_DENIED", message="not from there", caller="container", times=None)
    modal.Dict.from_name(name, create_if_missing=True)["a"] = 1
    with pytest.raises(modal.exception.PermissionDeniedError, match="not from there"):
        function("write").remote(name, 1)


def test_the_spend_limit_in_modals_words(faults: Faults, app: str, name: str) -> None:
    faults.quota()
    with pytest.raises(ResourceExhaustedError, match=SPEND_LIMIT):
        function("write").spawn(name, 1)


def test_a_killed_container_is_replaced(faults: Faults, app: str, name: str) -> None:
    for phases in (("input", "start"), ("output",), ("commit",)):
        for phase in phases:
            faults.kill("faulty/write", at=phase)
        call = function("write").spawn(f"{name}-{phase}", 65536)
        assert call.get(timeout=30) == "written", phases
        assert set(hits(faults)) == {1}, phases
        faults.clear()
    assert begun(f"{name}-output") == 2  # by two containers


def test_containers_killed_at_work_are_no_crash_loop(faults: Faults, app: str) -> None:
    """All three that there are, with nothing finished in between: their inputs run again."""
    faults.kill("faulty/side_by_side", at="output", times=3)
    calls = [function("side_by_side").spawn() for _ in range(3)]
    assert [call.get(timeout=60) for call in calls] == ["there"] * 3
    assert hits(faults) == [3]


def test_an_input_whose_delivery_was_lost_is_delivered_again(faults: Faults, app: str, name: str) -> None:
    faults.rpc("FunctionGetInputs", drop="answer", caller="container")
    assert function("write").remote(name, 65536) == "written"
    assert hits(faults) == [1]
    assert begun(name) == 1


def test_a_failure_told_twice_does_not_end_the_next_attempt(faults: Faults, app: str, name: str) -> None:
    faults.rpc("FunctionPutOutputs", drop="answer", delay=1.8)  # the next attempt has begun by then
    assert function("second_attempt").remote(name).startswith("ta-")
    assert hits(faults) == [1]


def test_a_share_of_what_a_fault_matches(faults: Faults, cloud: LocalCloud) -> None:
    for seed in (1, 1, 2):
        faults.rpc("SecretList", delay=0.001, times=None, share=0.3, seed=seed)
    for _ in range(60):
        modal.Secret.objects.list()
    first, again, other = hits(faults)
    assert first == again
    assert {first, other} <= set(range(8, 30))


def test_a_lost_heartbeat_moves_the_input(faults: Faults, app: str, name: str) -> None:
    eventually(lambda: not running("write"))  # the next heartbeat of one that runs may take a while
    faults.rpc("VolumeCommit", delay=5.0)  # longer than the heartbeat's grace
    faults.lose_heartbeat("faulty/write", seconds=1.0)
    assert function("write").remote(name, 65536) == "written"
    assert hits(faults) == [1, 1]
    assert begun(name) == 2


def test_a_full_volume_is_enospc_inside_and_refused_outside(faults: Faults, app: str, name: str) -> None:
    faults.volume("faulty-files", free=1_000_000)
    eventually(lambda: not running("write"))  # one that runs keeps the space it had
    assert function("write").remote(f"{name}-small", 500_000) == "written"
    assert function("write").remote(f"{name}-more", 700_000) == f"OSError {errno.ENOSPC}"
    volume = modal.Volume.from_name("faulty-files")
    assert f"{name}-small" in [entry.path for entry in volume.listdir("/")]
    with pytest.raises(ResourceExhaustedError, match="No space left on volume 'faulty-files'"):  # noqa: SIM117
        with volume.batch_upload() as upload:
            upload.put_file(io.BytesIO(b"x" * 2_000_000), "/large")


def test_a_slow_volume(faults: Faults, app: str) -> None:
    faults.volume("faulty-files", delay=0.6)
    began = time.monotonic()
    modal.Volume.from_name("faulty-files").listdir("/")
    assert time.monotonic() - began >= 0.6


def test_a_failing_image_build_is_told_and_tried_again(faults: Faults, cloud: LocalCloud, name: str) -> None:
    faults.break_image(name, message="mirror not reachable")
    app = modal.App(name)
    app.function(image=modal.Image.debian_slim().run_commands(f"echo {name}"), serialized=True)(lambda: 1)
    with pytest.raises(RemoteError, match="mirror not reachable"):
        app.deploy()
    app.deploy()


def test_without_gpus_containers_wait_and_say_so(faults: Faults, app: str, cloud: LocalCloud) -> None:
    faults.gpus("B200", total=7)
    assert function("compute").remote() == "H200:8"  # the next of its list
    faults.gpus("H200", total=0)
    eventually(lambda: not running("compute"))
    call = function("compute").spawn()
    with pytest.raises(TimeoutError):
        call.get(timeout=1)
    assert function("compute").get_current_stats().backlog == 1
    assert function("compute").get_current_stats().num_total_runners == 0
    said = cloud.modal("app", "logs", "faulty", "--search", "waiting").stdout
    assert "is waiting to be scheduled on a GPU_B200 worker" in said
    call.cancel()
    eventually(lambda: "faulty" not in cloud.modal("container", "list", "--json").stdout)
    call = function("compute").spawn()
    faults.clear()
    assert call.get(timeout=30) == "B200:8"


def test_the_command_orders_lists_and_clears(faults: Faults, cloud: LocalCloud) -> None:
    def fault(*arguments: str, check: bool = True) -> Any:
        return cloud.run([sys.executable, "-m", "local", "fault", *arguments], check=check)

    first = json.loads(fault("rpc", "Nothing*", "--status", "INTERNAL", "--times", "always", "--skip", "2").stdout)
    fault("hub", "429", "--match", "GET /nothing", "--retry-after", "3")
    listed = [json.loads(line) for line in fault("list").stdout.splitlines()]
    assert [(found["kind"], found["times"]) for found in listed] == [("rpc", None), ("429", 1)]
    fault("clear", str(first["id"]))
    assert [found["id"] for found in faults.listed()] == [listed[1]["id"]]
    fault("clear")
    assert faults.listed() == []
    wrong = fault("rpc", "x", "--status", "SO_SO", check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("local: status must be one of OK, CANCELLED")


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"kind": "flood"}, "kind must be one of rpc, kill"),
        ({"kind": "rpc"}, "give a status, drop or delay"),
        ({"kind": "rpc", "status": "INTERNAL", "delay": "1"}, "delay: '1' is not a number"),
        ({"kind": "rpc", "status": "INTERNAL", "wait": 1}, "unknown field wait; known: times, skip, share, seed, rpc"),
        ({"kind": "kill", "at": "dawn"}, "at: 'dawn' is not one of 'start'"),
        ({"kind": "gpus"}, "gpu must name a type"),
        ({"kind": "volume", "volume": "x"}, "give delay .slow. or free"),
        ({"kind": "kill", "times": 0}, "times must be at least 1"),
        ({"kind": "kill", "share": 0.0}, "share must be above 0"),
    ],
)
def test_a_wrong_fault_is_refused(faults: Faults, document: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        faults.order(**document)


def begun(name: str) -> int:
    """How many containers began to write a file whose name starts like this."""
    entries = modal.Dict.from_name("faulty-journal").items()
    return sum(str(key).startswith(name) for key, _ in entries)


def running(name: str) -> int:
    return function(name).get_current_stats().num_total_runners


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
