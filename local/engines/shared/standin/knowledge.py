"""What the stand-in can answer: a handful of facts, small sums, and otherwise the admission that it is no model."""

from __future__ import annotations

import json
import re
from typing import Any

_CAPITALS = {
    "france": "Paris", "germany": "Berlin", "japan": "Tokyo", "italy": "Rome", "spain": "Madrid", "china": "Beijing",
    "canada": "Ottawa", "australia": "Canberra", "austria": "Vienna", "switzerland": "Bern", "egypt": "Cairo",
    "the united kingdom": "London", "the united states": "Washington, D.C.", "brazil": "Brasília", "india": "New Delhi",
}  # fmt: skip

_KNOWN = (
    (r"\bsay hello\b|^\s*(hello|hi|hey)\b", "Hello! How can I help you today?"),
    (
        r"\bquicksort\b",
        "Quicksort picks a pivot, splits the list into smaller and larger elements, and sorts both parts the same way, "
        "in O(n log n) steps on average.",
    ),
    (r"\bhaiku\b", "Fans hum in the dark,\na thousand cores dream as one —\nwarm light on the rack."),
    (r"x(²|\^2|\*\*2)\s*\+\s*5x\s*\+\s*6", "x² + 5x + 6 = (x + 2)(x + 3), so x = −2 or x = −3."),
    (
        r"√2|sqrt\(?2\)?|square root of (2|two)",
        "Suppose √2 = p/q in lowest terms. Then p² = 2q², so p is even, p = 2r, and q² = 2r² makes q even too: "
        "a contradiction. So √2 is irrational.",
    ),
    (r"colou?r of (a|the) (clear |daytime )*sky|sky\b.*\bcolou?r", "Blue."),
    (r"days? .*\bin a week\b", "A week has 7 days."),
    (r"\bwater\b.*\bboil", "At sea level water boils at 100 °C."),
    (
        r"\b(who|what) are you\b|which model",
        "I am the stand-in engine of the local cloud: I speak the real server's protocol, but there is no language "
        "model behind me.",
    ),
)

_PLANETS = [
    {"name": "Mercury", "diameter_km": 4879},
    {"name": "Venus", "diameter_km": 12104},
    {"name": "Earth", "diameter_km": 12742},
]

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_EXACTLY = re.compile(
    r"(?:reply|answer|respond)\s+(?:with\s+)?(?:exactly|only)?(?:\s+the\s+word)?:?\s*[\"“'](.+?)[\"”']", re.I | re.S
)
_SUM = re.compile(rf"{_NUMBER}\s*(\+|-|−|\*|×|x|/|÷|plus|minus|times|divided by|multiplied by)\s*{_NUMBER}", re.I)


def answer(question: str) -> str:
    """Plain text; the same question always gets the same answer."""
    exact = _EXACTLY.search(question)
    if exact:
        return exact[1]
    for pattern, text in _KNOWN:
        if re.search(pattern, question, re.I):
            return text
    capital = re.search(r"capital (?:city )?of ([\w ]+)", question, re.I)
    if capital:
        country = capital[1].strip().lower().removesuffix(" is")
        if country in _CAPITALS:
            return f"The capital of {capital[1].strip().removesuffix(' is')} is {_CAPITALS[country]}."
    result = _calculate(question)
    if result is not None:
        return result
    asked = " ".join(question.split())
    if len(asked) > 80:
        asked = asked[:60].rstrip() + " … " + asked[-16:].lstrip()
    return f"This is the local stand-in, not GLM, and it has no answer of its own. You wrote: “{asked}”."


def reasoning(question: str) -> str:
    words = " ".join(question.split())[:40].rstrip()
    return f"The user wrote “{words}”. A short answer will do."


def json_answer(question: str, schema: dict[str, Any] | None) -> str:
    """A JSON document: an instance of the schema if there is one, else an object that answers."""
    if schema is not None:
        return json.dumps(instance(schema, question), ensure_ascii=False)
    if re.search(r"\bplanets\b", question, re.I):
        return json.dumps({"planets": _PLANETS})
    return json.dumps({"answer": answer(question)}, ensure_ascii=False)


def instance(schema: dict[str, Any], question: str, root: dict[str, Any] | None = None) -> Any:
    """A value that a simple JSON schema accepts, using the question's words where it wants text."""
    root = root or schema
    reference = schema.get("$ref", "")
    if reference.startswith("#/"):
        target: Any = root
        for part in reference[2:].split("/"):
            target = target.get(part, {}) if isinstance(target, dict) else {}
        return instance(target, question, root) if target is not schema else None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        mentioned = (v for v in schema["enum"] if str(v).lower() in question.lower())
        return next(mentioned, schema["enum"][0])
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return instance(schema[key][0], question, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    match kind:
        case "object":
            return {name: instance(value, question, root) for name, value in schema.get("properties", {}).items()}
        case "array":
            items = schema.get("items", {"type": "string"})
            return [instance(items, question, root) for _ in range(max(1, schema.get("minItems", 1)))]
        case "integer" | "number":
            found = re.search(_NUMBER, question)
            value = float(found[1]) if found else float(schema.get("minimum", 1))
            value = min(max(value, schema.get("minimum", value)), schema.get("maximum", value))
            return int(value) if kind == "integer" else value
        case "boolean":
            return True
        case "null":
            return None
    return subject(question)


def subject(question: str) -> str:
    """The name a question is about: its last capitalised words, or its last word."""
    names = re.findall(r"(?<![.!?“\"]\s)(?<!^)\b[A-ZÄÖÜ]\w+(?:\s+[A-ZÄÖÜ]\w+)*", question.strip())
    if names:
        return names[-1]
    words = re.findall(r"\w+", question)
    return words[-1] if words else ""


def pick_tool(tools: list[dict[str, Any]], question: str) -> dict[str, Any] | None:
    """The function whose name or description shares a telling word with the question."""
    asked = {_stem(word) for word in re.findall(r"[a-z]{4,}", question.lower())} - _COMMON
    best: tuple[int, dict[str, Any] | None] = (0, None)
    for tool in tools:
        function = tool.get("function", {})
        text = f"{function.get('name', '')} {function.get('description', '')}".replace("_", " ").lower()
        shared = len(asked & {_stem(word) for word in re.findall(r"[a-z]{4,}", text)})
        if shared > best[0]:
            best = (shared, function)
    return best[1]


def tool_summary(name: str | None, result: str) -> str:
    """The final answer after a tool has answered."""
    try:
        document = json.loads(result)
    except ValueError:
        document = result
    if isinstance(document, dict):
        said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in document.items())
    else:
        said = str(document)
    return f"According to {name or 'the tool'}: {said}."


_COMMON = frozenset(
    word[:6]
    for word in ("what", "with", "that", "this", "from", "have", "please", "tell", "call", "tool", "function", "which")
)


def _stem(word: str) -> str:
    return word[:6].removesuffix("s")


def _calculate(question: str) -> str | None:
    match = _SUM.search(question)
    if match is None:
        return None
    left, sign, right = float(match[1]), match[2].lower(), float(match[3])
    if sign in ("+", "plus"):
        value = left + right
    elif sign in ("-", "−", "minus"):
        value = left - right
    elif sign in ("/", "÷", "divided by"):
        if right == 0:
            return "Division by zero has no result."
        value = left / right
    else:
        value = left * right
    return f"{match[1]} {match[2]} {match[3]} = {value:g}."
