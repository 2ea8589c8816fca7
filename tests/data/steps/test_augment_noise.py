"""Noise, synonyms, and the measures that hold copies back: without a model."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from llmos.data.base import StepContext
from llmos.data.steps.noise import _LOOKALIKE, _NEAR, Noise
from llmos.data.synth.overlap import likeness, longest_common, rouge_l, support, words
from llmos.data.synth.thesaurus import digest_of_files, synonyms
from llmos.errors import InvalidValue, NotFound
from llmos.settings import Settings
from tests.data.asking import column, told
from tests.data.running import run

TEXT = "The committee approved the new budget for public libraries on Monday."


def varied(settings: Settings, **config: Any) -> list[str]:
    noise = Noise(Noise.Config(**config), StepContext(settings=settings))
    return [noise.vary(TEXT, random.Random(seed)) for seed in range(50)]


@pytest.mark.parametrize("kind", ["keyboard", "ocr", "swap_letters", "drop_letters", "insert_letters"])
def test_one_word_in_ten_has_one_mistake(settings: Settings, kind: str) -> None:
    for made in varied(settings, kinds=(kind,)):
        pairs = [(a, b) for a, b in zip(TEXT.split(), made.split(), strict=True) if a != b]
        assert len(pairs) <= 1  # a swap of equal letters changes nothing
        for before, after in pairs:
            change = {"drop_letters": -1, "insert_letters": 1}.get(kind, 0)
            assert kind == "ocr" or len(after) - len(before) == change
            if kind == "swap_letters":
                assert sorted(before) == sorted(after)


def test_words_swap_and_go_with_their_space(settings: Settings) -> None:
    for made in varied(settings, kinds=("drop_words",), rate=0.3):
        assert len(made.split()) >= len(TEXT.split()) - 3
        assert "  " not in made
    for made in varied(settings, kinds=("swap_words",)):
        assert sorted(words(made)) == sorted(words(TEXT))


def test_keys_have_neighbours_on_both_sides() -> None:
    assert set(_NEAR["g"]) == set("fhtyvb")
    assert set(_NEAR["q"]) == set("wa")
    assert all(key in _NEAR[near] for key, all_near in _NEAR.items() for near in all_near)
    assert all(letter != other for letter, other in _LOOKALIKE.items())


def test_copies_follow_from_the_row_and_not_from_the_order(tmp_path: Path) -> None:
    rows = [{"text": f"{TEXT} {number}", "n": number} for number in range(40)]
    process = [{"noise": {"num_copies": 3, "rate": 0.3}}]
    one = run(tmp_path / "a", rows, process, read={"batch_bytes": 1000})
    other = run(tmp_path / "b", rows, process)
    assert one.scan().collect().rows() == other.scan().collect().rows()
    assert one.num_rows == 160
    assert column(one, "synthetic")[:4] == [None, "noise", "noise", "noise"]
    assert column(one, "parent")[:5] == [None, "rows#1", "rows#1", "rows#1", None]
    assert column(one, "n")[:5] == [0, 0, 0, 0, 1]
    seeded = run(tmp_path / "b", rows, process, seed=7)
    assert column(seeded, "text") != column(one, "text")


def test_what_cannot_change_is_refused_in_words(tmp_path: Path) -> None:
    version = run(tmp_path, [{"text": "!!"}, {"text": TEXT}], [{"noise": {"keep_original": False}}])
    assert told(version, "refused") == [("rows#1", "copy", "There is nothing to change in it.")]
    assert [row for row, *_ in told(version, "dropped")] == ["rows#1"]
    clash = [{"text": TEXT, "model": 5}]
    with pytest.raises(InvalidValue, match="writes the column model"):
        run(tmp_path, clash, [{"noise": {}}])


def test_chinese_is_changed_by_the_character(tmp_path: Path) -> None:
    version = run(tmp_path, [{"text": "我们昨天去公园看花。"}], [{"noise": {"kinds": ["drop_words"], "rate": 0.2}}])
    made = column(version, "text")[1]
    assert isinstance(made, str)
    assert len(made) == len("我们昨天去公园看花。") - 2


def test_synonyms_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words.tsv"
    file.write_text("committee\tpanel\nbudget\tfinancial plan, purse\n公园\t花园\n")
    step = {"synonym": {"dictionary": str(file), "rate": 1.0, "keep_original": False}}
    rows = [{"text": "Committee and BUDGET."}, {"text": "我们昨天去公园看花。"}, {"text": "Nothing here."}]
    version = run(tmp_path, rows, [step])
    found = column(version, "text")
    assert found[0] in ("Panel and Financial plan.", "Panel and Purse.")
    assert found[1] == "我们昨天去花园看花。"
    assert told(version, "refused") == [("rows#3", "copy", "None of its words is in the dictionary.")]
    before = version.version
    file.write_text("committee\tboard\n")
    assert column(run(tmp_path, rows, [step]), "text")[0] == "Board and BUDGET."
    assert run(tmp_path, rows, [step]).version != before


def test_bad_dictionaries_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no dictionary"):
        run(tmp_path, [{"text": "x"}], [{"synonym": {"dictionary": str(tmp_path / "none")}}])
    with pytest.raises(InvalidValue, match=r"lacks index\.noun"):
        run(tmp_path, [{"text": "x"}], [{"synonym": {"dictionary": str(tmp_path)}}])
    (tmp_path / "bad").write_text("a\tb\nno tab here\n")
    with pytest.raises(InvalidValue, match="line 2"):
        synonyms(str(tmp_path / "bad"), digest_of_files(str(tmp_path / "bad")))
    with pytest.raises(InvalidValue, match="SHA-256"):
        run(tmp_path, [{"text": "x"}], [{"synonym": {"dictionary": str(tmp_path / "bad"), "sha256": "0"}}])
    (tmp_path / "latin").write_bytes(b"caf\xe9\tbar\n")
    with pytest.raises(InvalidValue, match="is no dictionary: UnicodeDecodeError"):
        synonyms(str(tmp_path / "latin"), digest_of_files(str(tmp_path / "latin")))
    for name in ("index", "data"):
        for part in ("noun", "verb", "adj", "adv"):
            (tmp_path / f"{name}.{part}").write_text("glad n 1\n")
    with pytest.raises(InvalidValue, match="is no dictionary"):
        synonyms(str(tmp_path), digest_of_files(str(tmp_path)))


INDEX = "  1 This line is of the licence\n{lines}"
NOUN = "glad n 1 1 @ 1 0 00000900\nbudget n 2 1 @ 2 9 00000100 00000200\n"
DATA_NOUN = (
    "00000100 04 n 02 budget 0 financial_plan 0 001 @ 00000300 n 0000 | a plan\n"
    "00000200 04 n 02 budget 1 bag 0 000 | another\n"
    "00000900 04 n 01 glad 0 000 | a flower\n"
)
ADJ = "glad a 1 1 & 1 5 00000500\n"
DATA_ADJ = "00000500 00 a 03 glad 0 cheerful(p) 0 happy 0 000 | pleased\n"


def test_wordnet_gives_the_commonest_sense(tmp_path: Path) -> None:
    """In the format of wndb(5WN); hand-made, with the lines of the licence that begin each file."""
    contents = {"index.noun": NOUN, "data.noun": DATA_NOUN, "index.adj": ADJ, "data.adj": DATA_ADJ}
    for part in ("noun", "verb", "adj", "adv"):
        for kind in ("index", "data"):
            (tmp_path / f"{kind}.{part}").write_text(INDEX.format(lines=contents.get(f"{kind}.{part}", "")))
    found = synonyms(str(tmp_path), digest_of_files(str(tmp_path)))
    assert dict(found) == {"budget": ("financial plan",), "glad": ("cheerful", "happy")}
    shutil.rmtree(tmp_path)


def test_measures_by_hand() -> None:
    assert words("Don't stop, 3 times: 你好!") == ["don", "t", "stop", "3", "times", "你", "好"]
    assert longest_common(["police", "killed", "the", "gunman"], ["police", "kill", "the", "gunman"]) == 3
    assert rouge_l(["police", "killed", "the", "gunman"], ["the", "gunman", "kill", "police"]) == pytest.approx(2 * 2 / 8)
    assert rouge_l([], ["a"]) == 0.0
    assert likeness("Same  text", "same text") == 1.0
    assert likeness("abc", "xyz") == 0.0
    assert 0.5 < likeness("The cat sat on the mat.", "The cat sat on a mat.") < 1
    assert support("the new budget", TEXT) == 1.0
    assert support("budget approved Monday", TEXT) == pytest.approx(2 / 3)
    assert support("", TEXT) == 0.0
    assert support("去公园", "我们昨天去公园看花。") == 1.0


def test_longest_common_is_the_definition() -> None:
    draw = random.Random(3)
    for _ in range(200):
        one, other = (["abcd"[draw.randrange(4)] for _ in range(draw.randrange(12))] for _ in range(2))
        table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
        for i, a in enumerate(one):
            for j, b in enumerate(other):
                table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
        assert longest_common(one, other) == table[-1][-1]


def test_rouge_l_dedup_keeps_the_first_and_says_whom(tmp_path: Path) -> None:
    texts = [
        "Write a poem about autumn.",
        "Explain how rain forms.",
        "Write a poem about spring.",
        "Write a poem about the autumn.",
    ]
    version = run(tmp_path, [{"text": text} for text in texts], [{"rouge_l_dedup": {}}])
    assert column(version, "text") == texts[:2]
    lines = version.ledger().collect().select("_id", "signal", "threshold", "other").rows()
    assert lines == [("rows#3", "rouge_l", 0.7, "rows#1"), ("rows#4", "rouge_l", 0.7, "rows#1")]
    more = [{"text": "Explain how snow forms now."}, {"text": "Name three rivers of Asia."}]
    again = run(tmp_path, more, [{"rouge_l_dedup": {"against": [version.ref], "threshold": 0.6}}], name="b")
    assert column(again, "text") == ["Name three rivers of Asia."]
