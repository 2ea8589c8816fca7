"""The steps with real models: SmolLM2-135M writes and reads, MiniLM embeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llmos.data.models import LibraryModels
from llmos.engine.pool import Pool
from llmos.library.library import Library
from llmos.settings import Settings
from tests.data.asking import column, told
from tests.data.running import run

WRITER, ENCODER = "smollm2-135m-instruct", "all-minilm-l6-v2"
AMAZON = (
    "The Amazon river flows through Brazil and Peru. It is about 6,400 kilometres long and carries more water than any other river."
)


@pytest.fixture(scope="module")
def models(home: Path) -> Iterator[LibraryModels]:
    settings = Settings.from_env({"LLMOS_HOME": str(home), "LLMOS_PROBE": "0"})
    library = Library.open(settings)
    with Pool(settings, library, inline=True) as pool, LibraryModels(settings, library, pool=pool) as opened:
        yield opened


def test_language_is_less_perplexing_than_noise(tmp_path: Path, models: LibraryModels) -> None:
    texts = ["The parliament met on Tuesday to discuss the budget.", "xq zvb 77 fnarg kk qq wibble ;; jjp", AMAZON * 10]
    process = [{"perplexity": {"model": WRITER, "at_most": 300, "window": 256}}]
    version = run(tmp_path, [{"text": text} for text in texts], process, models=models, keep_signals=True)
    assert column(version, "text") == [texts[0], texts[2]]
    plain, repeated = column(version, "perplexity")
    assert isinstance(plain, float)
    assert isinstance(repeated, float)
    assert 1 < repeated < 5 < plain < 300
    assert version.ledger().collect().row(0, named=True)["value"] > 300


def test_perplexity_is_that_of_the_engine(tmp_path: Path, models: LibraryModels) -> None:
    """One window, by the log-probabilities of a single score call."""
    from llmos.engine.base import ScoreItem

    session = models.session(WRITER)
    ids = (*session.encode("", add_special=True)[:1], *session.encode(AMAZON))
    [scored] = session.score([ScoreItem(prompt=ids[:1], continuations=(ids[1:],))])
    mean = sum(token.logprob for token in scored.continuations[0]) / (len(ids) - 1)
    version = run(tmp_path, [{"text": AMAZON}], [{"perplexity": {"model": WRITER}}], models=models, keep_signals=True)
    assert column(version, "perplexity") == [pytest.approx(math.exp(-mean), rel=0.02)]


def test_an_encoder_finds_duplicates_and_classes(tmp_path: Path, models: LibraryModels) -> None:
    pytest.importorskip("torch")
    texts = [
        "The film was wonderful and I enjoyed every minute of it.",
        "The movie was wonderful; I loved every minute.",
        "The parliament met on Tuesday to discuss the budget.",
    ]
    rows = [{"text": text} for text in texts]
    version = run(tmp_path, rows, [{"semantic_dedup": {"model": ENCODER, "threshold": 0.8}}], models=models)
    assert column(version, "text") == [texts[0], texts[2]]
    line = version.ledger().collect().row(0, named=True)
    assert (line["_id"], line["other"], line["signal"]) == ("rows#2", "rows#1", "cosine")
    labels = {"film": "a review of a film", "politics": "politics and parliament"}
    process = [
        {"class_is": {"model": ENCODER, "labels": labels, "keep": ["film"]}},
        {"embed": {"model": ENCODER}},
        {"text_pair_similarity": {"model": ENCODER, "other_column": "text", "at_least": 0.99}},
    ]
    films = run(tmp_path, rows, process, models=models)
    assert column(films, "text") == texts[:2]
    one, other = np.array(column(films, "embedding"))
    assert one @ other == pytest.approx(line["value"], abs=1e-3)


def test_a_small_model_writes_and_what_it_writes_badly_is_refused(tmp_path: Path, models: LibraryModels) -> None:
    """Of 135M parameters nothing good is expected; each answer is either taken and marked or in the ledger, and the second run asks
    nothing."""
    process = [{"qa_from_document": {"model": WRITER, "num_pairs": 2, "max_tokens": 160}}]
    version = run(tmp_path, [{"text": AMAZON}], process, models=models)
    taken = version.scan().collect()
    assert taken.height + len(told(version, "refused")) >= 1
    assert set(taken.get_column("synthetic")) <= {"qa_from_document"}
    assert set(taken.get_column("model")) <= {models.session(WRITER).card.ref}
    asked = models.asked(models.session(WRITER), "write 1")
    before = asked.num_new
    again = run(tmp_path / "again", [{"text": AMAZON}], process, models=models)
    assert (again.version, asked.num_new) == (version.version, before)
