"""The whole way with a real model: library, pool, engine process, text; and P17 on a native engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmos.engine.base import ScoreItem
from llmos.engine.pool import Pool
from llmos.errors import ContextLengthExceeded, EngineDied
from llmos.library.library import Library
from llmos.settings import Settings
from llmos.types import Constraint, Message, Sampling


@pytest.fixture(scope="module")
def pool(asset: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    settings = Settings.from_env(
        {"LLMOS_HOME": str(tmp_path_factory.mktemp("home")), "LLMOS_PROBE": "0", "LLMOS_CONTEXT_LENGTH": "512"}
    )
    library = Library.open(settings)
    library.import_path(next(asset("smollm2").glob("*.gguf")), name="smol")
    with Pool(settings, library, inline=False) as pool:
        yield pool
    library.database.close()


def ask(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def test_text_in_text_out(pool: Pool) -> None:
    session = pool.session("smol", engine="llamacpp")
    generation = session.complete("The capital of France is", Sampling(max_tokens=8, temperature=0, logprobs=3))
    answer = generation.result()[0]
    assert answer.text.startswith(" Paris")
    assert session.decode(answer.token_ids) == answer.text
    assert [one.token_id for one in answer.logprobs] == list(answer.token_ids)
    assert all(len(one.top) == 3 and one.logprob <= 0 for one in answer.logprobs)
    assert generation.usage.completion_tokens == 8
    assert generation.engine.startswith("llamacpp/")


def test_a_stop_string_cuts_a_real_stream(pool: Pool) -> None:
    answer = (
        pool.session("smol", engine="llamacpp")
        .complete("1, 2, 3, 4,", Sampling(max_tokens=40, temperature=0, stop=("7",)))
        .result()[0]
    )
    assert answer.finish_reason == "stop"
    assert answer.text.strip().startswith("5, 6")
    assert "7" not in answer.text


def test_many_at_once_answer_as_alone(pool: Pool) -> None:
    session = pool.session("smol", engine="llamacpp")
    sampling = Sampling(max_tokens=6, temperature=0)
    prompts = ["The capital of Italy is", "Two and two are", "Water boils at", "The opposite of hot is"]
    together = [session.complete(prompt, sampling) for prompt in prompts]
    first_words = [generation.result()[0].text.split()[:1] for generation in together]
    assert first_words == [session.complete(prompt, sampling).result()[0].text.split()[:1] for prompt in prompts]


def test_scores_prefer_what_is_true(pool: Pool) -> None:
    session = pool.session("smol", engine="llamacpp")
    cities = [session.encode(f" {city}") for city in ("Paris", "London", "Potato")]
    item = ScoreItem(prompt=session.encode("The capital of France is"), continuations=tuple(cities))
    totals = [sum(token.logprob for token in one) for one in session.score([item])[0].continuations]
    assert totals == sorted(totals, reverse=True)


def test_json_schema(pool: Pool) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    sampling = Sampling(max_tokens=60, temperature=0, constraint=Constraint(kind="json_schema", value=schema))
    text = pool.session("smol", engine="llamacpp").chat(ask("Is water wet?"), sampling).result()[0].text
    assert text.replace(" ", "").replace("\n", "") in ('{"ok":true}', '{"ok":false}')


def test_too_long_names_both_numbers(pool: Pool) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"512 tokens .*LLMOS_CONTEXT_LENGTH"):
        pool.session("smol", engine="llamacpp").complete("word " * 600, Sampling(max_tokens=1))


def test_a_killed_native_engine_comes_back(pool: Pool) -> None:
    session = pool.session("smol", engine="llamacpp")
    generation = session.complete("Once upon a time", Sampling(max_tokens=400, temperature=0, ignore_eos=True))
    deltas = iter(generation)
    next(deltas)
    pid = next(info.pid for info in pool.loaded() if info.engine == "llamacpp")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineDied, match="SIGKILL"):
        list(deltas)
    assert session.complete("The capital of France is", Sampling(max_tokens=2, temperature=0)).result()[0].text.startswith(" Paris")
    assert next(info.pid for info in pool.loaded() if info.engine == "llamacpp") not in (None, pid)
