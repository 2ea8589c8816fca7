"""Steps that choose among all rows; the same rows however the input is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.running import run

VALUES = [3, 1, 3, None, 2, 9, 1, 3]
ROWS: list[dict[str, Any]] = [{"text": f"row {at}", "at": at, "v": value} for at, value in enumerate(VALUES)]


def chosen(tmp_path: Path, step: str, **params: Any) -> list[int]:
    """Places of the kept rows, the same in one batch and in many."""
    whole = run(tmp_path / "a", ROWS, [{step: params}])
    cut = run(tmp_path / "b", ROWS, [{step: params}], read={"batch_bytes": 40, "slice_bytes": 90})
    found = [version.scan().collect().get_column("at").to_list() for version in (whole, cut)]
    assert found[0] == found[1]
    places: list[int] = found[0]
    return places


@pytest.mark.parametrize(
    ("step", "params", "places"),
    [
        ("top_by_field", {"num": 2}, [0, 5]),
        ("top_by_field", {"share": 0.5}, [0, 2, 5, 7]),
        ("top_by_field", {"num": 3, "highest": False}, [1, 4, 6]),
        ("top_by_field", {"num": 99}, [0, 1, 2, 4, 5, 6, 7]),
        ("range_by_field", {"lower_rank": 2, "upper_rank": 5}, [0, 2, 4]),
        ("range_by_field", {"lower_share": 0.25, "upper_share": 0.75}, [0, 2, 4, 7]),
        ("frequent_values", {"num": 1}, [0, 2, 7]),
        ("frequent_values", {"num": 2, "most": False}, [3, 4]),
    ],
)
def test_which_rows_are_chosen(tmp_path: Path, step: str, params: dict[str, Any], places: list[int]) -> None:
    assert chosen(tmp_path, step, field="v", **params) == places


def test_the_ledger_has_rank_and_threshold(tmp_path: Path) -> None:
    version = run(tmp_path, ROWS, [{"top_by_field": {"field": "v", "num": 2}}])
    told = version.ledger().collect().filter(signal="rank").sort("value").row(0, named=True)
    assert (told["value"], told["threshold"]) == (2.0, 2.0)
