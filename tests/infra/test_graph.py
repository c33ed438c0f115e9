"""`python -m infra.graph`: from state and preview to a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from typing import Any

import pytest

from infra.graph.__main__ import main
from infra.graph.layout import lay_out
from infra.graph.picture import picture
from infra.graph.resources import Graph, of_preview, of_state
from tests.infra.test_policies import facts

PROD = facts().configuration
SVG = "{http://www.w3.org/2000/svg}"


def resource(name: str, kind: str, *after: str, **more: Any) -> dict[str, Any]:
    needs = [f"u::{other}" for other in after]
    return {"urn": f"u::{name}", "type": f"pulumi-python:dynamic/modal:{kind}", "dependencies": needs, **more}


STATE = {
    "deployment": {
        "resources": [
            {"urn": "u::stack", "type": "pulumi:pulumi:Stack"},
            resource("volume", "Volume", protect=True, inputs={"name": "glm51-model-weights"}),
            resource("pipeline", "PipelineApp", "volume", outputs={"version": 2, "liveVersion": 2}),
            resource(
                "weights", "ModelWeights", "volume", "pipeline", outputs={"commit": "ab" * 20, "problems": ["gone"]}
            ),
            resource("app", "ServingApp", "weights", "volume", "pipeline", outputs={"version": 4, "liveVersion": 5}),
            resource("old", "CompiledKernels", delete=True),
        ],
        "pending_operations": [{"resource": resource("smoke-test", "SmokeTest", "app"), "type": "creating"}],
    }
}


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def states(graph: Graph) -> dict[str, str]:
    return {node.name: node.state for node in graph.nodes.values()}


def test_states_of_what_is_deployed() -> None:
    graph = of_state(STATE)
    assert states(graph) == {"volume": "deployed", "pipeline": "deployed", "weights": "drifted", "app": "drifted",
                             "smoke-test": "interrupted"}  # fmt: skip


def test_an_edge_that_others_imply_is_not_drawn() -> None:
    named = {(before.removeprefix("u::"), after.removeprefix("u::")) for before, after in of_state(STATE).edges()}
    assert named == {("volume", "pipeline"), ("pipeline", "weights"), ("weights", "app"), ("app", "smoke-test")}


def test_a_preview_lies_over_what_is_there() -> None:
    steps = [
        {"op": "same", "urn": "u::volume", "newState": resource("volume", "Volume")},
        {"op": "update", "urn": "u::app", "newState": resource("app", "ServingApp", "weights")},
        {"op": "create-replacement", "urn": "u::weights", "newState": resource("weights", "ModelWeights", "volume")},
        {"op": "replace", "urn": "u::weights", "newState": resource("weights", "ModelWeights", "volume")},
        {"op": "delete-replaced", "urn": "u::weights", "oldState": resource("weights", "ModelWeights", "volume")},
        {"op": "create", "urn": "u::spend-check", "newState": resource("spend-check", "SpendCheck", "app")},
        {"op": "delete", "urn": "u::smoke-test", "oldState": resource("smoke-test", "SmokeTest", "app")},
    ]
    found = states(of_preview({"steps": steps}, of_state(STATE)))
    assert found == {"volume": "deployed", "pipeline": "deployed", "weights": "replace", "app": "update",
                     "smoke-test": "delete", "spend-check": "create"}  # fmt: skip


def test_the_same_resources_in_another_order_are_the_same_picture() -> None:
    turned = {"deployment": {**STATE["deployment"], "resources": STATE["deployment"]["resources"][::-1]}}
    assert picture(of_state(turned), "prod", PROD) == picture(of_state(STATE), "prod", PROD)


def test_each_box_says_its_name_its_state_and_its_cost() -> None:
    told = texts(picture(of_state(STATE), "prod", PROD))
    for text in ("prod: 5 resources", "volume", "protected", "glm51-model-weights", "756 GB at ababababa", "drifted",
                 "0–3 × $50.00/h", "interrupted"):  # fmt: skip
        assert text in told, text
    assert any("$12,174 a month expected" in text for text in told)


def test_what_is_planned_says_what_it_takes() -> None:
    steps = [{"op": "create", "urn": "u::kernels", "newState": resource("kernels", "CompiledKernels")}]
    told = texts(picture(of_preview({"steps": steps}, Graph()), "prod", PROD))
    assert "28–60 min, $23.33–50.00 once" in told


def test_a_long_edge_goes_around_what_lies_between() -> None:
    names = ["a", "b", "c", "d", "e"]
    layout = lay_out(names, [("a", "b"), ("b", "c"), ("a", "c"), ("d", "e"), ("e", "c")])
    assert [sorted(str(item) for item in layer) for layer in layout.layers][1] == ["('a', 'c', 1)", "b", "e"]
    (row, at), *others = layout.bends("a", "c")
    assert (row, others) == (1, [])
    assert at not in {layout.place["b"], layout.place["e"]}
    for layer in layout.layers:
        at_layer = sorted(layout.place[item] for item in layer)
        assert all(right - left >= 1 for left, right in pairwise(at_layer)), "boxes overlap"


def test_a_circle_in_a_broken_state_is_drawn_all_the_same() -> None:
    circle = {"deployment": {"resources": [resource("a", "Volume", "b"), resource("b", "Volume", "a")]}}
    assert {"a", "b"} <= set(texts(picture(of_state(circle), "prod", PROD)))


def test_without_pulumi_it_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["prod"]) == 1
    assert capsys.readouterr().err == 'error: pulumi is not on PATH; eval "$(make -s env STACK=prod)"\n'
