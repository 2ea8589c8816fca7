"""The choice of an engine: by speed where it was measured, by a stated rule where not, never one whose output is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmos.engine.base import Feature, Support, Variant
from llmos.engine.choice import Candidate, Loaded, Measurement, Work, acceptable, kind_of, pick, rank

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


@pytest.mark.parametrize(("decode", "first"), [(95, "llamacpp/default"), (101, "llamacpp/f32")])
def test_another_variant_must_be_clearly_faster(decode: float, first: str) -> None:
    assert names("decode", [*TABLE, measured("llamacpp/f32", 120, decode, 96)])[0] == first


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
    assert not acceptable(decode["openvino/f32"], decode["llamacpp/default"])  # 87 %
    assert acceptable(replace(decode["openvino/f32"], speed=0.95), decode["llamacpp/default"])
    prefill = {choice.name: choice for choice in rank(CANDIDATES, TABLE, "prefill")}
    assert not acceptable(prefill["llamacpp/default"], prefill["openvino/default"])


def test_loading_counts_for_a_single_answer() -> None:
    table = [replace(TABLE[0], load_s=1.0), replace(TABLE[1], decode_tok_s=120.0, load_s=4.0)]
    assert names("decode", table)[0] == "openvino/default"
    assert names("once", table)[0] == "llamacpp/default"
    assert table[0].speed("once") == pytest.approx(64 / (1.0 + 64 / 90))


@pytest.mark.parametrize(
    ("reads", "writes", "others", "kind"),
    [
        (0, 0, 0, "mixed"),  # nothing is known yet: a model is loaded
        (0, 0, 1, "batch"),
        (40, 200, 0, "decode"),
        (40, 200, 1, "batch"),
        (4000, 10, 0, "prefill"),
        (4000, 10, 3, "batch"),
        (160, 10, 0, "prefill"),
        (159, 10, 0, "decode"),
    ],
)
def test_the_work_of_a_request_is_read_from_its_sizes_and_its_company(reads: int, writes: int, others: int, kind: Work) -> None:
    assert kind_of(reads=reads, writes=writes, others=others) == kind


def picked(work: Work, loaded: dict[str, int], *, demanding: bool = True) -> str | None:
    """loaded: name -> requests that hold it."""
    engines = [Loaded(name=name, users=users) for name, users in loaded.items()]
    return pick(engines, rank(CANDIDATES, TABLE, work), demanding=demanding)


def test_nothing_loaded_means_loading() -> None:
    assert picked("decode", {}) is None
    assert picked("decode", {"other/default": 3}) is None


def test_the_fastest_idle_engine_is_taken() -> None:
    assert picked("decode", {"openvino/f32": 0, "llamacpp/default": 0}) == "llamacpp/default"
    assert picked("batch", {"openvino/f32": 0, "llamacpp/default": 0}) == "openvino/f32"


def test_a_much_faster_engine_is_loaded_only_for_work_that_was_stated() -> None:
    assert picked("batch", {"llamacpp/default": 0}) is None
    assert picked("batch", {"llamacpp/default": 0}, demanding=False) == "llamacpp/default"


def test_a_request_joins_the_engine_at_work_whatever_its_speed() -> None:
    assert picked("batch", {"llamacpp/default": 1, "openvino/f32": 0}) == "llamacpp/default"
    assert picked("batch", {"llamacpp/default": 1}) == "llamacpp/default"
    assert picked("batch", {"llamacpp/default": 2, "openvino/f32": 1}) == "openvino/f32"


def test_an_engine_at_work_that_lacks_a_feature_is_not_joined() -> None:
    ranking = [way for way in rank(CANDIDATES, TABLE, "batch") if way.backend == "openvino"]
    assert pick([Loaded(name="llamacpp/default", users=2)], ranking, demanding=False) is None
