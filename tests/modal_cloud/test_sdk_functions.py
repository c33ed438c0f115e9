"""Functions and classes as the SDK offers them, in real containers: one deployed app for all of it."""

from __future__ import annotations

import asyncio
import time
from queue import Empty, Full
from typing import Any
from uuid import uuid4

import modal
import pytest

from tests.local_cloud import LocalCloud
from tests.modal_cloud.web_apps import eventually

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module", autouse=True)
def deployed(cloud: LocalCloud) -> None:
    from tests.modal_cloud.apps import features_app

    features_app.app.deploy()


def function(name: str) -> modal.Function:
    return modal.Function.from_name("features", name)


def greeter(**parameters: Any) -> Any:
    return modal.Cls.from_name("features", "Greeter")(**parameters)


def taken(queue: modal.Queue) -> list[str]:
    """All that the queue holds now."""
    return list(queue.get_many(100, block=False))


def events() -> modal.Queue:
    return modal.Queue.from_name("features-events", create_if_missing=True)


def test_async_functions_called_in_all_ways(cloud: LocalCloud) -> None:
    add = function("add")

    async def at_once() -> list[int]:
        return list(await asyncio.gather(*(add.remote.aio(n, 10) for n in range(3))))

    assert asyncio.run(at_once()) == [10, 11, 12]
    assert list(add.map(range(5), kwargs={"y": 2})) == [2, 3, 4, 5, 6]
    assert list(add.map([1, 2], [10, 20])) == [11, 22]
    assert sorted(add.map(range(5), order_outputs=False)) == [1, 2, 3, 4, 5]
    assert list(add.starmap([(1, 2), (3, 4)])) == [3, 7]
    assert add.spawn(1, 2).get(timeout=10) == 3
    found = list(add.map([1, "x"], return_exceptions=True))
    assert found[0] == 2
    assert isinstance(found[1], TypeError)


def test_for_each_and_spawn_map(cloud: LocalCloud) -> None:
    remember = greeter(name="Ada").remember
    remember.for_each(["a", "b"])
    assert sorted(taken(events())) == ["a", "b"]
    call = remember.spawn_map(["c", "d", "e"])
    eventually(lambda: events().len() == 3)
    assert sorted(taken(events())) == ["c", "d", "e"]
    assert call is None or call.num_inputs() == 3


def test_generators_sync_and_async(cloud: LocalCloud) -> None:
    assert list(function("letters").remote_gen("abc")) == ["a", "b", "c"]
    pairs = greeter(name="Ada").pairs
    assert list(pairs.remote_gen(3)) == [(0, 0), (1, 1), (2, 4)]
    got: list[str] = []
    with pytest.raises(ValueError, match="no more letters"):
        got.extend(letter for letter in function("letters").remote_gen("bad"))
    assert got == ["b", "a", "d"]

    async def collected() -> list[tuple[int, int]]:
        return [pair async for pair in pairs.remote_gen.aio(2)]

    assert asyncio.run(collected()) == [(0, 0), (1, 1)]


def test_concurrent_inputs_share_a_container(cloud: LocalCloud) -> None:
    where = greeter(name="Ada").where
    where.remote()
    began = time.monotonic()
    assert len({task for task, _ in where.map([0.5] * 4)}) == 1
    assert time.monotonic() - began < 1.5


def test_batched_inputs_arrive_together(cloud: LocalCloud) -> None:
    squares = function("squares")
    squares.remote(1)
    found = list(squares.map(range(8)))
    assert [square for square, _ in found] == [n * n for n in range(8)]
    assert max(size for _, size in found) > 1
    assert max(size for _, size in found) <= 4


def test_class_parameters_have_containers_of_their_own(cloud: LocalCloud) -> None:
    ada, bob = greeter(name="Ada"), greeter(name="Bob", times=2)
    assert ada.greet.remote() == "hello Ada"
    assert bob.greet.remote("hey") == "hey Bob hey Bob"
    assert list(ada.spell.remote_gen()) == ["A", "d", "a"]
    (task, log), (other, _) = ada.where.remote(), bob.where.remote()
    assert log == ["enter Ada"]
    assert task != other
    assert greeter(times=1, name="Ada").where.remote()[0] == task
    with pytest.raises(modal.exception.InvalidError, match="name"):
        greeter().greet.remote()


