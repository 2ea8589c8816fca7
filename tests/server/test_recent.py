"""Rates and first tokens of the last seconds: pure figures, and the notes they come from."""

from __future__ import annotations

import pytest

from llmos.server.recent import Recent, Span, rates


def span(begin: float, end: float | None, tokens: int, model: str = "m") -> Span:
    return Span(model, lambda: tokens, begin, end)


@pytest.mark.parametrize(
    ("spans", "rate"),
    [
        ([span(95, 99, 40)], 4.0),  # all of it in the window of ten seconds
        ([span(80, 95, 150)], 5.0),  # a third of its time
        ([span(80, 90, 100)], 0.0),  # over before the window
        ([span(80, None, 100)], 5.0),  # runs since twenty seconds
        ([span(99, None, 10), span(91, 93, 10)], 2.0),
        ([], 0.0),
        ([span(100, None, 5)], 0.5),  # began this moment
    ],
)
def test_tokens_count_as_far_as_their_time_lies_in_the_window(spans: list[Span], rate: float) -> None:
    assert rates(spans, 100.0).get("m", 0.0) == pytest.approx(rate)


def test_models_are_told_apart() -> None:
    found = rates([span(95, 99, 40, "a"), span(95, 99, 20, "b"), span(98, None, 10, "a")], 100.0)
    assert found == pytest.approx({"a": 5.0, "b": 2.0})


def test_a_request_is_counted_while_it_runs_and_after() -> None:
    recent, tokens = Recent(), [0]
    assert recent.rates() == {} and recent.ttft_p50_s() is None
    end = recent.begin("m", lambda: tokens[0])
    tokens[0] = 50
    running = recent.rates()["m"]
    assert running == pytest.approx(5.0)
    end()
    tokens[0] = 5000  # what is read of it after its end does not count
    end()
    assert recent.rates()["m"] == pytest.approx(5.0, rel=0.2)


def test_the_median_of_first_tokens() -> None:
    recent = Recent()
    for seconds in (0.3, 0.1, 9.0):
        recent.first(seconds)
    assert recent.ttft_p50_s() == 0.3
