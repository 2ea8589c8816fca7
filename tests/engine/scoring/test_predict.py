"""The question is checked, the way is chosen and said, the numbers are probabilities."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from llmos.engine.scoring import predict, strategies
from llmos.engine.scoring.base import sigmoid, softmax
from llmos.errors import EngineError, InvalidValue, UnsupportedFeature
from llmos.settings import Settings
from llmos.types import Family
from tests.doubles import fake_pool
from tests.engine.scoring.reader import session


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"labels": []}, "labels"),
        ({"labels": ["one"]}, "labels"),
        ({"labels": "yes"}, "labels"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"labels": ["a", " "]}, "labels"),
        ({"labels": {"a": "same", "b": "same"}}, "labels"),
        ({"labels": ["a", 1]}, "labels"),
        ({"threshold": 1.5}, "threshold"),
        ({"texts": ["a", 3]}, "text"),
        ({"template": "no place"}, "template"),
    ],
)
def test_bad_questions_name_the_field(tmp_path: Path, changes: dict[str, Any], param: str) -> None:
    reader, _ = session(tmp_path, Family.CAUSAL)
    asked: dict[str, Any] = {"texts": "x", "labels": ["a", "b"], **changes}
    with pytest.raises(InvalidValue) as caught:
        predict(reader, asked.pop("texts"), asked.pop("labels"), **asked)
    assert caught.value.param == param


def test_one_text_or_a_list(tmp_path: Path) -> None:
    reader, _ = session(tmp_path, Family.CAUSAL)
    one = predict(reader, "all about cats", ["cats", "dogs"])
    assert one.label == "cats"
    assert one.probability == one.probabilities["cats"] > 0.9
    assert predict(reader, ["all about cats", "dogs"], ["cats", "dogs"])[0] == one
    assert predict(reader, [], ["cats", "dogs"]) == []
    assert (one.strategy, one.model) == ("likelihood", reader.card.ref)
    assert "causal" in one.why


def test_every_family_that_can_is_served(settings: Settings, tmp_path: Path) -> None:
    pool = fake_pool(settings, tmp_path)
    labels = {"fake": ("likelihood", ["good", "bad"]), "fake-seq2seq": ("likelihood", ["good", "bad"])}
    labels |= {"fake-encoder": ("similarity", ["good", "bad"]), "fake-masked": ("cloze", ["good", "bad"])}
    labels |= {"fake-classifier": ("head", ["Positive", "negative"])}
    for name, (strategy, names) in labels.items():
        found = predict(pool.session(name), ["a text", "another one"], names)
        assert [prediction.strategy for prediction in found] == [strategy] * 2, name
        for prediction in found:
            assert math.isclose(sum(prediction.probabilities.values()), 1.0)
            assert list(prediction.probabilities.values()) == sorted(prediction.probabilities.values(), reverse=True)
            assert set(prediction.probabilities) == set(names)
        marked = predict(pool.session(name), "a text", names, multi_label=True, threshold=0.0)
        assert set(marked.labels) == set(names)
        assert predict(pool.session(name), "a text", names, multi_label=True, threshold=1.0).labels == ()
    pool.close()


def test_labels_that_no_way_knows(settings: Settings, tmp_path: Path) -> None:
    pool = fake_pool(settings, tmp_path)
    with pytest.raises(UnsupportedFeature, match="does not know 'sports'") as caught:
        predict(pool.session("fake-classifier"), "x", ["sports", "positive"])
    assert "negative, neutral, positive" in caught.value.hint
    with pytest.raises(UnsupportedFeature, match="tagger"):
        predict(pool.session("fake-tagger"), "x", ["a", "b"])
    pool.close()


def test_ranks_are_distinct_so_that_the_choice_is_certain() -> None:
    ranks = [strategy.rank for _, strategy in strategies]
    assert len(set(ranks)) == len(ranks) == 5


def test_numbers_that_are_none_are_errors() -> None:
    assert softmax([-math.inf, 0.0]) == [0.0, 1.0]
    assert math.isclose(sum(softmax([1e6, 1e6 - 1, -1e6])), 1.0)
    assert (sigmoid(0), sigmoid(-1e9), sigmoid(1e9)) == (0.5, 0.0, 1.0)
    with pytest.raises(EngineError, match="not numbers"):
        softmax([math.nan, 0.0])
    with pytest.raises(EngineError, match="not a number"):
        sigmoid(math.nan)