def test_exit_hooks_run_when_idle_containers_go(cloud: LocalCloud) -> None:
    short = modal.Cls.from_name("features", "Greeter").with_options(scaledown_window=2)(name="Eve")
    assert short.greet.remote() == "hello Eve"
    assert events().get(timeout=15) == "exit Eve"


def test_options_of_a_function_and_a_class(cloud: LocalCloud) -> None:
    plain = function("surroundings").remote()
    secret = modal.Secret.from_dict({"COLOUR": "red"})
    other = function("surroundings").with_options(gpu="H100:2", secrets=[secret]).remote()
    assert (plain["COLOUR"], plain["LOCAL_GPU"]) == ("blue", "")
    assert (other["COLOUR"], other["LOCAL_GPU"]) == ("red", "H100:2")
    assert other["MODAL_TASK_ID"] != plain["MODAL_TASK_ID"]


def test_queues(cloud: LocalCloud) -> None:
    name = f"queue-{uuid4().hex[:8]}"
    queue = modal.Queue.from_name(name, create_if_missing=True)
    queue.put_many([1, {"two": 2}, None])
    queue.put("elsewhere", partition="other")
    assert (queue.len(), queue.len(partition="other"), queue.len(total=True)) == (3, 1, 4)
    assert list(queue.iterate()) == [1, {"two": 2}, None]
    assert queue.get() == 1
    assert queue.get_many(5) == [{"two": 2}, None]
    assert queue.get(block=False) is None
    with pytest.raises(Empty):
        queue.get(timeout=0.1)
    with pytest.raises(Full, match="at most 5000"):
        queue.put_many([0] * 5001, block=False)
    assert name in [found.name for found in modal.Queue.objects.list()]
    queue.clear(all=True)
    assert queue.len(total=True) == 0
    modal.Queue.objects.delete(name)
    with pytest.raises(modal.exception.NotFoundError, match=name):
        modal.Queue.from_name(name).len()
    with modal.Queue.ephemeral() as passing:
        passing.put(b"x" * 1000)
        assert passing.get() == b"x" * 1000


def test_queues_between_client_and_container(cloud: LocalCloud) -> None:
    """The container waits for what comes later."""
    call = greeter(name="Ada").answer.spawn()
    time.sleep(0.2)
    events().put("word", partition="questions")
    assert events().get(partition="answers", timeout=10) == "WORD"
    assert call.get(timeout=10) == "word"


def test_what_there_is_not_is_refused_by_name(cloud: LocalCloud) -> None:
    app = modal.App.lookup("features")
    with pytest.raises(
        modal.exception.Error, match=r"Sandbox\w+ is not implemented by the local cloud: it has neither"
    ):
        modal.Sandbox.create("sleep", "1", app=app)
    bucket = modal.CloudBucketMount("bucket")
    refused = modal.App("refused")
    refused.function(serialized=True, volumes={"/bucket": bucket})(lambda: None)
    with pytest.raises(modal.exception.InvalidError, match="CloudBucketMount is not supported by the local cloud"):
        refused.deploy()
    with pytest.raises(modal.exception.InvalidError, match="CloudBucketMount is not supported by the local cloud"):
        function("add").with_options(volumes={"/bucket": bucket}).remote(1)
    elsewhere = modal.App("elsewhere")
    elsewhere.function(serialized=True)(modal.web_server(8000, custom_domains=["example.com"])(lambda: None))
    with pytest.raises(modal.exception.InvalidError, match="custom domains are not supported by the local cloud"):
        elsewhere.deploy()
    proxied = modal.App("proxied")
    proxied.function(serialized=True, proxy=modal.Proxy.from_name("mine"))(lambda: None)
    with pytest.raises(modal.exception.Error, match="ProxyGet is not implemented by the local cloud: it has no static"):
        proxied.deploy()
