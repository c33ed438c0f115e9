"""How a start goes: its phases, the files checked beside it, kernels that are proven or not, a warm-up that hangs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from serving.engines import sglang, vllm
from serving.errors import ServingError
from serving.loopback import request
from serving.manifest import MANIFEST
from serving.monitor import read_metrics
from serving.side_check import SideCheck
from serving.start_phases import WARM_UP, PhaseLines, StartPhases, ready_line
from serving.warmup import PROMPT_SIZES, prompt_of
from tests.serving.conftest import API_KEY, REPO_ROOT
from tests.serving.container import Make

RECORDING = REPO_ROOT / "tests" / "recordings" / "sglang-0.5.16" / "start.txt"

OLDER_SGLANG = """\
[2026-04-01 10:00:01 TP0] Load weight begin. avail mem=177.40 GB
[2026-04-01 10:01:12 TP0] Load weight end. elapsed=71.00 s, type=GlmMoeDsaForCausalLM
[2026-04-01 10:01:13 TP3] Capture cuda graph begin. This can take up to several minutes. avail mem=20.05 GB
[2026-04-01 10:03:00 TP0] Capture draft cuda graph begin. This can take up to several minutes. avail mem=19.0 GB
[2026-04-01 10:04:13] INFO:     Application startup complete.
""".splitlines()
VLLM = """\
(Worker_TP0 pid=9) INFO 11-21 10:01:11 [default_loader.py:398] Loading weights took 60.11 seconds
(Worker_TP0 pid=9) INFO 11-21 10:01:12 [gpu_model_runner.py:5188] Model loading took 88.1 GiB memory and 71.5 seconds
(EngineCore pid=7) INFO 11-21 10:04:00 [core.py:314] init engine (profile, create kv cache, warmup model) took 170 s
(APIServer pid=1) INFO:     Application startup complete.
""".splitlines()


@pytest.mark.parametrize(
    ("lines", "of_engine", "graphs", "warm"),
    [
        (RECORDING.read_text(encoding="utf-8").splitlines(), sglang.PHASE_LINES, "verify CUDA graph begin", "complete"),
        (OLDER_SGLANG, sglang.PHASE_LINES, "Capture cuda graph begin", "startup complete"),
        (VLLM, vllm.PHASE_LINES, "Model loading took", "startup complete"),
    ],
)
def test_phases_begin_where_the_engines_say_so(lines: list[str], of_engine: PhaseLines, graphs: str, warm: str) -> None:
    now = [100.0]
    phases = StartPhases(of_engine, volumes=3, clock=lambda: now[0])
    entered = {}
    for number, line in enumerate(lines):
        now[0] = 100.0 + number
        phases.read(line)
        for name, words in (("graphs", graphs), ("warm-up", warm)):
            if words in line:
                entered.setdefault(name, number)
    now[0] = 100.0 + len(lines)
    assert phases.end() == {
        "volumes": 3,
        "load": entered["graphs"],
        "graphs": entered["warm-up"] - entered["graphs"],
        "warm-up": len(lines) - entered["warm-up"],
    }


def test_a_phase_whose_line_never_came_takes_no_time() -> None:
    now = [0.0]
    phases = StartPhases(sglang.PHASE_LINES, volumes=0.5, clock=lambda: now[0])
    now[0] = 20
    phases.begin(WARM_UP)
    phases.read("Capture cuda graph begin.")  # too late to count
    phases.begin(WARM_UP)
    now[0] = 22.5
    assert phases.end() == {"volumes": 0.5, "load": 20, "graphs": 0, "warm-up": 2.5}


def test_the_ready_line() -> None:
    assert ready_line({"volumes": 1.2, "load": 70.9, "graphs": 180.2, "warm-up": 160.1}) == (
        "ready in 412 s: volumes 1 · load 71 · graphs 180 · warm-up 160"
    )
    assert ready_line({"volumes": 0.04, "load": 2.0}) == "ready in 2.0 s: volumes 0.0 · load 2.0"


def test_phases_and_findings_are_metrics_behind_the_gate(make: Make) -> None:
    container = make()
    container.supervisor.start(volumes=0.25)
    port = container.stack.recipe.port
    answer = request(port, "GET", "/metrics", api_key=API_KEY)
    text = answer.body.decode()
    assert 'glm_serving_start_seconds{phase="volumes"} 0.250' in text
    assert 'glm_serving_log_findings_total{rule="fast-health",severity="info"} 1' in text
    metrics = read_metrics(text)
    assert metrics["glm_serving_start_seconds"] == pytest.approx(sum(container.supervisor.phases.values()), abs=0.01)
    assert metrics["sglang:num_requests_total"] > 0
    # What is found later is in there after the monitor's next look.
    container.supervisor._watch("[2026-11-21 11:07:47] KV cache pool is full. Retract requests.")
    pool_full = 'glm_serving_log_findings_total{rule="pool-full",severity="monitor"} 1'
    container.wait_until(lambda: pool_full in request(port, "GET", "/metrics", api_key=API_KEY).body.decode())
    assert container.said("[triage] monitor pool-full: ")
    folder = container.supervisor._metrics.path.parent  # type: ignore[union-attr]
    assert folder.exists()
    container.supervisor.stop()
    assert not folder.exists()


def test_a_damaged_file_ends_a_start_that_has_begun(make: Make) -> None:
    container = make(environment={"STANDIN_FAULT": "never-healthy"})
    shard = sorted(Path(container.stack.recipe.model_path(container.stack.commit)).glob("*.safetensors"))[2]
    with shard.open("ab") as file:
        file.write(b"x")
    began = time.monotonic()
    with pytest.raises(ServingError, match=rf"weights: {shard.name} has [\d,]+ bytes, not [\d,]+ .*Next: pulumi"):
        container.supervisor.start()
    assert time.monotonic() - began < container.stack.recipe.deadlines.health / 2
    assert container.said("[startup] python3 -m serving.engines.sglang_server")
    assert not container.engine_pids()


def test_a_check_that_fails_calls_for_attention() -> None:
    called: list[bool] = []

    def fail() -> None:
        raise ServingError("weights: gone")

    check = SideCheck(fail, lambda: called.append(True))
    with pytest.raises(ServingError, match="gone"):
        check.wait()
    assert called == [True]
    SideCheck(lambda: None, lambda: called.append(False)).wait()
    assert called == [True]


def test_a_recipe_that_decides_about_the_pass_itself_is_not_contradicted(make: Make) -> None:
    container = make()
    path = Path(container.stack.recipe.kernel_path(container.stack.key)) / MANIFEST
    path.write_text(path.read_text().replace('"proven": true', '"proven": false'))
    container.stack.recipe.engine.environment["SGLANG_JIT_DEEPGEMM_PRECOMPILE"] = "0"
    container.supervisor.start()
    assert not container.said("the DeepGEMM pass stays on")
    assert not container.said("DeepGEMM JIT Compiling for")


@pytest.mark.parametrize("proven", [True, False])
def test_only_proven_kernels_let_the_pass_over_all_sizes_be_left_out(make: Make, proven: bool) -> None:
    container = make()
    path = Path(container.stack.recipe.kernel_path(container.stack.key)) / MANIFEST
    manifest = json.loads(path.read_text())
    assert manifest["proven"]
    if not proven:
        del manifest["proven"], manifest["uncovered"]  # as written before anybody asked
        path.write_text(json.dumps(manifest))
    container.supervisor.start()
    line = "[startup] kernels not proven complete: no proof start was made, the DeepGEMM pass stays on"
    assert (line in container.lines) is not proven
    assert container.said("DeepGEMM JIT Compiling for") is not proven


def test_an_engine_that_hangs_while_warming_up_is_ended_after_one_requests_time(make: Make) -> None:
    container = make({"deadlines": {"warmupRequest": 2}}, environment={"STANDIN_FAULT": "hang-after:5"})
    began = time.monotonic()
    with pytest.raises(ServingError, match=r"warm-up: a prompt of 200 tokens failed: no answer within 2 s.*Next: "):
        container.supervisor.start()
    assert time.monotonic() - began < 15
    assert not container.engine_pids()


def test_prompts_of_different_sizes_share_no_beginning() -> None:
    """Else a prefix cache would prefill the difference alone, and the sizes would not be what they say."""
    prompts = [prompt_of(size, f"{size}") for size in PROMPT_SIZES]
    assert len({prompt.split()[0] for prompt in prompts}) == len(prompts)
    assert [len(prompt.split()) for prompt in prompts] == list(PROMPT_SIZES)
