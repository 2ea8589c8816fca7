"""The perceptron: beats the most frequent tag on held-out Brown, finds the best path, is the same after saving, and each time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from llmos.errors import CorruptFile
from llmos.text.nlp.brown import Tagged, apart
from llmos.text.nlp.english import English
from llmos.text.nlp.lac import best_paths
from llmos.text.nlp.perceptron import Floats, Tagger, viterbi
from llmos.text.nlp.tagsets import BROWN, JIEBA, LAC, PKU, UPOS, pku_upos, upos_of_mark
from llmos.text.nlp.training import train


def test_better_than_the_most_frequent_tag(brown: list[Tagged], small_english: English) -> None:
    held = brown[3::60]
    counts = Counter((word, tag) for sentence in brown[::10] for word, tag in sentence)
    frequent = {word: tag for (word, tag), _ in sorted(counts.items(), key=lambda one: one[1])}
    found = small_english.tag_words([[word for word, _ in sentence] for sentence in held])
    pairs = [(mine, pair) for row, sentence in zip(found, held, strict=True) for (_, mine), pair in zip(row, sentence, strict=True)]
    accuracy = np.mean([mine == tag for mine, (_, tag) in pairs])
    baseline = np.mean([frequent.get(word, "nn") == tag for _, (word, tag) in pairs])
    assert accuracy > 0.92 > 0.88 > baseline


def test_training_is_repeatable_and_saving_keeps_it(brown: list[Tagged], tmp_path: Path) -> None:
    first, second = (train(brown[:400], num_epochs=2) for _ in range(2))
    assert first.tags == second.tags
    assert np.array_equal(first.weights, second.weights)
    first.save(tmp_path / "t.safetensors")
    opened = Tagger.open(tmp_path / "t.safetensors")
    texts = [[word for word, _ in sentence] for sentence in brown[500:600]]
    assert opened.features == first.features
    assert np.allclose(opened.weights, first.weights, rtol=1e-3)
    same = [
        one == other
        for row, again in zip(opened.tag(texts), first.tag(texts), strict=True)
        for one, other in zip(row, again, strict=True)
    ]
    assert np.mean(same) > 0.99
    (tmp_path / "t.safetensors").write_bytes(b"{}")
    with pytest.raises(CorruptFile, match="is no tagger of LLMOS"):
        Tagger.open(tmp_path / "t.safetensors")


def test_viterbi_finds_the_best_path() -> None:
    draw = np.random.default_rng(0)
    scores, follow = draw.normal(size=(9, 4)).astype(np.float32), draw.normal(size=(5, 4)).astype(np.float32)
    starts = np.array([0, 4, 4, 5, 9], np.int32)
    found = viterbi(scores, starts, follow)
    for start, end in pairwise(starts.tolist()):
        own = scores[start:end]
        worth = {path: _worth(path, own, follow) for path in product(range(4), repeat=end - start) if path}
        assert not worth or tuple(found[start:end]) == max(worth, key=worth.__getitem__)
    both = best_paths(scores[[0, 1, 2, 3, 5, 6, 7, 8]].reshape(2, 4, 4), follow[:4])
    assert np.array_equal(both[1], best_paths(scores[None, 5:9], follow[:4])[0])


def _worth(path: tuple[int, ...], own: Floats, follow: Floats) -> float:
    """What the score of a sequence is by definition."""
    return float(follow[-1, path[0]] + sum(own[range(len(path)), path]) + sum(follow[pair] for pair in pairwise(path)))


@pytest.mark.parametrize(
    ("word", "tag", "parts"),
    [
        ("didn't", "dod*", [("did", "dod"), ("n't", "*")]),
        ("it's", "pps+bez", [("it", "pps"), ("'s", "bez")]),
        ("Georgia's", "np$", [("Georgia", "np"), ("'s", "$")]),
        ("boys'", "nns$", [("boys", "nns"), ("'", "$")]),
        ("his", "pp$", [("his", "pp$")]),
        ("cannot", "md*", [("can", "md"), ("not", "*")]),
        ("County", "nn-tl-hl", [("County", "nn")]),
        ("gonna", "vbg+to", [("gonna", "vbg")]),
        ("de", "fw-in-tl", [("de", "fw")]),
    ],
)
def test_brown_words(word: str, tag: str, parts: Tagged) -> None:
    assert apart(word, tag) == parts


def test_tables_lead_to_universal_tags() -> None:
    for table in (BROWN, PKU, LAC, JIEBA):
        assert set(table.values()) <= set(UPOS)
    assert [pku_upos(PKU, tag, "词") for tag in ("Vg", "n", "nrx", "?")] == ["VERB", "NOUN", "NOUN", "X"]
    assert [pku_upos(JIEBA, "x", word) for word in ("，", "＋", "😀", "abc")] == ["PUNCT", "SYM", "SYM", "X"]
    assert [upos_of_mark(word) for word in ("...", "$", "a.")] == ["PUNCT", "SYM", ""]
