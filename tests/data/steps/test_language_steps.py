"""segment, tag_words and entities: columns that fit the text, whatever the batches are, and clear words where something is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmos.data.steps.analysed import CHUNK_CHARS
from llmos.errors import InvalidValue, MissingExtra, NotFound, UnsupportedFeature
from llmos.settings import Settings
from llmos.text.nlp.resources import place
from tests.data.running import run
from tests.data.steps.running import make, rows_of
from tests.data.texts import documents

CHINESE = "张三在北京市的中国银行工作。他今天很高兴！"
FRENCH = "Le comité a approuvé le budget de l'année prochaine."


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, asset: Callable[[str], Path]) -> Path:
    """With the files of LAC and the language identifier."""
    folder = tmp_path_factory.mktemp("home")
    settings = Settings.from_env({"LLMOS_HOME": str(folder)})
    for name in ("lac", "lid.176"):
        link = place(name, settings)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(asset(name))
    return folder


def made(home: Path, name: str, texts: list[str], **params: Any) -> dict[str, pl.Series]:
    return dict(make(name, Settings.from_env({"LLMOS_HOME": str(home)}), **params).map(rows_of(texts)).columns)  # type: ignore[attr-defined]


def test_words_of_any_language(home: Path) -> None:
    texts = ["Mr. Smith didn't go.", CHINESE, FRENCH, "", "42!"]
    words = made(home, "segment", texts)["words"].to_list()
    assert words[0] == ["Mr.", "Smith", "did", "n't", "go", "."]
    assert words[1][:5] == ["张三", "在", "北京市", "的", "中国银行"] and "".join(words[1]) == CHINESE
    assert words[2][:3] == ["Le", "comité", "a"] and words[3:] == [[], ["42", "!"]]


def test_words_as_text(home: Path) -> None:
    found = made(home, "segment", [CHINESE], analyser="jieba", made="text", words_column="spaced")["spaced"]
    assert found.to_list()[0].replace(" ", "") == CHINESE and found.to_list()[0].count(" ") > 5


def test_tags_have_the_length_of_the_words(home: Path) -> None:
    found = made(home, "tag_words", [CHINESE, FRENCH, ""])
    words, upos, native = (found[name].to_list() for name in ("words", "upos", "native"))
    assert [len(words[0])] == [len(upos[0])] == [len(native[0])] * 1
    assert upos[0][:3] == ["PROPN", "ADP", "PROPN"] and native[0][0] == "PER"
    assert len(words[1]) > 5 and upos[1:] == native[1:] == [None, None]


def test_entities_are_places_in_the_text(home: Path) -> None:
    found = made(home, "entities", [CHINESE, FRENCH], language="")["entities"].to_list()
    assert [(one["text"], one["kind"]) for one in found[0]] == [
        ("张三", "PERSON"), ("北京市", "PLACE"), ("中国银行", "ORGANISATION"), ("今天", "TIME")
    ]  # fmt: skip
    assert all(CHINESE[one["start"] : one["end"]] == one["text"] for one in found[0])
    assert found[1] is None  # nobody looked


def test_one_language_for_all_needs_no_identifier(tmp_path: Path) -> None:
    found = made(tmp_path, "segment", ["Le chat dort."], language="fr")["words"].to_list()
    assert found == [["Le", "chat", "dort", "."]]


def test_long_columns_are_made_in_chunks(home: Path) -> None:
    texts = ["word " * (CHUNK_CHARS // 10)] * 5
    found = made(home, "segment", texts, analyser="plain")["words"]
    assert found.list.len().to_list() == [CHUNK_CHARS // 10] * 5


def test_what_cannot_be_is_told_before_rows_are_read(home: Path) -> None:
    with pytest.raises(NotFound, match="analyser"):
        made(home, "segment", [], analyser="lack")
    with pytest.raises(UnsupportedFeature, match="gives no pos"):
        made(home, "tag_words", [], analyser="plain")
    with pytest.raises(InvalidValue, match="klingon"):
        run(home, [{"text": "a"}], [{"segment": {"language": "klingon"}}])
    if not importlib.util.find_spec("spacy"):
        with pytest.raises(MissingExtra, match="spacy"):
            made(home, "entities", [], language="en")


def test_a_missing_file_says_where_it_comes_from(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_PYPI_INDEX": "http://127.0.0.1:9"})
    with pytest.raises(Exception, match=r"lac files \(29,920,426 bytes\)"):
        make("segment", settings, language="zh")


def test_batches_change_nothing_and_later_steps_use_the_columns(home: Path, tmp_path: Path) -> None:
    rows = [{"text": text} for text in [*documents()[:40], CHINESE, "两岸关系很重要。", FRENCH]]
    process = [{"segment": {"analyser": "plain"}}, {"where": {"expression": "count(words) > 5 and not has(words, 'import')"}}]
    process += [{"tag_words": {"language": "zh"}}]
    whole, cut = (run(home, rows, process, name=name, read=read) for name, read in (("a", {}), ("b", {"batch_bytes": 2000})))
    assert whole.scan().collect().equals(cut.scan().collect())
    assert whole.num_rows < len(rows)
