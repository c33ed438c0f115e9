"""Every file of examples/, run as its reader would, against a stand-in that the supervisor started."""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import requests

from infra.opencode import configuration, key_variable
from tests.examples.conftest import Served
from tests.serving.conftest import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
OPENAI_JS = "6.49.0"


def start(served: Served, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable] if name.endswith(".py") else []
    environment = {**served.environment, **environment}
    file = str(EXAMPLES / name)
    return subprocess.run([*command, file], env=environment, capture_output=True, text=True, timeout=60, check=False)


def run(served: Served, name: str) -> str:
    """What the example printed; it must succeed without a word on stderr."""
    done = _run_in_this_process(served, name) if name.endswith(".py") else start(served, name)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
    return done.stdout


def _run_in_this_process(served: Served, name: str) -> subprocess.CompletedProcess[str]:
    """As a main program with the example's environment: importing the client takes a second, once is enough."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        for variable in set(os.environ) - set(served.environment):
            patch.delenv(variable)
        for variable, value in served.environment.items():
            patch.setenv(variable, value)
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return subprocess.CompletedProcess([name], 0, out.getvalue(), errors.getvalue())


def test_basic(served: Served) -> None:
    done = start(served, "basic.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "pivot" in done.stdout
    assert re.search(r"^\([1-9]\d* tokens in, [1-9]\d* out\)$", done.stdout, re.M)


def test_streaming(served: Served) -> None:
    printed = run(served, "streaming.py")
    assert "thousand cores" in printed
    assert re.search(r"^\([1-9]\d* tokens\)$", printed, re.M)


def test_thinking_on_and_off(served: Served) -> None:
    printed = run(served, "thinking.py")
    fields = dict(re.findall(r"^([a-z ]+): (.*)$", printed, re.M))
    assert "The user wrote" in fields["thought"]
    assert "x = −2 or x = −3" in fields["answer"]
    assert "The user wrote" not in fields["answer"]
    assert fields["thought without thinking"] == "None"
    assert fields["answer without thinking"] == fields["answer"]
    assert int(fields["tokens without thinking"]) < int(fields["tokens"])


def test_streamed_reasoning_comes_before_the_answer(served: Served) -> None:
    printed = run(served, "streaming_reasoning.py")
    thought, answer = re.fullmatch(r"thought: (.+)\nanswer: (.+)\n", printed, re.S).groups()  # type: ignore[union-attr]
    assert "The user wrote" in thought
    assert "irrational" in answer
    assert "The user wrote" not in answer


def test_tools(served: Served) -> None:
    printed = run(served, "tools.py")
    assert "finish reason: tool_calls" in printed
    assert "call: get_weather({'city': 'Tokyo'}) -> {'city': 'Tokyo', 'temperature': 22" in printed
    answer = printed.partition("answer: ")[2]
    assert "22" in answer
    assert "clear" in answer


def test_json_mode(served: Served) -> None:
    printed = run(served, "json_mode.py")
    assert "'diameter_km': 12742" in printed
    assert "by schema: ['city', 'country']" in printed


def test_completions(served: Served) -> None:
    printed = run(served, "completions.py")
    assert "Paris" in printed
    assert "finish reason: stop" in printed


def test_models(served: Served) -> None:
    first = run(served, "models.py").splitlines()[0]
    assert re.fullmatch(rf"{served.recipe.model.served_name} [1-9]\d* tokens", first)


def test_health(served: Served) -> None:
    assert run(served, "health.py").startswith("200 after ")


def test_health_gives_up_in_the_end(served: Served) -> None:
    done = start(served, "health.py", OPENAI_BASE_URL="http://127.0.0.1:9/v1", WAIT_SECONDS="0.2")
    assert done.returncode == 1
    assert re.search(r"^not ready after \d+ s$", done.stderr, re.M)


def test_metrics(served: Served) -> None:
    printed = run(served, "metrics.py")
    values = dict(re.findall(r"^([a-z ]+): (\S+)$", printed, re.M))
    assert {"running", "waiting", "tokens generated"} <= set(values), printed
    assert float(values["tokens generated"]) > 0


def test_sticky_session(served: Served) -> None:
    rounds = re.findall(
        r"^(\d+) tokens in, .* from the cache, first token after \d+\.\d+ s$", run(served, "sticky_session.py"), re.M
    )
    sizes = [int(size) for size in rounds]
    assert len(sizes) == 3
    assert sizes == sorted(set(sizes)), "each round repeats the ones before"


def test_curl(served: Served) -> None:
    parts = re.split(r"^== (.+)\n", run(served, "curl.sh"), flags=re.M)[1:]
    told = dict(zip(parts[::2], parts[1::2], strict=True))
    assert told["health"].strip() == "200"
    assert json.loads(told["models"])["data"][0]["id"] == served.recipe.model.served_name
    assert "Hello" in json.loads(told["chat"])["choices"][0]["message"]["content"]
    assert told["chat, streamed"].rstrip().endswith("data: [DONE]")
    assert "Paris" in json.loads(told["completions"])["choices"][0]["text"]
    assert int(told["metrics"]) > 20


@pytest.mark.parametrize("name", ["curl.sh", "completions.py"])
def test_a_wrong_key_is_told(served: Served, name: str) -> None:
    done = start(served, name, OPENAI_API_KEY="wrong")
    assert done.returncode != 0
    assert "401" in done.stderr


@pytest.fixture(scope="module")
def node_folder(request: pytest.FixtureRequest) -> Path:
    """A folder with OpenAI's JavaScript client, kept between runs."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    folder: Path = request.config.cache.mkdir(f"openai-js-{OPENAI_JS}")
    if not (folder / "node_modules" / "openai").exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000"]
        command += ["--prefix", str(folder), f"openai@{OPENAI_JS}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not install openai: {done.stderr.strip().splitlines()[-1]}")
    return folder


