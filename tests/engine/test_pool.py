"""The pool over doubles: loading on demand, eviction, keep-alive, a second engine for a feature, adapters, the budget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmos.engine.base import Feature
from llmos.engine.pool import LoadedInfo, Pool
from llmos.errors import EngineError, NotFound, OverCapacity, UnsupportedFeature
from llmos.library.base import ModelCard
from llmos.settings import Settings
from llmos.types import Constraint, Family, Sampling
from tests.doubles import FakeLibrary, fake_card, fake_cards, fake_pool

GB = 10**9
Make = Callable[..., Pool]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, said: list[str]) -> Iterator[Make]:
    pools: list[Pool] = []

    def build(cards: Sequence[ModelCard] | None = None, *, inline: bool = True, **settings: Any) -> Pool:
        base = Settings.from_env({"LLMOS_HOME": str(tmp_path / "home")}, **settings)
        pools.append(fake_pool(base, tmp_path, cards=cards, inline=inline, notify=said.append))
        return pools[-1]

    yield build
    for pool in pools:
        pool.close()


def engines(pool: Pool) -> list[str]:
    return sorted(f"{info.name}:{info.engine}" for info in pool.loaded())


def big(name: str, size: float) -> ModelCard:
    return fake_card(name, memory_bytes=int(size * GB), extra={"memory_bytes": str(int(size * GB))})


def test_one_load_serves_many_sessions(make: Make, said: list[str]) -> None:
    pool = make()
    for _ in range(3):
        pool.session("fake").complete("Hi", Sampling()).result()
    assert engines(pool) == ["fake:fake"]
    assert said == ["Loading fake with fake/default."]


def test_many_threads_load_once(make: Make, said: list[str]) -> None:
    pool = make()
    start = threading.Barrier(8)

    def ask(_: int) -> str:
        start.wait()
        return pool.session("fake").complete("Hi", Sampling()).result()[0].text

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(8))) == {"Hello world."}
    assert len(said) == 1


def test_an_unknown_name_is_the_librarys_error(make: Make) -> None:
    with pytest.raises(NotFound, match="not in the library"):
        make().session("nothing")


def test_without_load_nothing_is_loaded_until_asked(make: Make) -> None:
    pool = make()
    session = pool.session("fake", load=False)
    assert session.count_tokens("abc") == 3
    assert pool.loaded() == []
    session.complete("Hi", Sampling()).result()
    assert engines(pool) == ["fake:fake"]


def test_a_feature_that_the_first_engine_lacks_loads_a_second_and_names_it(make: Make, said: list[str]) -> None:
    pool = make()
    session = pool.session("fake")
    assert session.complete("Hi", Sampling()).engine == "fake/default"
    generation = session.complete("Hi", Sampling(logprobs=2, max_tokens=1))
    assert generation.engine == "fake-rich/default"
    assert len(generation.result()[0].logprobs[0].top) == 2
    assert engines(pool) == ["fake:fake", "fake:fake-rich"]
    assert said[-1] == "Loading fake with fake-rich/default, beside fake/default."
    assert session.complete("Hi", Sampling()).engine == "fake/default"


def test_what_no_engine_can_is_an_error_that_names_it(make: Make) -> None:
    with pytest.raises(
        UnsupportedFeature, match=r"cannot be served with grammar: none of the installed engines for it \(fake, fake-rich\)"
    ):
        make().session("fake").complete("Hi", Sampling(constraint=Constraint(kind="grammar", value="x")))


def test_a_model_no_engine_runs_says_why(make: Make) -> None:
    pool = make([fake_card(architecture="martian")])
    with pytest.raises(UnsupportedFeature, match=r"no installed engine runs it.*does not run martian"):
        pool.session("fake")


def test_the_engine_can_be_named(make: Make) -> None:
    pool = make()
    assert pool.session("fake", engine="fake-rich").complete("Hi", Sampling()).engine == "fake-rich/default"
    with pytest.raises(NotFound, match=r"No installed engine 'vllm' runs .* These do: fake, fake-rich"):
        pool.session("fake", engine="vllm")


def test_an_engine_that_does_not_load_is_named_and_the_next_taken(make: Make, said: list[str]) -> None:
    pool = make([fake_card(extra={"load_error": "fake"})])
    assert pool.session("fake").complete("Hi", Sampling()).engine == "fake-rich/default"
    assert "fake/default could not load fake: fake was told not to load fake." in said
    with pytest.raises(EngineError, match="told not to load"):
        pool.session("fake", engine="fake")


def test_the_idle_make_room(make: Make, said: list[str]) -> None:
    pool = make([big("a", 4), big("b", 4), big("c", 4)], memory_budget_bytes=10 * GB)
    pool.session("a")
    pool.session("b")
    session = pool.session("a")
    session.complete("Hi", Sampling()).result()  # a was used last
    pool.session("c")
    assert engines(pool) == ["a:fake", "c:fake"]
    assert "Unloading b (fake/default) to make room for c." in said


def test_an_evicted_model_comes_back_by_itself(make: Make) -> None:
    pool = make([big("a", 6), big("b", 6)], memory_budget_bytes=10 * GB)
    session = pool.session("a")
    pool.session("b")
    assert engines(pool) == ["b:fake"]
    assert session.complete("Hi", Sampling()).result()[0].text == "Hello world."
    assert engines(pool) == ["a:fake"]


def test_a_running_model_is_not_evicted(make: Make) -> None:
    slow = fake_card("a", memory_bytes=6 * GB, extra={"memory_bytes": str(6 * GB), "endless": "yes", "step_s": "0.01"})
    pool = make([slow, big("b", 6)], memory_budget_bytes=10 * GB)
    generation = pool.session("a").complete("Hi", Sampling())
    with pytest.raises(OverCapacity, match="busy or pinned"):
        pool.session("b")
    generation.cancel()
    generation.result()
    pool.session("b")
    assert engines(pool) == ["b:fake"]


def test_a_pinned_model_is_not_evicted(make: Make) -> None:
    pool = make([big("a", 6), big("b", 6)], memory_budget_bytes=10 * GB)
    pool.session("a")
    pool.pin("a")
    with pytest.raises(OverCapacity):
        pool.session("b")
    pool.pin("a", pinned=False)
    pool.session("b")


def test_what_can_never_fit_is_refused_before_anything_goes(make: Make) -> None:
    pool = make([big("a", 4), big("huge", 40)], memory_budget_bytes=10 * GB)
    pool.session("a")
    with pytest.raises(OverCapacity, match=r"40\.\d+ GB, more than the whole memory budget of 10.00 GB"):
        pool.session("huge")
    assert engines(pool) == ["a:fake"]


def _wait_until_gone(pool: Pool) -> None:
    """The pool announces each change."""
    with pool._changed:
        assert pool._changed.wait_for(lambda: not pool._slots, timeout=30)


def test_keep_alive_is_over(make: Make) -> None:
    pool = make()
    pool.session("fake", keep_alive_s=0.05)
    _wait_until_gone(pool)


def test_keep_alive_minus_one_stays(make: Make) -> None:
    pool = make()
    pool.session("fake", keep_alive_s=-1)
    assert pool.loaded()[0].expires_in_s is None


def test_unload_ends_what_runs(make: Make) -> None:
    pool = make()
    generation = pool.session("fake-slow").complete("Hi", Sampling())
    pool.unload("fake-slow")
    assert generation.result()[0].finish_reason == "cancelled"
    with pytest.raises(NotFound, match="not loaded"):
        pool.unload("fake-slow")


def test_a_closed_pool_says_so(make: Make) -> None:
    pool = make()
    session = pool.session("fake")
    pool.close()
    pool.close()
    with pytest.raises(EngineError, match="closed"):
        session.complete("Hi", Sampling())


def test_loaded_says_what_is_there(make: Make) -> None:
    pool = make()
    generation = pool.session("fake-slow").complete("Hi", Sampling())
    info: LoadedInfo = pool.loaded()[0]
    assert (info.name, info.engine, info.running, info.idle_s) == ("fake-slow", "fake", 1, 0.0)
    assert info.memory_bytes == 1_000_000
    assert "by rule" in info.why
    generation.cancel()
    generation.result()


def test_an_adapter_goes_with_every_request_of_its_base(make: Make) -> None:
    base = fake_card("base")
    pool = make([base, fake_card("lora", base=base.version, format="peft")])
    session = pool.session("lora")
    assert (session.card.name, session.base.name, session.family) == ("lora", "base", Family.CAUSAL)
    assert session.chats  # as its base does
    with session._engines.lease(frozenset(), "mixed") as engine:
        session.complete("Hi", Sampling()).result()
        assert engine.adapters == ["lora"]  # type: ignore[attr-defined]  # of the double
    pool.session("base").complete("Hi", Sampling()).result()
    assert engines(pool) == ["base:fake"]


def test_an_adapter_without_its_base_says_so(make: Make) -> None:
    with pytest.raises(NotFound, match="is an adapter; its base model"):
        make([fake_card("lora", base="0" * 64, format="peft")]).session("lora")


def test_the_librarys_notice_reaches_the_session(make: Make) -> None:
    pool = make()
    assert isinstance(pool.library, FakeLibrary)
    assert pool.session("fake:1").requested == "fake:1"
    assert pool.session("fake").notice == ""


def test_processes_serve_as_threads_do(make: Make) -> None:
    pool = make(fake_cards(), inline=False)
    assert pool.session("fake").complete("Hi", Sampling()).result()[0].text == "Hello world."
    assert pool.loaded()[0].pid is not None
    assert pool.loaded()[0].expires_in_s is not None


# -- one book of the memory ----------------------------------------------------------------------------------------------
def test_models_and_jobs_stand_in_one_book(make: Make) -> None:
    pool = make([big("a", 6)], memory_budget_bytes=10 * GB)
    pool.budget.reserve("job", 5 * GB, "job 1 (train)")
    with pytest.raises(OverCapacity, match=r"a\S* needs about 6\.\d\d GB; 5\.00 GB .* and by jobs \(5\.00 GB\)"):
        pool.session("a")
    assert [holding.what for holding in pool.budget.holdings()] == ["job 1 (train)"]
    pool.budget.free("job")
    pool.session("a")
    assert pool.budget.used_bytes == sum(info.memory_bytes for info in pool.loaded()) == 6 * GB
    pool.close()
    assert pool.budget.used_bytes == 0


def test_what_turns_out_larger_than_thought_pushes_the_idle_out(make: Make, said: list[str]) -> None:
    liar = fake_card("liar", memory_bytes=GB, extra={"memory_bytes": str(8 * GB)})
    pool = make([big("a", 4), liar], memory_budget_bytes=10 * GB)
    pool.session("a")
    pool.session("liar")
    assert engines(pool) == ["liar:fake"]
    assert pool.budget.used_bytes == 8 * GB
    assert said[-1] == "Unloading a (fake/default) to make room for liar."


def test_a_load_that_fails_takes_nothing(make: Make) -> None:
    pool = make([fake_card(extra={"load_error": "fake"})], memory_budget_bytes=GB)
    with pytest.raises(EngineError):
        pool.session("fake", engine="fake")
    assert pool.budget.holdings() == []


def test_idle_models_make_room_for_a_job_when_that_is_enough(make: Make) -> None:
    pool = make([big("a", 4), big("b", 4)], memory_budget_bytes=10 * GB)
    pool.session("a")
    pool.session("b")
    pool.pin("b")
    pool.make_room(9 * GB)
    assert engines(pool) == ["a:fake", "b:fake"]
    pool.make_room(6 * GB)
    assert engines(pool) == ["b:fake"]
    assert pool.budget.free_bytes == 6 * GB


def test_the_memory_of_an_engine_process_is_measured(make: Make) -> None:
    pool = make(fake_cards(), inline=False)
    pool.session("fake").complete("Hi", Sampling()).result()
    assert pool.budget.used_bytes == pool.loaded()[0].memory_bytes > 10_000_000  # a Python process, not the 1 MB the double says


def test_a_process_that_is_killed_while_it_loads_gets_a_second_one(make: Make, said: list[str], tmp_path: Path) -> None:
    pool = make([fake_card(extra={"die_once": str(tmp_path / "died")})], inline=False)
    pool.session("fake").complete("Hi", Sampling()).result()
    assert engines(pool) == ["fake:fake"]
    assert [sentence for sentence in said if "once more" in sentence]


def shared(pool: Pool) -> list[bool]:
    """Of each loaded engine, whether it is one for batches."""
    return sorted(info.for_batches for info in pool.loaded())


def test_batches_of_one_project_share_an_engine_of_their_own(make: Make, said: list[str]) -> None:
    pool = make([fake_card("a", extra={"prefixes": "on request"})])
    pool.session("a").complete("Hi", Sampling()).result()
    for project in ("red", "red", "blue"):
        session = pool.session("a", load=False, shared_by=project)
        assert session.complete("Hi", Sampling()).result()[0].text == "Hello world."
        assert Feature.PREFIX_CACHE in session.engine_for(frozenset({Feature.GENERATE})).features
    assert shared(pool) == [False, True, True]
    assert said[1] == "Loading a with fake/default for batches, beside fake/default."
    assert Feature.PREFIX_CACHE not in pool.session("a").engine_for(frozenset({Feature.GENERATE})).features


def test_where_an_engine_for_batches_has_no_room_they_use_the_one_that_is_there(make: Make) -> None:
    card = fake_card("a", memory_bytes=6 * GB, extra={"memory_bytes": str(6 * GB), "prefixes": "on request"})
    pool = make([card], memory_budget_bytes=10 * GB)
    pool.session("a")
    assert pool.session("a", load=False, shared_by="red").complete("Hi", Sampling()).result()[0].text == "Hello world."
    assert shared(pool) == [False]


def test_an_engine_for_batches_gives_way_even_at_work(make: Make) -> None:
    extra = {"memory_bytes": str(6 * GB), "prefixes": "on request", "endless": "yes", "step_s": "0.01"}
    pool = make([fake_card("a", memory_bytes=6 * GB, extra=extra), big("b", 6)], memory_budget_bytes=10 * GB)
    generation = pool.session("a", load=False, shared_by="red").complete("Hi", Sampling())
    assert shared(pool) == [True]
    pool.session("b")
    assert engines(pool) == ["b:fake"]
    assert generation.result()[0].finish_reason == "cancelled"


def test_what_is_not_written_needs_no_engine_for_batches(make: Make) -> None:
    pool = make([fake_card("a", extra={"prefixes": "on request"})])
    pool.session("a", load=False, shared_by="red").engine_for(frozenset({Feature.SCORE}))
    assert shared(pool) == [False]
