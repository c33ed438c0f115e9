"""Answers of the stand-in beside those of a real SGLang: status, headers, fields and their order."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.engines.conftest import MODEL, Answer, Engine, recorded

HTTP = recorded("http.json")
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get current weather for a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City name"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    },
}


def shape(value: Any) -> Any:
    """Keys in their order, values left out."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return None


def ordered(value: Any) -> str:
    return json.dumps(shape(value))


def assert_like(answer: Answer, name: str) -> None:
    recording = HTTP[name]
    assert answer.status == recording.get("status", 200)
    assert ordered(answer.json()) == ordered(recording["body"])
    if "headers" in recording:
        assert list(answer.headers) == recording["headers"]
        assert answer.headers["server"] == "uvicorn"
        assert answer.headers["content-type"] == "application/json"


def message(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return answer.json()["choices"][0]["message"]


def content(answer: Answer) -> str:
    return message(answer)["content"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/v1/completions", "/server_info", "/generate"])
def test_without_the_key_unauthorized(engine: Engine, path: str) -> None:
    for key in (None, "sk-wrong"):
        answer = engine.request("GET" if path in ("/v1/models", "/server_info") else "POST", path, {}, key=key)
        assert_like(answer, "unauthorized")
        assert answer.body == b'{"error":"Unauthorized"}'


@pytest.mark.parametrize("path", ["/health", "/health_generate", "/metrics"])
def test_health_and_metrics_are_open(engine: Engine, path: str) -> None:
    assert engine.request("GET", path, key=None).status == 200


def test_models(engine: Engine) -> None:
    answer = engine.request("GET", "/v1/models")
    assert_like(answer, "models")
    assert answer.json()["data"][0]["id"] == MODEL
    assert answer.json()["data"][0]["max_model_len"] == 8192


def test_chat_cut_short(engine: Engine) -> None:
    answer = engine.chat("Say hello.", max_tokens=8)
    assert_like(answer, "chat")
    choice, usage = answer.json()["choices"][0], answer.json()["usage"]
    assert choice["finish_reason"] == "length"
    assert choice["matched_stop"] is None
    assert usage["completion_tokens"] == usage["reasoning_tokens"] == 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8


def test_an_unknown_model_is_answered(engine: Engine) -> None:
    body = {"model": "nope", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    answer = engine.request("POST", "/v1/chat/completions", body)
    assert_like(answer, "unknown_model")
    assert answer.json()["model"] == "nope"


def test_a_body_without_messages(engine: Engine) -> None:
    answer = engine.request("POST", "/v1/chat/completions", {"model": "glm-5.1"})
    assert_like(answer, "no_messages")
    said, real = answer.json(), HTTP["no_messages"]["body"]
    assert said["message"].split("\n\n")[0] == real["message"].split("\n\n")[0]
    assert {key: said[key] for key in ("type", "param", "code")} == {"type": "Bad Request", "param": None, "code": 400}


def test_a_body_that_is_not_json(engine: Engine) -> None:
    answer = engine.request("POST", "/v1/chat/completions", body=b"{not json")
    assert_like(answer, "not_json")
    assert answer.json()["message"].split("\n\n")[0] == HTTP["not_json"]["body"]["message"].split("\n\n")[0]


def test_text_completion(engine: Engine) -> None:
    answer = engine.request("POST", "/v1/completions", {"model": MODEL, "prompt": "Hi there", "max_tokens": 3})
    assert_like(answer, "completion")
    assert answer.json()["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    "more",
    [
        {"messages": []},
        {"messages": "hi"},
        {"messages": [{"role": "alien", "content": "x"}]},
        {"max_tokens": "many"},
        {"stream": 3},
        {"tool_choice": "required"},
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "other"}}},
        {"response_format": {"type": "json_schema"}},
        {"max_tokens": 9000},
    ],
)
def test_what_is_refused(engine: Engine, more: dict[str, Any]) -> None:
    answer = engine.chat("hi", **more)
    assert answer.status == 400
    assert list(answer.json()) == ["object", "message", "type", "param", "code"]


