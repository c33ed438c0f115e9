"""The table of features: it names tests that exist, and local/README.md shows it as it is."""

from __future__ import annotations

import ast
from importlib import metadata

from tests.modal_cloud.features import BEGIN, FEATURES, NO, PARTLY, README, REPOSITORY, VERSIONS, YES, with_table

ALL = [feature for features in FEATURES.values() for feature in features]


def test_every_test_that_is_named_exists() -> None:
    named = {test for feature in ALL for test in feature.tests}
    known = set()
    for file in {test.partition("::")[0] for test in named}:
        tree = ast.parse((REPOSITORY / "tests" / "modal_cloud" / f"{file}.py").read_text(encoding="utf-8"))
        known |= {
            f"{file}::{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
    assert named - known == set()


def test_what_is_there_has_a_test_and_what_is_not_a_word_on_it() -> None:
    for feature in ALL:
        assert feature.state in (YES, PARTLY, NO), feature
        assert feature.tests or feature.state == NO, feature
        assert feature.note or feature.tests, feature
        assert feature.note or feature.state != PARTLY, feature


def test_the_readme_shows_the_table() -> None:
    document = README.read_text(encoding="utf-8")
    assert BEGIN in document
    assert document == with_table(document), "python -m tests.modal_cloud.features"


def test_the_installed_sdk_is_one_of_those_that_are_told() -> None:
    assert metadata.version("modal") in VERSIONS
