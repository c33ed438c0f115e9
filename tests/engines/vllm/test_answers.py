"""What vLLM 0.23.0 answers: fields and their order as its protocol classes have them, errors in its own words."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from tests.engines.conftest import KEY, MODEL, Engine

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def error_of(engine: Engine, body: dict[str, Any], path: str = "/v1/chat/completions") -> dict[str, Any]:
    answer = engine.request("POST", path, body)
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["code"] == answer.status
    return error


def test_a_chat_has_every_field_of_the_protocol(vllm: Engine) -> None:
    document = vllm.chat("What is 6 * 7?").json()
    assert list(document) == [
        *("id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage"),
        *("prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params"),
    ]
    assert document["id"].startswith("chatcmpl-")
    assert document["system_fingerprint"].startswith("vllm-0.23.0-tp8-")
    (choice,) = document["choices"]
    message = choice["message"]
    assert list(message) == [
        *("role", "content", "refusal", "annotations", "audio", "function_call", "tool_calls", "reasoning"),
    ]
    assert message["content"] == "6 * 7 = 42."
    assert message["reasoning"]  # not `reasoning_content`: vLLM #33402 took that name away
    assert message["tool_calls"] == []
    assert choice["finish_reason"] == "stop"
    assert document["usage"]["prompt_tokens_details"] is None


def test_thinking_can_be_switched_off(vllm: Engine) -> None:
    for more in ({"chat_template_kwargs": {"enable_thinking": False}}, {"include_reasoning": False}):
        assert vllm.chat("What is 6 * 7?", **more).json()["choices"][0]["message"]["reasoning"] is None


def test_the_second_served_name_answers_under_the_first(vllm: Engine) -> None:
    body = {"model": f"{MODEL}@7", "messages": [{"role": "user", "content": "hi"}]}
    answer = vllm.request("POST", "/v1/chat/completions", body)
    assert (answer.status, answer.json()["model"]) == (200, MODEL)
    assert [card["id"] for card in vllm.request("GET", "/v1/models").json()["data"]] == [MODEL, f"{MODEL}@7"]


def test_a_name_that_is_not_served_is_404(vllm: Engine) -> None:
    body = {"model": f"{MODEL}@8", "messages": [{"role": "user", "content": "hi"}]}
    assert error_of(vllm, body) == {
        "message": f"The model `{MODEL}@8` does not exist.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }


def test_a_stream_sends_the_fields_that_were_set(vllm: Engine) -> None:
    events = vllm.chat("What is 6 * 7?", stream=True, stream_options={"include_usage": True}).events()
    assert events[-1] == "[DONE]"
    first, *deltas, usage = events[:-1]
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    assert first["prompt_token_ids"] is None
    choices = [event["choices"][0] for event in deltas]
    assert "".join(c["delta"].get("content", "") for c in choices) == "6 * 7 = 42."
    assert any(set(c["delta"]) == {"reasoning"} for c in choices)
    assert list(choices[0]) == ["index", "delta", "logprobs", "finish_reason", "token_ids"]
    assert list(choices[-1]) == ["index", "delta", "logprobs", "finish_reason", "stop_reason", "token_ids"]
    assert list(usage) == ["id", "object", "created", "model", "choices", "usage", "system_fingerprint"]
    assert list(usage["usage"]) == ["prompt_tokens", "total_tokens", "completion_tokens"]


def test_tool_calls(vllm: Engine) -> None:
    (choice,) = vllm.chat("What is the weather in Paris?", tools=[WEATHER]).json()["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert list(call) == ["id", "type", "function"]
    assert call["id"].startswith("chatcmpl-tool-")
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    named = {"type": "function", "function": {"name": "get_weather"}}
    (choice,) = vllm.chat("Paris?", tools=[WEATHER], tool_choice=named).json()["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "")
    events = vllm.chat("What is the weather in Paris?", tools=[WEATHER], stream=True).events()[:-1]
    parts = [p for event in events for p in event["choices"][0]["delta"].get("tool_calls", ())]
    assert [sorted(part["function"]) for part in parts] == [["name"], ["arguments"]]
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_json_mode_and_schema(vllm: Engine) -> None:
    content = vllm.chat("A planet?", response_format={"type": "json_object"}).json()["choices"][0]["message"]["content"]
    assert isinstance(json.loads(content), dict)
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    content = vllm.chat("She is 42.", response_format=form).json()["choices"][0]["message"]["content"]
    assert json.loads(content) == {"age": 42}


def test_text_completions(vllm: Engine) -> None:
    document = vllm.request("POST", "/v1/completions", {"prompt": "hi", "max_tokens": 3}).json()
    assert document["id"].startswith("cmpl-")
    assert document["choices"][0]["finish_reason"] == "length"
    assert document["usage"]["completion_tokens"] == 3
    events = vllm.request("POST", "/v1/completions", {"prompt": "hi", "stream": True}).events()
    assert "".join(event["choices"][0]["text"] for event in events[:-1]).startswith(" Hello!")


def test_tokens_there_and_back(vllm: Engine) -> None:
    tokens = vllm.request("POST", "/tokenize", {"prompt": "hello there, world"}, key=None).json()
    assert list(tokens) == ["count", "max_model_len", "tokens", "token_strs"]
    assert len(tokens["tokens"]) == tokens["count"]
    back = vllm.request("POST", "/detokenize", {"tokens": tokens["tokens"]}, key=None)
    assert back.json() == {"prompt": "hello there, world"}


def test_a_request_that_cannot_fit_is_refused_at_once(vllm: Engine) -> None:
    body = {"messages": [{"role": "user", "content": "fox " * 9000}], "max_tokens": 100}
    error = error_of(vllm, body)
    assert error["message"] == (
        "This model's maximum context length is 8192 tokens. However, you requested 100 output tokens and your prompt "
        "contains at least 8093 input tokens, for a total of at least 8193 tokens. Please reduce the length of the "
        "input prompt or the number of requested output tokens. (parameter=input_tokens, value=8093)"
    )
    assert (error["type"], error["param"]) == ("BadRequestError", "input_tokens")
    assert error_of(vllm, {"prompt": "hi", "max_tokens": 9000}, "/v1/completions")["param"] == "max_tokens"


@pytest.mark.parametrize(
    ("body", "part", "kind"),
    [
        ({}, "{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required', 'input': {}}", "Bad Request"),
        ({"messages": "hi"}, "'list_type'", "Bad Request"),
        (
            {"messages": [], "stream": "maybe"},
            "valid boolean, unable to interpret input', 'input': 'maybe'}",
            "Bad Request",
        ),
        (
            {"messages": [], "max_tokens": "x", "stop": 3},
            "3 validation errors:\n  {'type': 'int_parsing'",
            "Bad Request",
        ),
        (
            {"messages": [], "stream_options": {"include_usage": True}},
            "only be defined when `stream=True`",
            "Bad Request",
        ),
        ({"messages": [], "tools": []}, "`tools` must not be an empty array", "Bad Request"),
        ({"messages": [], "tool_choice": "auto"}, "When using `tool_choice`, `tools` must be set.", "Bad Request"),
        ({"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}, "max_tokens must be at least 1", "BadReq"),
    ],
)
def test_bodies_that_vllm_refuses(vllm: Engine, body: dict[str, Any], part: str, kind: str) -> None:
    error = error_of(vllm, body)
    assert part in error["message"]
    assert error["type"].startswith(kind)
    assert error["code"] == 400


def test_values_are_converted_as_pydantic_does(vllm: Engine) -> None:
    answer = vllm.chat("What is 6 * 7?", max_tokens="500", n=1.0, stream="no", temperature=True)
    assert answer.json()["choices"][0]["message"]["content"] == "6 * 7 = 42."


def test_a_body_of_another_type_is_not_read(vllm: Engine) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", vllm.port, timeout=20)
    headers = {"Content-Type": "text/plain", "Authorization": f"Bearer {KEY}"}
    connection.request("POST", "/v1/chat/completions", b"{}", headers)
    response = connection.getresponse()
    text = "Unsupported Media Type: Only 'application/json' is allowed"
    assert response.status == 400
    assert json.loads(response.read())["error"]["message"] == f'1 validation error:\n  {text} ["{text}"]'
    connection.close()


def test_a_body_that_is_no_json(vllm: Engine) -> None:
    answer = vllm.request("POST", "/v1/chat/completions", body=b"{nope")
    assert answer.status == 400
    assert "'type': 'json_invalid'" in answer.json()["error"]["message"]


def test_tools_without_their_switch_are_refused(server: Any) -> None:
    engine = server(without=("--enable-auto-tool-choice", "--tool-call-parser"))
    engine.wait_ready()
    body = {"messages": [{"role": "user", "content": "weather in Paris?"}], "tools": [WEATHER]}
    message = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    assert error_of(engine, body)["message"] == message


@pytest.mark.parametrize("path", ["/health", "/ping", "/version", "/load", "/metrics", "/nowhere"])
def test_what_vllm_leaves_open(vllm: Engine, path: str) -> None:
    assert vllm.request("GET", path, key=None).status == (404 if path == "/nowhere" else 200)


def test_what_vllm_guards(vllm: Engine) -> None:
    for path in ("/v1/models", "/v1/nowhere", "/v2/rerank", "/inference/v1/generate"):
        answer = vllm.request("GET", path, key="wrong")
        assert (answer.status, answer.json()) == (401, {"error": "Unauthorized"})
    # The same answer as /v1/chat/completions, without a key: why a deployment closes the rest itself.
    body = {"messages": [{"role": "user", "content": "What is 6 * 7?"}]}
    assert vllm.request("POST", "/invocations", body, key=None).status == 200


def test_log_probabilities_of_a_chat(vllm: Engine) -> None:
    answer = vllm.chat("What is 6 * 7?", logprobs=True, top_logprobs=2).json()
    listed = answer["choices"][0]["logprobs"]["content"]
    assert len(listed) == answer["usage"]["completion_tokens"]
    assert list(listed[0]) == ["token", "logprob", "bytes", "top_logprobs"]
    assert [list(token) for token in listed[0]["top_logprobs"]] == [["token", "logprob", "bytes"]] * 2
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "top_logprobs": 2}
    assert "`logprobs` must be set to true" in error_of(vllm, body)["message"]
    assert "greater than max allowed: 20" in error_of(vllm, {**body, "logprobs": True, "top_logprobs": 21})["message"]
