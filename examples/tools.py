"""Tool calling in two steps: the model asks for a function's result, you compute it, the model answers with it."""

import json
import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["OPENAI_BASE_URL"])
model = os.environ["MODEL"]


def get_weather(city: str, unit: str = "celsius") -> dict[str, object]:
    """Where a real program would ask a weather service."""
    return {"city": city, "temperature": 22 if unit == "celsius" else 72, "unit": unit, "sky": "clear"}


functions = {"get_weather": get_weather}
tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city right now",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["city"],
            },
        },
    }
]

messages = [{"role": "user", "content": "What is the weather like in Tokyo?"}]
first = client.chat.completions.create(model=model, messages=messages, tools=tools, tool_choice="auto")
asked = first.choices[0].message
print("finish reason:", first.choices[0].finish_reason)

# What the model said goes back as it came, then one result for each call that it made.
messages.append(asked.model_dump(exclude_none=True))
for call in asked.tool_calls or []:
    arguments = json.loads(call.function.arguments)
    result = functions[call.function.name](**arguments)
    print(f"call: {call.function.name}({arguments}) -> {result}")
    messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})

final = client.chat.completions.create(model=model, messages=messages, tools=tools)
print("answer:", final.choices[0].message.content)