def test_a_prompt_longer_than_the_context_is_refused(engine: Engine) -> None:
    answer = engine.chat("word " * 9000)
    assert answer.status == 400
    assert "longer than the model's context length (8192 tokens)" in answer.json()["message"]


def test_an_error_of_its_own_is_a_500(engine: Engine) -> None:
    answer = engine.chat("", messages=[{"role": "user", "content": "hi", "tool_calls": [1]}])
    assert answer.status == 500
    assert answer.json()["type"] == "InternalServerError"
    assert engine.chat("hi").status == 200


def test_unknown_paths_and_methods(engine: Engine) -> None:
    assert engine.request("GET", "/nope").status == 404
    assert engine.request("GET", "/v1/chat/completions").status == 405
    assert engine.request("GET", "/v1/models/other").status == 404


def test_stream(engine: Engine) -> None:
    answer = engine.chat("Say hello.", stream=True, stream_options={"include_usage": True}, max_tokens=4)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events, real = answer.events(), HTTP["stream"]["events"]
    assert events[-1] == real[-1] == "[DONE]"
    assert ordered(events[0]) == ordered(real[0])  # the role comes first
    assert ordered(events[-3]) == ordered(real[-3])  # then the end, then the usage
    assert ordered(events[-2]) == ordered(real[-2])
    assert events[-3]["choices"][0]["finish_reason"] == "length"
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["completion_tokens"] == 4


def test_stream_brings_reasoning_first_and_the_same_text(engine: Engine) -> None:
    whole = message(engine.chat("What is 2+2?"))
    deltas = [event["choices"][0]["delta"] for event in engine.chat("What is 2+2?", stream=True).events()[:-1]]
    reasoning = [delta["reasoning_content"] for delta in deltas if delta.get("reasoning_content")]
    said = [delta["content"] for delta in deltas if delta.get("content")]
    assert len(reasoning) > 1
    assert "".join(reasoning) == whole["reasoning_content"]
    assert "".join(said) == whole["content"]
    kinds = ["r" if delta.get("reasoning_content") else "c" if delta.get("content") else "" for delta in deltas]
    assert "".join(kinds) == "r" * len(reasoning) + "c" * len(said)


def test_without_stream_options_no_usage_comes(engine: Engine) -> None:
    events = engine.chat("hi", stream=True).events()
    assert all("usage" not in event for event in events[:-1])


def test_thinking_is_on_and_can_be_switched_off(engine: Engine) -> None:
    assert message(engine.chat("What is 2+2?"))["reasoning_content"]
    off = engine.chat("What is 2+2?", chat_template_kwargs={"enable_thinking": False})
    assert message(off)["reasoning_content"] is None
    assert "4" in content(off)
    assert off.json()["usage"]["reasoning_tokens"] == 0


@pytest.mark.parametrize(
    ("question", "part"),
    [("What is the capital of France?", "Paris"), ("What is 17 * 23?", "391"), ("Solve x² + 5x + 6 = 0", "−2")],
)
def test_it_knows_a_few_things(engine: Engine, question: str, part: str) -> None:
    assert part in content(engine.chat(question))


def test_it_does_not_pretend_to_be_glm(engine: Engine) -> None:
    assert "not GLM" in content(engine.chat("Write me an essay on rivers."))


def test_tool_call_and_what_follows(engine: Engine) -> None:
    question = {"role": "user", "content": "What's the weather in Tokyo?"}
    answer = engine.chat("", messages=[question], tools=[WEATHER])
    assert answer.json()["choices"][0]["finish_reason"] == "tool_calls"
    said = message(answer)
    (call,) = said["tool_calls"]
    assert said["content"] is None
    assert call["type"] == "function"
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Tokyo"}
    result = {"role": "tool", "tool_call_id": call["id"], "content": '{"temperature": 22, "condition": "sunny"}'}
    final = engine.chat("", messages=[question, said, result], tools=[WEATHER])
    assert final.json()["choices"][0]["finish_reason"] == "stop"
    assert "22" in content(final)
    assert "sunny" in content(final)


