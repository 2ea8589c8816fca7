"""Measuring engines: what counts as equal output, and the table that comes out, on doubles in real processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmos.engine.base import LoadOptions, Support, Variant
from llmos.engine.choice import Candidate, Measurement
from llmos.engine.choices import ChoiceTables, Table, key
from llmos.engine.probe import Sample, _speed, agreement
from llmos.engine.trials import measure_all
from llmos.infra.database import Database, open_database
from llmos.library.base import ModelCard, Resolved
from llmos.settings import Settings
from llmos.types import Family, Sampling, TokenLogprob
from tests.doubles import FakeBackend, RichFakeBackend, fake_card, fake_pool, make_model

OPTIONS = LoadOptions(num_threads=1, context_length=512)


def seen(*tokens: int, logprob: float = -0.5, gap: float = 0.1) -> Sample:
    """A greedy answer; at each place the next token id is `gap` nats less likely."""
    answer = [TokenLogprob(token, logprob, ((token, logprob), (token + 1, logprob - gap))) for token in tokens]
    return Sample(greedy=[answer])


def test_the_same_output_agrees() -> None:
    assert agreement(seen(1, 2, 3), seen(1, 2, 3)) == (
        True,
        "3 of 3 greedy tokens equal, the rest after ties; their log-probabilities differ by 0.000 nats on average",
    )


def test_parting_at_a_tie_agrees() -> None:
    assert agreement(seen(1, 3, 9), seen(1, 2, 3))[0]


@pytest.mark.parametrize("other", [seen(1, 7, 3), seen(1, 3, 9, gap=0.1)])
def test_parting_without_a_tie_does_not(other: Sample) -> None:
    ok, why = agreement(other, seen(1, 2, 3, gap=3.0))
    assert not ok
    assert why == "a greedy answer parts at token 2, which is no tie"


def test_other_probabilities_do_not_agree() -> None:
    ok, why = agreement(seen(1, logprob=-1.0), seen(1))
    assert not ok
    assert "differ by 0.500 nats" in why
    assert agreement(seen(1, logprob=-0.6), seen(1))[0]


def test_an_engine_that_tells_no_probabilities_is_judged_by_its_tokens() -> None:
    silent = Sample(greedy=[[TokenLogprob(token, 0.0) for token in (1, 2)]])
    assert agreement(silent, seen(1, 2)) == (True, "2 of 2 greedy tokens equal, the rest after ties")


def test_ties_alone_prove_nothing() -> None:
    assert agreement(seen(2, 9, 9, 9), seen(1, 3, 5, 7)) == (False, "only 0 of 4 greedy tokens equal, the rest after ties")


def test_vectors_agree_by_angle() -> None:
    vectors = np.eye(3, dtype=np.float32)
    assert agreement(Sample(vectors=vectors * 2), Sample(vectors=vectors))[0]
    assert not agreement(Sample(vectors=vectors[::-1]), Sample(vectors=vectors))[0]
    assert not agreement(Sample(vectors=vectors[:, :2]), Sample(vectors=vectors))[0]


def test_the_speed_of_writing_leaves_reading_out_where_it_can() -> None:
    assert _speed([1.0, 1.1, 1.2, 1.3], num_answers=1) == pytest.approx(10)
    assert _speed([1.0, 1.0, 1.5, 1.5], num_answers=2) == pytest.approx(4)
    assert _speed([1.4, 1.4, 1.4, 1.400001], num_answers=3) == pytest.approx(4 / 1.4)  # cut off: not three million
    assert _speed([], num_answers=2) == 0.0


Measure = Callable[..., Table]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    def run(card: ModelCard, **options: object) -> Table:
        resolved = Resolved(requested="fake", card=card, folder=make_model(tmp_path / "model"))
        return measure_all(resolved, candidates(card), OPTIONS, **{"budget_bytes": 10**10, **options})  # type: ignore[arg-type]

    return run


def candidates(card: ModelCard) -> list[Candidate]:
    return [
        Candidate(backend=backend.name, support=backend.supports(card), version="1")
        for backend in (FakeBackend(), RichFakeBackend())
    ]


def rows(table: Table) -> dict[str, Measurement]:
    return {row.backend: row for row in table.measurements}


def test_a_table_of_two_engines(measure: Measure) -> None:
    table = measure(fake_card(extra={"step_s": "0.001"}))
    both = rows(table)
    assert table.reference == "fake/default"
    assert both["fake"].why == "the reference that the others are compared with"
    assert both["fake-rich"].agrees
    assert all(row.prefill_tok_s > 0 and row.decode_tok_s > 0 and row.batch_tok_s > 0 for row in both.values())
    assert all(row.load_s > 0 and row.memory_bytes > 0 for row in both.values())


def test_an_engine_with_other_words_does_not_agree(measure: Measure) -> None:
    row = rows(measure(fake_card(extra={"fake-rich.answer": "Good night."})))["fake-rich"]
    assert not row.agrees
    assert row.why.startswith("does not agree: a greedy answer parts at token 1")


def test_one_that_does_not_load_is_in_the_table_and_another_the_reference(measure: Measure) -> None:
    table = measure(fake_card(extra={"load_error": "fake"}))
    assert table.reference == "fake-rich/default"
    assert rows(table)["fake"].why == "did not load: fake was told not to load fake."
    assert not rows(table)["fake"].agrees


def test_one_that_dies_is_in_the_table(measure: Measure) -> None:
    table = measure(fake_card(extra={"crash_on": "Water boils"}))
    assert table.reference == ""
    assert all("was ended by SIGKILL" in row.why and not row.agrees for row in table.measurements)


def test_what_there_is_no_time_or_memory_for_is_listed(measure: Measure) -> None:
    assert measure(fake_card(), limit_s=-1.0).skipped["fake/default"] == "no time left of -1 s"
    assert "the memory budget is 0.0 GB" in measure(fake_card(), budget_bytes=1000).skipped["fake/default"]


@pytest.mark.parametrize("family", [Family.ENCODER, Family.MASKED, Family.CLASSIFIER, Family.TAGGER, Family.SEQ2SEQ])
def test_every_family_is_measured(measure: Measure, family: Family) -> None:
    table = measure(fake_card("fake", family))
    assert all(row.agrees and row.prefill_tok_s > 0 for row in table.measurements), table


@pytest.fixture
def database(settings: Settings) -> Database:
    return open_database(settings)


def test_a_table_is_kept(database: Database) -> None:
    tables = ChoiceTables(database)
    assert tables.get("k") is None
    table = Table(measurements=(Measurement(backend="a", variant="b", agrees=True),), reference="a/b", skipped={"c/d": "no time"})
    tables.put("k", table)
    tables.put("k", table)
    found = tables.get("k")
    assert found is not None
    assert found.at
    assert (found.measurements, found.reference, found.skipped) == (table.measurements, "a/b", {"c/d": "no time"})
    database.close()


def test_a_new_engine_version_machine_or_model_asks_for_a_new_table() -> None:
    card = fake_card()
    support = Support(ok=True, why="", variants=(Variant(name="default"),))
    old = key(card, [Candidate(backend="a", support=support, version="1")], machine="m", num_threads=2)
    assert old == key(card, [Candidate(backend="a", support=support, version="1")], machine="m", num_threads=2)
    others = {
        key(card, [Candidate(backend="a", support=support, version="2")], machine="m", num_threads=2),
        key(card, [Candidate(backend="a", support=support, version="1")], machine="n", num_threads=2),
        key(card, [Candidate(backend="a", support=support, version="1")], machine="m", num_threads=1),
        key(replace(card, version="1" * 64), [Candidate(backend="a", support=support, version="1")], machine="m", num_threads=2),
    }
    assert old not in others
    assert len(others) == 4


def test_a_server_measures_once_and_uses_it(settings: Settings, tmp_path: Path, database: Database) -> None:
    said: list[str] = []
    cards = [fake_card(extra={"fake.answer": "Slow", "step_s": "0.001", "load_error": "fake"})]
    measuring = settings.model_copy(update={"probe": True})
    for _ in range(2):
        with fake_pool(measuring, tmp_path, cards=cards, inline=False, database=database, notify=said.append) as pool:
            generation = pool.session("fake").complete("Hi", Sampling(max_tokens=2))
            assert generation.engine == "fake-rich/default"
            generation.result()
            assert "measured here" in pool.loaded()[0].why
    assert [line for line in said if "Measuring" in line] == [
        "Measuring which engine runs fake fastest on this machine: once, 30 s at most."
    ]
    database.close()


def test_explain_tells_everything(settings: Settings, tmp_path: Path, database: Database) -> None:
    with fake_pool(settings, tmp_path, database=database) as pool:
        before = pool.explain("fake")
        assert before.table is None
        assert "by rule" in before.choices["decode"].why
        after = pool.explain("fake", measure=True)
        assert after.table is not None
        assert after.table.reference == "fake/default"
        assert "measured here" in after.choices["decode"].why
        assert set(after.features) == {"fake", "fake-rich"}
        assert pool.loaded() == []
    database.close()
