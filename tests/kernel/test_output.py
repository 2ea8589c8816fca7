"""What a process prints becomes lines of bounded size and number, and what is cut is counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmos.kernel.output import BURST_LINES, LINES_PER_S, MAX_LINE_CHARS, Lines, LogLimit, log_event


def texts(lines: Lines, *pieces: bytes) -> list[str]:
    events = [event for piece in pieces for event in lines.feed(piece)]
    return [str(event.data["text"]) for event in [*events, *lines.rest()]]


@given(text=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=60), cut=st.integers(0, 60))
def test_lines_do_not_depend_on_how_they_arrive(text: str, cut: int) -> None:
    data = f"{text}\nsecond\r\nthird".encode()
    expected = [*([text] if text else []), "second", "third"]
    assert texts(Lines("info"), data) == texts(Lines("info"), data[:cut], data[cut:]) == expected


def test_a_line_without_end_is_cut_into_pieces() -> None:
    found = texts(Lines("info"), b"x" * (40 * MAX_LINE_CHARS))
    assert 8 <= len(found) <= 11
    assert all(len(text) < MAX_LINE_CHARS + 60 and "characters more" in text for text in found)


def test_a_log_holds_no_control_characters() -> None:
    event = log_event("a\x1b[31mred\x07\x00\r\nnext\tcolumn\x85\x9b\u202e\u2066\u2028", "info")
    assert event.data["text"] == "a[31mred\nnext\tcolumn"


def test_a_flood_is_cut_counted_and_over_after_a_while() -> None:
    clock = [0.0]
    limit = LogLimit(lambda: clock[0])
    event = log_event("x", "info")
    kept = [one for _ in range(BURST_LINES + 500) for one in limit.admit(event)]
    assert len(kept) == BURST_LINES
    clock[0] = 10.0
    later = list(limit.admit(event))
    assert len(later) == 2 and later[0].data["text"].startswith("500 lines")
    assert len([one for _ in range(1000) for one in limit.admit(event)]) == 10 * LINES_PER_S - 1
    assert next(iter(limit.rest())).data["text"].startswith("951 lines")
    assert list(limit.rest()) == []
