"""Turns a chat or completion request into what will be answered: reasoning, content, tool calls, how it ends."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from standin import knowledge, tokens
from standin.environment import fault

_MESSAGE_OVERHEAD = 4
_TEMPLATE_OVERHEAD = 6
_NONSENSE = ("the", "of", "of", "a", "and", "seven", "is", "is", "to", "or", "which", "the", "the")


@dataclass
class Plan:
    """One choice, as lists of tokens; `finish` as OpenAI names it, `matched` the stop text or token id."""

    reasoning: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    hidden: int = 0
    """Tokens that reach nobody as text: the tags around reasoning, a tool call's own syntax, the end token."""
    finish: str = "stop"
    matched: int | str | None = None

    @property
    def completion_tokens(self) -> int:
        return len(self.reasoning) + len(self.content) + self.hidden

    def end_after(self, count: int, finish: str) -> None:
        """Keeps the first `count` tokens of a plan that is longer."""
        tags = 1 if self.reasoning else 0
        self.reasoning = self.reasoning[:count]
        self.content = self.content[: max(0, count - len(self.reasoning) - tags)]
        self.calls = []
        self.hidden = count - len(self.reasoning) - len(self.content)
        self.finish, self.matched = finish, None


def prompt_tokens(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> int:
    total = _TEMPLATE_OVERHEAD
    for message in messages:
        total += _MESSAGE_OVERHEAD + tokens.count(tokens.content_text(message.get("content")))
        for call in message.get("tool_calls") or []:
            total += tokens.count(json.dumps(call.get("function", {})))
    return total + sum(tokens.count(json.dumps(tool)) for tool in tools or [])


def prompts(prompt: Any) -> list[Any]:
    """The prompts of a text completion: texts or lists of token ids; none where the request's value is neither."""
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt and all(isinstance(item, int) for item in prompt):
        return [prompt]
    return prompt if isinstance(prompt, list) else []


def plan_chat(request: dict[str, Any], limit: int, end_token: int, reasons: bool, calls_tools: bool) -> Plan:
    """One choice for a validated request, at most `limit` tokens long.

    Whether the server separates reasoning and tool calls from the text is its flags' decision: without the parsers
    both stay in the text, as the model wrote them.
    """
    messages = request["messages"]
    asked = _question(messages)
    plan = Plan(matched=end_token, hidden=1)
    tools = request.get("tools") or []
    call = None if request.get("tool_choice") == "none" else _tool_call(request, tools, messages, asked)
    text = _text(request, messages, asked)
    if call is not None and not calls_tools:
        text = f"<tool_call>{call['function']['name']}{call['function']['arguments']}</tool_call>"
    if thinks(request) and not fault("empty-answer"):
        thought = tokens.split(knowledge.reasoning(asked))
        if reasons and request.get("separate_reasoning", True):
            plan.reasoning = thought
            plan.hidden += 1
        else:
            text = f"<think>{''.join(thought)}</think>{text}"
    if call is not None and calls_tools:
        plan.calls = [call]
        plan.hidden += tokens.count(json.dumps(call["function"]))
        plan.finish = "tool_calls"
        plan.matched = None
    else:
        plan.content = tokens.split(text)
        if request.get("ignore_eos"):
            _go_on(plan, limit)
    _stop(plan, request.get("stop"))
    return _cut(plan, limit)


def plan_text(prompt: str, request: dict[str, Any], limit: int, end_token: int) -> Plan:
    """The continuation of a prompt."""
    plan = Plan(content=tokens.split(" " + _spoiled(knowledge.answer(prompt))), matched=end_token, hidden=1)
    if request.get("ignore_eos"):
        _go_on(plan, limit)
    _stop(plan, request.get("stop"))
    return _cut(plan, limit)


def _go_on(plan: Plan, limit: int) -> None:
    """As a model does whose end token is ignored."""
    filler = tokens.split(" and so on")
    plan.content += filler * (1 + max(0, limit - plan.completion_tokens) // len(filler))


def thinks(request: dict[str, Any]) -> bool:
    options = request.get("chat_template_kwargs") or {}
    if "enable_thinking" in options:
        return bool(options["enable_thinking"])
    return request.get("reasoning_effort") != "none"


def _question(messages: list[dict[str, Any]]) -> str:
    return next((tokens.content_text(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")


def _text(request: dict[str, Any], messages: list[dict[str, Any]], asked: str) -> str:
    if fault("empty-answer"):
        return ""
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        return knowledge.json_answer(asked, (form.get("json_schema") or {}).get("schema") or {})
    if form.get("type") == "json_object":
        return knowledge.json_answer(asked, None)
    if messages[-1].get("role") == "tool":
        name = next((c["function"].get("name") for m in reversed(messages) for c in m.get("tool_calls") or []), None)
        return _spoiled(knowledge.tool_summary(name, tokens.content_text(messages[-1].get("content"))))
    return _spoiled(knowledge.answer(asked))


def _spoiled(text: str) -> str:
    """The text, or with a fault ordered, what a wrongly loaded model says."""
    if not fault("bad-answer"):
        return text
    return " ".join(_NONSENSE[i % len(_NONSENSE)] for i in range(max(6, len(text.split()))))


def _tool_call(
    request: dict[str, Any], tools: list[dict[str, Any]], messages: list[dict[str, Any]], asked: str
) -> dict[str, Any] | None:
    choice = request.get("tool_choice", "auto")
    if not tools or (messages[-1].get("role") == "tool" and not isinstance(choice, dict) and choice != "required"):
        return None
    if isinstance(choice, dict):
        named = choice["function"]["name"]
        function = next(tool["function"] for tool in tools if tool["function"]["name"] == named)
    else:
        function = knowledge.pick_tool(tools, asked)
        if function is None and choice == "required":
            function = tools[0]["function"]
    if function is None:
        return None
    schema = function.get("parameters") or {"type": "object"}
    required = schema.get("required")
    arguments = knowledge.instance(schema, asked)
    if required is not None and isinstance(arguments, dict):
        arguments = {key: value for key, value in arguments.items() if key in required}
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "index": 0,
        "type": "function",
        "function": {"name": function["name"], "arguments": json.dumps(arguments, ensure_ascii=False)},
    }


def _stop(plan: Plan, stop: str | list[str] | None) -> None:
    """Ends the plan before the first stop text, in the reasoning or in the content."""
    texts = [stop] if isinstance(stop, str) else stop or []
    for part in ("reasoning", "content"):
        whole = "".join(getattr(plan, part))
        found = min(((whole.find(text), text) for text in texts if text and text in whole), default=None)
        if found is not None:
            setattr(plan, part, tokens.split(whole[: found[0]]))
            if part == "reasoning":
                plan.content, plan.calls = [], []
            plan.finish, plan.matched = "stop", found[1]
            return


def _cut(plan: Plan, limit: int) -> Plan:
    """The plan, at most `limit` tokens long."""
    if plan.completion_tokens > limit:
        plan.end_after(limit, "length")
    return plan
