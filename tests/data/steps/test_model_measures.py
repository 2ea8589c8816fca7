"""Steps that measure with a model: perplexity by hand, labels, vectors, duplicates in meaning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmos.data.synth.nearest import buckets_of, thin
from llmos.engine.base import Adapter, ScoreItem, ScoreResult
from llmos.errors import EngineError, InvalidValue, NotFound
from llmos.types import Family, TokenLogprob
from tests.data.asking import Given, column, fake_models, told
from tests.data.running import run
from tests.doubles import fake_card
from tests.engine.scoring.reader import Reader
from tests.engine.scoring.reader import session as reading

ENCODER = fake_card("fake-encoder", Family.ENCODER)


class Failing(Reader):
    """Cannot score what has "bad" in it."""

    def score(self, items: Sequence[ScoreItem], *, top: int = 0, adapter: Adapter | None = None) -> list[ScoreResult]:
        if any(b"bad" in bytes((*item.prompt, *item.continuations[0])) for item in items):
            raise EngineError("told to fail")
        return [ScoreResult(continuations=(tuple(TokenLogprob(token, -1.0) for token in item.continuations[0]),)) for item in items]


def rows(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text} for text in texts]


def test_perplexity_is_the_formula(tmp_path: Path) -> None:
    """The double finds a token -id/100 likely; the first is read only, having nothing before it."""
    models = fake_models(tmp_path)
    process = [{"perplexity": {"model": "fake", "at_most": 3.0}}]
    version = run(tmp_path, rows("abc", "zzz", "a", ""), process, models=models, keep_signals=True)
    found = column(version, "perplexity")
    assert found[0] == pytest.approx(math.exp((98 + 99) / 2 / 100))
    assert all(math.isnan(value) for value in found[1:])  # type: ignore[arg-type]
    assert [row for row, *_ in told(version, "dropped")] == ["rows#2"]
    line = version.ledger().collect().row(0, named=True)
    assert (line["signal"], line["threshold"]) == ("perplexity", 3.0)
    assert line["value"] == pytest.approx(math.exp(1.22))
    models.close()


def test_perplexity_of_a_long_text_scores_each_token_once(tmp_path: Path) -> None:
    models = fake_models(tmp_path)
    process = [{"perplexity": {"model": "fake", "window": 16}}]
    version = run(tmp_path, rows("ab" * 50), process, models=models, keep_signals=True)
    logprob = sum(-token / 100 for token in ("ab" * 50).encode()[1:])
    assert column(version, "perplexity") == [pytest.approx(math.exp(-logprob / 99))]
    models.close()


def test_classify_takes_any_model_and_long_texts_in_parts(tmp_path: Path) -> None:
    reader, engine = reading(tmp_path / "model", Family.CAUSAL)
    models = Given(tmp_path, {"reader": reader})
    process = [{"classify": {"model": "reader", "labels": ["rain", "sun"], "label_column": "weather"}}]
    version = run(tmp_path, rows("much rain", "the sun", " ", "the sun is there. " * 400), process, models=models)
    assert column(version, "weather") == ["rain", "sun", None, "sun"]
    assert column(version, "probability")[2] is None
    assert column(version, "probability")[0] == pytest.approx(1 / (1 + math.exp(-3)), abs=0.01)
    assert len(engine.calls) >= 2
    models.close()


def test_class_is_keeps_what_is_probable_enough(tmp_path: Path) -> None:
    reader, _ = reading(tmp_path / "model", Family.CAUSAL)
    models = Given(tmp_path, {"reader": reader})
    config = {"model": "reader", "labels": {"fine": "rain", "other": "sun"}, "keep": ["fine"], "min_probability": 0.6}
    version = run(tmp_path, rows("fine", "other words", "neither"), [{"class_is": config}], models=models, keep_signals=True)
    assert column(version, "text") == ["fine"]
    assert {signal for _, signal, _ in told(version, "dropped")} == {"probability of fine"}
    with pytest.raises(InvalidValue, match="'fin', which is no label"):
        run(tmp_path, rows("x"), [{"class_is": {**config, "keep": ["fin"]}}], models=models)
    models.close()


def test_vectors_have_length_one_and_empty_batches_their_columns(tmp_path: Path) -> None:
    models = fake_models(tmp_path, ENCODER)
    version = run(tmp_path, rows("some text", "", "x" * 2000), [{"embed": {"model": "fake-encoder"}}], models=models)
    found = np.array(column(version, "embedding"))
    assert found.shape == (3, 8)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    none = run(tmp_path, rows("x"), [{"text_length": {"min_chars": 9}}, {"embed": {"model": "fake-encoder"}}], models=models)
    assert (none.num_rows, "embedding" in none.scan().collect_schema()) == (0, True)
    models.close()


def test_pairs_are_kept_by_their_cosine(tmp_path: Path) -> None:
    models = fake_models(tmp_path, ENCODER)
    pairs = [{"text": "hello", "other": "hello"}, {"text": "aaaa", "other": "bbbb"}]
    process = [{"text_pair_similarity": {"model": "fake-encoder", "other_column": "other", "at_least": 0.9}}]
    version = run(tmp_path, pairs, process, models=models)
    assert column(version, "text") == ["hello"]
    assert [signal for _, signal, _ in told(version, "dropped")] == ["cosine"]
    models.close()


def test_semantic_duplicates_and_whom_is_kept(tmp_path: Path) -> None:
    models = fake_models(tmp_path, ENCODER)
    texts = rows("aaaa", "bbbb", "aaaaaaaa", "cccc")  # the double's vectors of the first and third are the same
    step = {"model": "fake-encoder", "threshold": 0.99}
    first = run(tmp_path, texts, [{"semantic_dedup": step}], models=models)
    assert column(first, "text") == ["aaaa", "bbbb", "cccc"]
    line = first.ledger().collect().row(0, named=True)
    assert (line["_id"], line["other"], line["threshold"]) == ("rows#3", "rows#1", 0.99)
    assert line["value"] == pytest.approx(1, abs=1e-3)
    longest = run(tmp_path, texts, [{"semantic_dedup": {**step, "keep": "longest"}}], models=models)
    assert column(longest, "text") == ["bbbb", "aaaaaaaa", "cccc"]
    against = run(tmp_path, rows("dddd", "cccccc"), [{"semantic_dedup": {**step, "against": [first.ref]}}], models=models, name="b")
    assert column(against, "text") == ["dddd"]
    models.close()


def test_thin_is_exact_across_blocks() -> None:
    """Against the same by definition, with more rows than a block."""
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(5000, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order, staying = np.arange(5000), np.zeros(5000, dtype=bool)
    best, nearest = thin(vectors, order, staying, 0.9)
    kept: list[int] = []
    for row in range(5000):
        cosines = vectors[kept] @ vectors[row] if kept else np.zeros(0)
        if kept and cosines.max() >= 0.9:
            assert best[row] >= 0.9
            assert vectors[nearest[row]] @ vectors[row] == pytest.approx(best[row], abs=1e-5)
        else:
            kept.append(row)
            assert best[row] < 0.9
    assert 100 < len(kept) < 4900


def test_buckets_lose_few_duplicates() -> None:
    draw = np.random.default_rng(2)
    base = draw.normal(size=(6000, 64)).astype(np.float32)
    twins = base + draw.normal(scale=0.1, size=base.shape).astype(np.float32)
    vectors = np.concatenate([base, twins])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    bucket = buckets_of(vectors, seed=0)
    assert bucket.max() + 1 == 3
    assert (bucket[:6000] == bucket[6000:]).mean() > 0.85
    assert (buckets_of(vectors, seed=0) == bucket).all()


def test_what_cannot_be_measured_names_the_row(tmp_path: Path) -> None:
    models = fake_models(tmp_path, fake_card("fake-masked", Family.MASKED))
    with pytest.raises(NotFound, match="nobody"):
        run(tmp_path, rows("x"), [{"perplexity": {"model": "nobody"}}], models=models)
    models.close()
    with pytest.raises(InvalidValue, match="asks a model, and this run has none"):
        run(tmp_path, rows("x"), [{"perplexity": {"model": "fake"}}])
    reader, engine = reading(tmp_path / "model", Family.CAUSAL)
    engine.__class__ = Failing
    failing = Given(tmp_path, {"reader": reader})
    with pytest.raises(EngineError, match="cannot read the row rows#2: told to fail"):
        run(tmp_path, rows("good", "bad", "good too"), [{"perplexity": {"model": "reader"}}], models=failing)
    failing.close()
