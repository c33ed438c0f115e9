"""The engine's Prometheus metrics: how many requests run and wait on the replica that happened to answer."""

import os
import urllib.request

root = os.environ["OPENAI_BASE_URL"].removesuffix("/").removesuffix("/v1")
# Unlike /health, this needs the key.
headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
with urllib.request.urlopen(urllib.request.Request(f"{root}/metrics", headers=headers), timeout=160) as response:
    text = response.read().decode()

names = {
    "sglang:num_running_reqs": "running",
    "sglang:num_queue_reqs": "waiting",
    "sglang:generation_tokens_total": "tokens generated",
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:generation_tokens_total": "tokens generated",
}
totals: dict[str, float] = {}
families = set()
for line in text.splitlines():
    if line.startswith("# TYPE "):
        families.add(line.split()[2])
    elif line and not line.startswith("#"):
        name = names.get(line.partition("{")[0].partition(" ")[0])
        if name:
            # Samples of several ranks or models add up.
            totals[name] = totals.get(name, 0.0) + float(line.rpartition("}")[2].split()[0])
print(f"{len(families)} metrics")
for name, value in totals.items():
    print(f"{name}: {value:g}")
