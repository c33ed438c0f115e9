"""The exporter asks Modal at any time and replicas only while they work; what they say is told apart by replica."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from threading import Thread

import pytest

from monitoring.__main__ import serving
from monitoring.exposition import merged, regrouped, replica_of, total_of
from monitoring.watched import Count, Watched

HEAD = "# HELP sglang:num_running_reqs Requests.\n# TYPE sglang:num_running_reqs gauge\n"


def said(replica: str, running: int = 0) -> str:
    return (
        f'{HEAD}sglang:num_running_reqs{{tp_rank="0"}} {running}\nglm_serving_start_seconds{{phase="load"}} {replica}\n'
    )


@dataclass
class FakeModal:
    now: Count | None = None
    kept: int = 0
    error: Exception | None = None

    def count(self) -> Count | None:
        if self.error:
            raise self.error
        return self.now

    def always_up(self) -> int:
        return self.kept

    def spent(self, now: datetime) -> float | None:
        return 12.5


@dataclass
class Stage:
    """A stack, its replicas' answers in turn, and a clock."""

    answers: list[str | None] = field(default_factory=lambda: [said("1")])
    modal: FakeModal = field(default_factory=FakeModal)
    asked: int = 0
    now: float = 0.0

    def __post_init__(self) -> None:
        self.watched = Watched("prod", self.modal, self.scrape, {"maxMonthlyUsd": 100.0}, clock=lambda: self.now)

    def scrape(self) -> str | None:
        self.asked += 1
        return self.answers[(self.asked - 1) % len(self.answers)]

    def look(self, count: Count | None, later: float = 15) -> str:
        self.now += later
        self.modal.now = count
        return self.watched.exposition()


def test_a_stack_at_zero_is_not_woken() -> None:
    stage = Stage()
    text = stage.look(Count(0, 0, 0))
    assert stage.asked == 0
    assert 'glm_serving_replicas{stack="prod"} 0\n' in text
    assert 'glm_serving_spent_usd{stack="prod"} 12.5\n' in text
    assert 'glm_serving_budget_usd{stack="prod",limit="maxMonthlyUsd"} 100\n' in text
    stage.look(Count(1, 0, 3))  # it starts: no request has reached it
    assert stage.asked == 0


def test_replicas_are_asked_while_they_work_and_once_more_then_left_to_go() -> None:
    stage = Stage()
    text = stage.look(Count(1, 4, 0))
    assert stage.asked == 1
    assert 'glm_serving_scrape_answered{stack="prod"} 1\n' in text
    stage.look(Count(1, 0, 0))
    assert stage.asked == 2, "the last answers' figures"
    for _ in range(20):
        text = stage.look(Count(1, 0, 0))
    assert stage.asked == 2, "an idle replica is not kept up by being asked"
    assert "sglang:" not in text
    assert "scrape_answered" not in text


def test_replicas_that_are_kept_up_anyway_are_always_asked() -> None:
    stage = Stage(modal=FakeModal(kept=1))
    for _ in range(3):
        stage.look(Count(1, 0, 0))
    assert stage.asked == 3
    # With the ingress `server` Modal does not tell how many there are.
    assert "glm_serving_replicas{" not in stage.look(None)
    assert stage.asked == 4
    none_kept = Stage()
    none_kept.look(None)
    assert none_kept.asked == 0


def test_each_of_several_replicas_is_asked_and_remembered_for_a_minute() -> None:
    stage = Stage(answers=[said("1", 5), said("1", 5), said("2", 7)])
    text = stage.look(Count(2, 12, 0))
    assert stage.asked == 3
    names = {replica_of(said("1")), replica_of(said("2"))}
    assert len(names) == 2
    for name in names:
        assert f'sglang:num_running_reqs{{stack="prod",replica="{name}",tp_rank="0"}}' in text
    assert text.count("# TYPE sglang:num_running_reqs gauge") == 1
    assert total_of(text, "sglang:num_running_reqs") == 12
    stage.answers = [said("1", 3)]
    assert total_of(stage.look(Count(2, 12, 0)), "sglang:num_running_reqs") == 10
    assert total_of(stage.look(Count(2, 12, 0), later=61), "sglang:num_running_reqs") == 3


def test_replicas_that_answer_slowly_are_not_asked_past_a_scrapes_time() -> None:
    stage = Stage()
    real = stage.scrape

    def slow() -> str | None:
        stage.now += 4
        return real()

    stage.watched.scrape = slow
    stage.look(Count(10, 12, 0))
    assert stage.asked == 2


def test_a_replica_that_does_not_answer_is_told() -> None:
    stage = Stage(answers=[None])
    assert 'glm_serving_scrape_answered{stack="prod"} 0\n' in stage.look(Count(2, 12, 0))
    assert stage.asked == 1


def test_labels_of_the_engine_keep_their_values() -> None:
    text = merged({"a": 'x{stack="own",le="1.0",path="a,replica=\\"b"} 2\ny 3\n'}, {"stack": "prod"})
    assert text == 'x{stack="prod",replica="a",exported_stack="own",le="1.0",path="a,replica=\\"b"} 2\n' + (
        'y{stack="prod",replica="a"} 3\n'
    )


def test_a_familys_samples_stay_together() -> None:
    histogram = '# TYPE h histogram\nh_bucket{le="1.0"} 1\nh_sum 1\nh_count 1\n'
    assert regrouped(histogram + "other 1\n" + histogram.replace(" 1\n", " 2\n")) == (
        histogram + 'h_bucket{le="1.0"} 2\nh_sum 2\nh_count 2\nother 1\n'
    )


def test_modal_that_does_not_answer_for_one_stack_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Stage(modal=FakeModal(error=ConnectionError("no route")))
    silent.watched.stack = "dev"
    server = serving([silent.watched, Stage(modal=FakeModal(Count(0, 0, 0))).watched], "127.0.0.1", 0)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert 'glm_serving_modal_answered{stack="dev"} 0\n' in text
    assert 'glm_serving_modal_answered{stack="prod"} 1\n' in text
    assert 'glm_serving_replicas{stack="prod"} 0\n' in text
    assert capsys.readouterr().err == "dev: ConnectionError: no route\n"
