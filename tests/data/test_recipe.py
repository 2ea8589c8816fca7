"""Values given beside a recipe: what YAML says they are, and nothing that costs more than it says."""

from __future__ import annotations

import pytest

from llmos.data.recipe import Recipe
from llmos.errors import InvalidValue

DOCUMENT = {"sources": [{"rows": [{"text": "a"}]}], "process": ["text_length"]}


def test_values_are_plain_data() -> None:
    made = Recipe.build(DOCUMENT, ["process.text_length.min_chars=3", "sources.0.rows=[{text: 2026-01-02, 5: x}]", "seed=7"])
    assert made.process[0].params == {"min_chars": 3} and made.seed == 7
    assert made.sources[0].rows == ({"text": "2026-01-02", "5": "x"},)
    assert made.digest == Recipe.model_validate(made.model_dump(mode="json")).digest


@pytest.mark.parametrize("value", ["[", "{a: b", "[" * 20_000, "!!python/object:os.system []", "2026-99-99"])
def test_what_is_no_yaml_is_told(value: str) -> None:
    with pytest.raises(InvalidValue, match="name is not YAML"):
        Recipe.build(DOCUMENT, [f"name={value}"])


def test_a_value_cannot_grow() -> None:
    """Nine levels of four aliases are a gigabyte."""
    levels = ", ".join(f"&a{level} [*a{level - 1}, *a{level - 1}, *a{level - 1}, *a{level - 1}]" for level in range(1, 6))
    with pytest.raises(InvalidValue, match="no aliases"):
        Recipe.build(DOCUMENT, [f"sources.0.rows=[{{text: [&a0 [x, x], {levels}]}}]"])


def test_a_recipe_may_repeat_itself_and_not_hold_itself() -> None:
    twice = Recipe.parse("sources: [{rows: []}]\nprocess: [text_length: &all {min_chars: 3}, text_length: *all]")
    assert [call.params for call in twice.process] == [{"min_chars": 3}] * 2
    with pytest.raises(InvalidValue, match="not plain data"):
        Recipe.parse("sources: &all [*all]")
