"""JSON as the answer: any object, or one that follows a schema of yours."""

import json
import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["OPENAI_BASE_URL"])
model = os.environ["MODEL"]

free = client.chat.completions.create(
    model=model,
    # JSON mode guarantees the syntax; what is in it, only the prompt says.
    messages=[{"role": "user", "content": "Name three planets with their diameter_km, as a JSON object."}],
    response_format={"type": "json_object"},
)
print("object:", json.loads(free.choices[0].message.content))

schema = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
    "required": ["city", "country"],
    "additionalProperties": False,
}
bound = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "In which city and country is the Colosseum?"}],
    response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}},
)
place = json.loads(bound.choices[0].message.content)
print("by schema:", sorted(place))
