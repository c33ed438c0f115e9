"""What the server offers: the name that requests put into `model`, and the longest context it accepts."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["OPENAI_BASE_URL"])

for model in client.models.list():
    # max_model_len is an addition of both engines.
    print(model.id, getattr(model, "max_model_len", "unknown"), "tokens")
