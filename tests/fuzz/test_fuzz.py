"""A short run over the same cases every time; `make fuzz` goes further. A case found there becomes a test of its parser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.__main__ import run_case
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_read_or_refused(tmp_path: Path, name: str) -> None:
    wrong = {number: wrong for number in range(500) if (wrong := run_case(name, number, tmp_path)[0])}
    assert wrong == {}


@pytest.mark.parametrize("name", TARGETS)
def test_the_cases_reach_both_ends(tmp_path: Path, name: str) -> None:
    """Of the damaged inputs some are still read and some refused; a fuzzer that only gets the door slammed finds nothing."""
    target, outcomes = TARGETS[name], set()
    for number in range(200):
        run_case(name, number, tmp_path)
        try:
            target.call(tmp_path / target.file)
            outcomes.add("read")
        except target.refusal:
            outcomes.add("refused")
        except target.others:
            pass
    assert outcomes == {"read", "refused"}