def test_javascript(served: Served, node_folder: Path) -> None:
    script = shutil.copy(EXAMPLES / "chat.mjs", node_folder)  # Node looks for packages beside the script
    done = subprocess.run(
        ["node", script], env=served.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "pivot" in done.stdout
    assert re.search(r"^\([1-9]\d* tokens in, [1-9]\d* out\)$", done.stdout, re.M)
    assert re.search(r"thousand cores.*\n\([1-9]\d* tokens\)$", done.stdout, re.M | re.S)


def test_litellm_proxy(served: Served, tmp_path: Path) -> None:
    litellm = shutil.which("litellm")
    if litellm is None:
        pytest.skip("litellm is not installed: pip install 'litellm[proxy]' in an environment of its own")
    port = free_port()
    command = [litellm, "--config", str(EXAMPLES / "litellm.yaml"), "--port", str(port), "--host", "127.0.0.1"]
    with (tmp_path / "log").open("w+") as log:
        environment = {
            **served.environment,
            "LITELLM_MASTER_KEY": "sk-of-litellm",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        proxy = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
        try:
            answer = ask_when_up(f"http://127.0.0.1:{port}", served, proxy)
        finally:
            proxy.terminate()
            proxy.wait(30)
        log.seek(0)
        assert answer.status_code == 200, answer.text + log.read()
    assert "4" in answer.json()["choices"][0]["message"]["content"]


def ask_when_up(url: str, served: Served, proxy: subprocess.Popen[bytes]) -> requests.Response:
    question = {"model": served.environment["MODEL"], "messages": [{"role": "user", "content": "What is 2+2?"}]}
    for _ in range(900):
        assert proxy.poll() is None, "litellm ended by itself"
        try:
            key = {"Authorization": "Bearer sk-of-litellm"}
            return requests.post(f"{url}/v1/chat/completions", json=question, headers=key, timeout=60)
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError("litellm does not listen after 90 s")


def test_opencode(served: Served, tmp_path: Path) -> None:
    opencode = shutil.which("opencode")
    if opencode is None:
        pytest.skip("opencode is not installed: npm install -g opencode-ai")
    url = served.environment["OPENAI_BASE_URL"].removesuffix("/v1")
    # Its own prompt and tools are longer than the local models' context.
    document = {**configuration("local", url, served.recipe), "tools": {"*": False}, "autoupdate": False}
    (tmp_path / "opencode.json").write_text(json.dumps(document))
    environment = {
        **served.environment,
        "HOME": str(tmp_path),
        key_variable("local"): served.environment["OPENAI_API_KEY"],
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
    }
    model = f"modal-local/{served.recipe.model.served_name}"
    command = [opencode, "run", "--model", model, "What is 2+2?"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4" in done.stdout, done.stdout + done.stderr


def test_every_file_is_described_and_tested() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.*"):
        if path.name != "README.md":
            assert f"| `{path.name}` |" in readme
            assert f'"{path.name}"' in tests
