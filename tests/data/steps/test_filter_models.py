"""Filters that need a file: language identifier, tokeniser, a classifier trained here."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from llmos.data.base import StepContext
from llmos.data.steps.linear_model import LinearModel, train_linear
from llmos.data.tokenizers import exact, tokenizer_of
from llmos.errors import CorruptFile, InvalidValue, NotFound
from llmos.library.library import Library
from llmos.settings import Settings
from llmos.text.load import load_tokenizer
from llmos.text.nlp.resources import place
from tests.data.running import run
from tests.data.steps.running import kept, make, rows_of, signal
from tests.data.texts import documents

TEXTS = [
    "The committee has approved the new budget.",
    "大语言模型正在改变软件开发的方式。",
    "Le comité a approuvé le budget.",
    "123",
]


@pytest.fixture
def with_lid(tmp_path: Path, asset: Callable[[str], Path]) -> Settings:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path)})
    link = place("lid.176", settings)
    link.parent.mkdir(parents=True)
    link.symlink_to(asset("lid.176"))
    return settings


def test_languages_are_tagged_and_kept(with_lid: Settings) -> None:
    assert kept(make("language_is", with_lid, languages=["en", "zh"]), rows_of(TEXTS)) == [0, 1]
    assert kept(make("language_is", with_lid), rows_of(TEXTS)) == [0, 1, 2]
    version = run(
        with_lid.home, [{"text": text} for text in TEXTS], ["tag_language", {"where": {"expression": "language == 'fr'"}}]
    )
    (row,) = version.scan().collect().to_dicts()
    assert row["text"] == TEXTS[2] and row["language_score"] > 0.8


def test_tokens_are_those_of_the_tokeniser(asset: Callable[[str], Path]) -> None:
    folder = asset("minilm")
    counts = [float(len(load_tokenizer(folder).encode(text))) for text in TEXTS]
    assert signal("num_tokens", TEXTS, tokenizer=str(folder / "tokenizer.json")) == counts
    step = make("num_tokens", tokenizer=str(folder / "tokenizer.json"), min_tokens=3, max_tokens=12)
    assert kept(step, rows_of(TEXTS)) == [place for place, count in enumerate(counts) if 3 <= count <= 12]


def test_a_model_of_the_library_counts_tokens_too(home: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(home)})
    assert signal("num_tokens", ["hello world"], settings, tokenizer="smollm2-135m-instruct") == [2.0]
    with pytest.raises(NotFound, match="no-such-model"):
        make("num_tokens", settings, tokenizer="no-such-model")


def test_a_project_counts_with_models_that_it_sees(tmp_path: Path, asset: Callable[[str], Path]) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path)})
    card = Library(settings).seen_by("owners").import_path(str(asset("minilm")), name="theirs")
    owners, strangers = (StepContext(settings=settings, project=name) for name in ("owners", "strangers"))
    assert exact("theirs", owners) == f"theirs:{card.version}"
    assert tokenizer_of("theirs", owners).encode("hello")
    with pytest.raises(NotFound, match="theirs"):
        tokenizer_of("theirs", strangers)


def test_a_classifier_learns_real_kinds_of_text(tmp_path: Path) -> None:
    texts = documents()
    prose = [text for text in texts if ">>>" not in text]
    shuffled = [" ".join(random.Random(at).sample(text.split(), len(text.split()))) for at, text in enumerate(prose)]
    half = len(prose) // 2
    model = train_linear(prose[:half] + shuffled[:half], ["prose"] * half + ["salad"] * half, bits=16)
    wanted = ["prose"] * (len(prose) - half) + ["salad"] * (len(prose) - half)
    right = sum(found == label for found, label in zip(model.predict(prose[half:] + shuffled[half:]), wanted, strict=True))
    assert right / len(wanted) > 0.8

    path = tmp_path / "prose.safetensors"
    model.save(path)
    again = train_linear(prose[:half] + shuffled[:half], ["prose"] * half + ["salad"] * half, bits=16)
    again.save(tmp_path / "again.safetensors")
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()

    step = make("linear_classifier", model=str(path), label="prose")
    places = kept(step, rows_of(prose[half : half + 20] + shuffled[half : half + 20]))
    assert sum(place < 20 for place in places) > sum(place >= 20 for place in places) + 8
    with pytest.raises(InvalidValue, match="no label 'poetry'"):
        make("linear_classifier", model=str(path), label="poetry")


def test_probabilities_sum_to_one_for_any_text() -> None:
    model = train_linear(["good good", "bad", "so so", "好"], ["a", "b", "c", "a"], bits=10)
    found = model.probabilities(["good", "", "never seen", "好好"])
    assert found.sum(axis=1) == pytest.approx([1, 1, 1, 1], abs=1e-5)
    assert model.predict(["good", "好"]) == ["a", "a"]


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="train_linear"):
        LinearModel.load(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"not a model at all")
    with pytest.raises(CorruptFile, match="no linear model"):
        LinearModel.load(tmp_path / "bad")
    with pytest.raises(InvalidValue, match="two are wanted"):
        train_linear(["a", "b"], ["x", "x"])
    with pytest.raises(InvalidValue, match="2 texts and 1 labels"):
        train_linear(["a", "b"], ["x"])
