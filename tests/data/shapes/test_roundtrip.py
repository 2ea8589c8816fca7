"""The law of shapes: nothing gets lost without a word. Rows of a shape come back from their record, and from any other shape that took
them without complaint, exactly as they were; and whatever a row holds, it is converted or its fault is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.data.shapes import Converter, RowProblem, Writing, convert_rows, make_options, shapes
from llmos.data.shapes.bridges import path
from llmos.errors import UnsupportedFeature
from tests.data.shapes.rows import ROWS, Row

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(("role", "content", "from", "value", "human", "assistant", "tool_calls", "function", "name", "text")),
            st.one_of(inner, st.sampled_from(("user", "assistant", "tool", "human", "gpt", "function_call", '{"name": "f"}'))),
            max_size=3,
        ),
    ),
    max_leaves=12,
)
# A set that may hold several labels is another thing than one label, and does not become it again.
WIDER = {("classification", "multi-label")}
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None, derandomize=True)


def test_every_shape_is_tested() -> None:
    assert sorted(ROWS) == shapes.names()


@pytest.mark.parametrize("name", ROWS)
def test_write_undoes_read(name: str) -> None:
    shape = shapes.get(name)

    @quick
    @given(ROWS[name])
    def check(row: Row) -> None:
        assert shape.fits(row)
        assert shape.write(shape.read(row), Writing()) == row

    check()


@pytest.mark.parametrize("name", ROWS)
def test_what_another_shape_takes_it_gives_back(name: str) -> None:
    record = shapes.get(name).record
    others = [other for other, shape in shapes if shape.record is record and other != name and (name, other) not in WIDER]

    @quick
    @given(ROWS[name])
    def check(row: Row) -> None:
        for other in others:
            new = convert_rows([row], other, source=name)[0]
            if not isinstance(new, RowProblem):
                assert convert_rows([new], name, source=other) == [row], other

    check()


NEEDED = {"answer": "chosen", "label": True, "renderer": "plain", "side": "source", "separator": " "}


@pytest.mark.parametrize("name", ROWS)
def test_every_shape_to_every_other_or_why_not(name: str) -> None:
    """Without leave to lose anything: a row, a problem that names the field, or a refusal of the pair that says what is missing."""
    converters = []
    for other, _ in shapes:
        try:
            needs = {need for each in path(shapes.get(name).record, shapes.get(other).record) for need in each.needs}
            converters.append(Converter(name, other, options=make_options({need: NEEDED[need] for need in needs})))
        except UnsupportedFeature as refusal:
            assert "cannot become" in refusal.message
    assert name in {one.target.name for one in converters}

    @settings(quick, max_examples=8)
    @given(ROWS[name])
    def check(row: Row) -> None:
        for one in converters:
            new = one.convert(row, 0)
            if isinstance(new, RowProblem):
                assert new.field and new.message, (one.target.name, new)
            else:
                assert not one.losses
                assert one.target.write(one.target.read(new), Writing(options=one.options)) == new, one.target.name

    check()


@pytest.mark.parametrize("name", ROWS)
def test_hostile_rows_are_problems_not_crashes(name: str) -> None:
    shape = shapes.get(name)
    columns = st.fixed_dictionaries({column.name: JSON for column in shape.columns})
    targets = [other for other, each in shapes if each.record is shape.record]

    @quick
    @given(st.one_of(columns, st.builds(_broken, ROWS[name], st.sampled_from(sorted(shape.names)), JSON)))
    def check(row: Row) -> None:
        shape.fits(row)
        for target in targets:
            for new in convert_rows([row], target, source=name, lossy=True):
                assert isinstance(new, dict) or (new.field and new.message)

    check()


def _broken(row: Row, column: str, value: Any) -> Row:
    return row | {column: value}
