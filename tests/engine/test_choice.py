"""The choice of an engine: by speed where it was measured, by a stated rule where not, never one whose output is wrong."""

from __future__ import annotations

import pytest

from llmos.engine.base import Feature, Support, Variant
from llmos.engine.choice import Candidate, Measurement, Work, acceptable, rank

SUPPORT = Support(ok=True, why="", features=frozenset({Feature.GENERATE}), variants=(Variant(name="default"), Variant(name="f32")))
CANDIDATES = [Candidate(backend=name, support=SUPPORT) for name in ("llamacpp", "openvino", "zebra")]


def measured(name: str, prefill: float, decode: float, batch: float, *, agrees: bool = True) -> Measurement:
    backend, _, variant = name.partition("/")
    return Measurement(
        backend=backend, variant=variant, prefill_tok_s=prefill, decode_tok_s=decode, batch_tok_s=batch, agrees=agrees, why="test"
    )


TABLE = [
    measured("llamacpp/default", 120, 90, 96),
    measured("openvino/default", 1500, 60, 200),
    measured("openvino/f32", 980, 78, 348),
]


def names(work: Work, table: list[Measurement], wanted: str | None = None) -> list[str]:
    return [choice.name for choice in rank(CANDIDATES, table, work, wanted=wanted)]


@pytest.mark.parametrize(
    ("work", "first"),
    [("prefill", "openvino/default"), ("decode", "llamacpp/default"), ("batch", "openvino/f32"), ("mixed", "openvino/f32")],
)
def test_the_fastest_for_the_work_comes_first(work: Work, first: str) -> None:
    assert names(work, TABLE)[0] == first


def test_the_unmeasured_come_after_the_measured() -> None:
    assert names("decode", TABLE)[:3] == ["llamacpp/default", "openvino/f32", "openvino/default"]
    assert set(names("decode", TABLE)[3:]) == {"llamacpp/f32", "zebra/default", "zebra/f32"}


@pytest.mark.parametrize(
    ("work", "first"), [("decode", "llamacpp/default"), ("prefill", "openvino/default"), ("batch", "openvino/default")]
)
def test_the_rule_without_a_table(work: Work, first: str) -> None:
    ranking = rank(CANDIDATES, [], work)
    assert ranking[0].name == first
    assert "by rule, not measured" in ranking[0].why
    assert ranking[-1].backend == "zebra"


def test_an_engine_that_disagrees_is_never_chosen() -> None:
    table = [measured("openvino/default", 9000, 9000, 9000, agrees=False), *TABLE[:1]]
    assert "openvino/default" not in names("decode", table)


def test_the_user_overrules() -> None:
    assert names("decode", TABLE, "zebra") == ["zebra/default", "zebra/f32"]
    assert names("decode", TABLE, "openvino/f32") == ["openvino/f32"]
    assert names("decode", TABLE, "nothing") == []


def test_the_reason_has_the_numbers() -> None:
    why = rank(CANDIDATES, TABLE, "decode")[1].why
    assert why == "measured here: 980 tok/s reading, 78 writing one answer, 348 writing eight; 87% of the best for decode work"


def test_a_loaded_engine_that_is_nearly_as_fast_is_good_enough() -> None:
    decode = {choice.name: choice for choice in rank(CANDIDATES, TABLE, "decode")}
    assert acceptable(decode["openvino/f32"], decode["llamacpp/default"])
    prefill = {choice.name: choice for choice in rank(CANDIDATES, TABLE, "prefill")}
    assert not acceptable(prefill["llamacpp/default"], prefill["openvino/default"])
