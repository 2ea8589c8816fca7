"""Reranking with each kind of model that can compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmos.apps.rerank import Ranked, rerank
from llmos.engine.scoring.base import sigmoid
from llmos.errors import InvalidValue, UnsupportedFeature
from llmos.settings import Settings
from llmos.types import Family
from tests.doubles import fake_card, fake_pool
from tests.engine.scoring.reader import session
from tests.engine.scoring.test_encoders import judge, real

DOCUMENTS = ["Bread is baked from flour.", "A striker scored twice in the match.", "The parliament met on Tuesday."]


def test_sentence_encoder(asset: Callable[[str], Path]) -> None:
    pytest.importorskip("torch")
    mini = real(asset("minilm"), Family.ENCODER)
    found = rerank(mini, "Who won the football game?", DOCUMENTS)
    assert found[0].index == 1
    assert sorted(ranked.index for ranked in found) == [0, 1, 2]
    assert [ranked.score for ranked in found] == sorted((ranked.score for ranked in found), reverse=True)
    assert rerank(mini, "How is bread made?", DOCUMENTS, top_n=1)[0].index == 0


def test_cross_encoder(tmp_path: Path) -> None:
    one, engine = judge(tmp_path, "ENTAILMENT")
    assert rerank(one, "x rain ", ["sun", "rain"]) == [Ranked(1, sigmoid(4.0)), Ranked(0, sigmoid(0.0))]
    assert engine.seen == ["x rain sun", "x rain rain"]
    three, _ = judge(tmp_path, "a", "b", "c")
    with pytest.raises(UnsupportedFeature, match="head of 3 labels"):
        rerank(three, "x", ["y"])


def test_language_model_is_asked(tmp_path: Path) -> None:
    reader, engine = session(tmp_path, Family.CAUSAL)
    found = rerank(reader, "a question", ["one", "two"])
    assert [ranked.index for ranked in found] == [0, 1]  # equal scores keep their order
    assert 'answer the query "a question"' in bytes(t for t in engine.calls[-1][0].prompt if t < 256).decode()


def test_refusals(settings: Settings, tmp_path: Path) -> None:
    pool = fake_pool(settings, tmp_path, cards=[fake_card("fake-masked", Family.MASKED)])
    masked = pool.session("fake-masked")
    assert rerank(masked, "x", []) == []
    with pytest.raises(UnsupportedFeature, match="masked"):
        rerank(masked, "x", ["y"])
    with pytest.raises(InvalidValue, match="query is empty"):
        rerank(masked, " ", ["y"])
    with pytest.raises(InvalidValue, match="top_n is 0"):
        rerank(masked, "x", ["y"], top_n=0)
    pool.close()
