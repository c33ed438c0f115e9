"""At GLM-5.1's dimensions the stand-in compiles the shapes that the real engine compiles; and what it imports."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

from tests.engines.conftest import ROOT, recorded

PROGRAM = """
import json, sys
from sglang.arguments import ServerArgs
from sglang.model_kernels import gemm_shapes
args = ServerArgs({"tp_size": 1, "speculative_algorithm": "EAGLE"})
shapes = gemm_shapes(json.loads(sys.argv[1]), args)
print(json.dumps([[s.n, s.k, s.stage, s.memory_gb(16384)] for s in shapes]))
"""


def test_shapes_and_their_memory() -> None:
    recording = recorded("shapes.json")
    folders = f"{ROOT}/local/engines/shared:{ROOT}/local/engines/sglang"
    environment = {"PYTHONPATH": folders, "LOCAL_IMAGE_TAG": "lmsysorg/sglang:v0.5.10.post1"}
    command = [sys.executable, "-c", PROGRAM, json.dumps(recording["config"])]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    shapes = json.loads(output)
    for stage, name in (("capture", "target"), ("draft", "draft"), ("prefill", "first_request")):
        assert [shape[:2] for shape in shapes if shape[2] == stage] == recording[name]
    memory = {f"{n}x{k}": gigabytes for n, k, _, gigabytes in shapes}
    assert {shape: memory[shape] for shape in recording["memory_gb"]} == recording["memory_gb"]


def test_it_needs_nothing_that_the_image_does_not_bring() -> None:
    allowed = {*sys.stdlib_module_names, "standin", "sglang", "vllm", "yaml"}  # PyYAML is in the real image
    for path in (ROOT / "local" / "engines").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= allowed, path