def test_tool_call_streamed(engine: Engine) -> None:
    events = engine.chat("What's the weather in Oslo?", tools=[WEATHER], stream=True).events()
    parts = [c for e in events[:-1] for c in e["choices"][0]["delta"].get("tool_calls") or []]
    assert parts[0]["function"]["name"] == "get_weather"
    assert json.loads("".join(part["function"]["arguments"] for part in parts)) == {"city": "Oslo"}
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_tools_that_do_not_fit_or_are_forbidden_are_left_alone(engine: Engine) -> None:
    assert message(engine.chat("What is 2+2?", tools=[WEATHER]))["tool_calls"] is None
    assert message(engine.chat("Weather in Oslo?", tools=[WEATHER], tool_choice="none"))["tool_calls"] is None
    assert message(engine.chat("What is 2+2?", tools=[WEATHER], tool_choice="required"))["tool_calls"]


def test_json_modes(engine: Engine) -> None:
    planets = engine.chat("List 3 planets as JSON with name and diameter_km.", response_format={"type": "json_object"})
    assert len(json.loads(content(planets))["planets"]) == 3
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "kind": {"enum": ["sun", "rain"]}},
        "required": ["city", "days", "kind"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "forecast", "schema": schema}}
    said = json.loads(content(engine.chat("Give me 3 days of rain in Oslo", response_format=form)))
    assert said == {"city": "Oslo", "days": 3, "kind": "rain"}


def test_several_choices_and_stop(engine: Engine) -> None:
    answer = engine.chat("What is 2+2?", n=2, chat_template_kwargs={"enable_thinking": False}, stop=["="])
    choices = answer.json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert {choice["message"]["content"] for choice in choices} == {"2 + 2 "}
    assert {(choice["finish_reason"], choice["matched_stop"]) for choice in choices} == {("stop", "=")}


def test_own_endpoints(engine: Engine) -> None:
    info = engine.request("GET", "/get_model_info").json()
    assert info == engine.request("GET", "/model_info").json()
    assert info["architectures"] == ["GlmMoeDsaForCausalLM"]
    server = engine.request("GET", "/server_info").json()
    assert server["version"] == "0.5.10.post1"
    assert server["tp_size"] == 8
    said = engine.request("POST", "/generate", {"text": "The capital", "sampling_params": {"max_new_tokens": 5}}).json()
    assert said["meta_info"]["finish_reason"] == {"type": "length", "length": 5}


def test_a_connection_takes_several_requests(engine: Engine) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/health")
        response = connection.getresponse()
        assert response.status == 200
        response.read()
    connection.close()


def test_log_probabilities_of_a_chat(engine: Engine) -> None:
    """Fields in the order of the protocol classes of 0.5.10.post1 and 0.5.16, which are the same."""
    plain = {"temperature": 0, "chat_template_kwargs": {"enable_thinking": False}}
    answer = engine.chat("What is 6 * 7?", logprobs=True, top_logprobs=5, **plain).json()
    listed = answer["choices"][0]["logprobs"]["content"]
    assert len(listed) == answer["usage"]["completion_tokens"]  # the end token has one, too
    assert "".join(token["token"] for token in listed[:-1]) == answer["choices"][0]["message"]["content"]
    assert list(listed[0]) == ["token", "bytes", "logprob", "top_logprobs"]
    assert list(listed[0]["top_logprobs"][0]) == ["token", "bytes", "logprob"]
    for token in listed:
        probabilities = [math.exp(other["logprob"]) for other in token["top_logprobs"]]
        assert len(probabilities) == 5
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) <= 1
    again = engine.chat("What is 6 * 7?", logprobs=True, **plain).json()["choices"][0]["logprobs"]["content"]
    assert [token["logprob"] for token in again] == [token["logprob"] for token in listed]
    assert again[0]["top_logprobs"] == []
    assert engine.chat("What is 6 * 7?", **plain).json()["choices"][0]["logprobs"] is None
