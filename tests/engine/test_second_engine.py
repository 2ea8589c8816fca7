"""Which engine of several a request gets from the pool: by the work its caller states, what is busy, and what there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmos.engine.choice import Measurement
from llmos.engine.choices import ChoiceTables, Table, key
from llmos.engine.loading import machine
from llmos.engine.pool import Pool
from llmos.infra.database import Database, open_database
from llmos.settings import Settings
from llmos.types import Sampling
from tests.doubles import fake_card, fake_pool

Make = Callable[..., Pool]
GB = 10**9
# "fake" loads quickly and is as good as the other at single answers; "fake-rich" is four times as fast with many.
TABLE = Table(
    measurements=(
        Measurement(backend="fake", variant="default", prefill_tok_s=10, decode_tok_s=9.5, batch_tok_s=10, load_s=1, agrees=True),
        Measurement(
            backend="fake-rich", variant="default", prefill_tok_s=20, decode_tok_s=10, batch_tok_s=40, load_s=60, agrees=True
        ),
    )
)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = open_database(settings)
    yield database
    database.close()


@pytest.fixture
def make(settings: Settings, tmp_path: Path, database: Database) -> Iterator[Make]:
    """A pool with one model, measured as TABLE; extra: of the model's card."""
    pools: list[Pool] = []

    def build(*, size_gb: float = 0.001, extra: dict[str, str] | None = None, measured: bool = True, **options: Any) -> Pool:
        size = int(size_gb * GB)
        card = fake_card(memory_bytes=size, extra={"memory_bytes": str(size), "step_s": "0.005", **(extra or {})})
        own = settings.model_copy(update={"memory_budget_bytes": 10 * GB, **options.pop("settings", {})})
        pool = fake_pool(own, tmp_path, cards=[card], database=database, **options)
        if measured:
            threads = pool.loader.num_threads
            ChoiceTables(database).put(key(card, pool.loader.candidates(card), machine=machine(), num_threads=threads), TABLE)
        pools.append(pool)
        return pool

    yield build
    for pool in pools:
        pool.close()


def ask(pool: Pool, **options: Any) -> str:
    generation = pool.session("fake", load=False).complete("Hi", Sampling(max_tokens=2), **options)
    generation.result()
    return generation.engine


def test_the_stated_work_decides(make: Make) -> None:
    pool = make()
    assert ask(pool, work="batch") == "fake-rich/default"
    assert ask(make(), work="decode") == "fake-rich/default"


def test_a_loaded_engine_that_is_nearly_as_fast_serves(make: Make) -> None:
    pool = make(inline=True, one_shot=True)
    assert ask(pool, work="decode") == "fake/default"  # loading counts
    assert ask(pool, work="decode") == "fake/default"
    assert len(pool.loaded()) == 1


def test_a_second_engine_comes_for_stated_work_that_gains_by_it(make: Make) -> None:
    pool = make(one_shot=True)
    ask(pool, work="decode")
    assert ask(pool) == "fake/default"
    assert ask(pool, work="batch") == "fake-rich/default"
    assert len(pool.loaded()) == 2


def test_a_second_engine_for_speed_evicts_nothing(make: Make) -> None:
    pool = make(one_shot=True, size_gb=6)
    ask(pool, work="decode")
    assert ask(pool, work="batch") == "fake/default"
    assert [info.engine for info in pool.loaded()] == ["fake"]


def test_a_faster_engine_that_does_not_load_is_tried_once(make: Make) -> None:
    said: list[str] = []
    pool = make(one_shot=True, extra={"load_error": "fake-rich"}, notify=said.append)
    ask(pool, work="decode")
    assert [ask(pool, work="batch") for _ in range(3)] == ["fake/default"] * 3
    assert sum("could not load" in line for line in said) == 1


def test_a_request_joins_the_engine_at_work(make: Make) -> None:
    pool = make(one_shot=True, extra={"endless": "yes"})
    session = pool.session("fake")
    running = session.complete("Hi", Sampling(max_tokens=400), work="decode")
    assert session.complete("Hi", Sampling(max_tokens=1), work="batch").engine == "fake/default"
    rich = session.complete("Hi", Sampling(max_tokens=1, logprobs=2))
    assert rich.engine == "fake-rich/default"  # the busy one lacks the feature
    running.cancel()
    running.result()
    rich.result()
    assert session.complete("Hi", Sampling(max_tokens=1), work="batch").engine == "fake-rich/default"


def test_an_inline_pool_measures_at_the_first_load_and_says_so(make: Make, database: Database) -> None:
    said: list[str] = []
    pool = make(measured=False, settings={"probe": True}, notify=said.append)
    pool.session("fake")
    assert "measured here" in pool.loaded()[0].why
    assert said[0] == "Measuring which engine runs fake fastest on this machine: once, 30 s at most."


def test_one_shot_never_measures(make: Make) -> None:
    said: list[str] = []
    pool = make(measured=False, settings={"probe": True}, one_shot=True, notify=said.append)
    pool.session("fake")
    assert "by rule" in pool.loaded()[0].why
    assert said == ["Loading fake with fake/default."]
