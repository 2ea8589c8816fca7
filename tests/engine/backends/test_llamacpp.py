"""The llamacpp engine on a real model: every feature it declares, and what happens when things go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmos.engine.backends.llamacpp import binding
from llmos.engine.base import Adapter, Engine, Feature, ScoreItem, backends
from llmos.errors import ContextLengthExceeded, CorruptFile, EngineError, InvalidValue, UnsupportedFeature
from llmos.library.base import ModelCard, ModelFile
from llmos.text.load import load_tokenizer
from llmos.types import Constraint, Family
from tests.engine.backends.native import GREEDY, NEXT, PROMPT, TOLERANCE, chat_prompt, chunks, load, request, smollm2_card, tokens


@pytest.fixture(scope="module")
def engine(asset: Callable[[str], Path]) -> Iterator[Engine]:
    folder = asset("smollm2")
    loaded = load("llamacpp", smollm2_card(folder), folder)
    yield loaded
    loaded.close()


def test_greedy_answer_and_logprobs_are_those_of_the_reference(engine: Engine) -> None:
    made = chunks(engine, logprobs=3)
    assert tokens(made) == GREEDY
    assert [chunk.finish_reason for chunk in made] == [None] * 7 + ["length"]
    first = made[0].logprobs[0]
    assert dict(first.top) == pytest.approx(NEXT, abs=TOLERANCE)
    assert [one for one, _ in first.top] == list(NEXT)
    assert all(chunk.logprobs[0].token_id == chunk.token_ids[0] for chunk in made)


def test_every_token_of_a_character_in_several_tokens_arrives(engine: Engine, asset: Callable[[str], Path]) -> None:
    tokenizer = load_tokenizer(asset("smollm2"))
    prompt = tokenizer.encode("😀 🤖 🧬 🦄 😀 🤖 🧬 🦄 😀 🤖 🧬 🦄 😀 🤖 🧬")
    made = chunks(engine, prompt, max_tokens=12, ignore_eos=True)
    assert len(tokens(made)) == 12


def test_a_prompt_seen_before_is_not_computed_again(engine: Engine) -> None:
    prompt = (*PROMPT, *range(2000, 2040))
    first, again = chunks(engine, prompt, temperature=0.5), chunks(engine, prompt, temperature=0.5)
    assert again[0].cached_tokens == len(prompt) - 1 > first[0].cached_tokens


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "seed": 5}], ids=["greedy", "seeded"])
@pytest.mark.parametrize("length", [34, 130])
def test_the_same_request_gives_the_same_bits_cold_and_warm(engine: Engine, length: int, sampling: dict[str, Any]) -> None:
    prompt = chat_prompt(length, salt=len(sampling))
    made = [chunks(engine, prompt, max_tokens=24, ignore_eos=True, logprobs=0, **sampling) for _ in range(2)]
    chunks(engine, prompt, max_tokens=4, temperature=1.5)  # leaves another answer behind the prompt
    chunks(engine, (*prompt, *tokens(made[0])), max_tokens=4)
    made.append(chunks(engine, prompt, max_tokens=24, ignore_eos=True, logprobs=0, **sampling))
    assert [[chunk.logprobs for chunk in one] for one in made[1:]] == [[chunk.logprobs for chunk in made[0]]] * 2
    assert [one[0].cached_tokens for one in made][::2] == [0, length // 64 * 64]


def test_answers_of_one_request_are_told_apart_and_repeatable(engine: Engine) -> None:
    settings: dict[str, Any] = {"temperature": 1.5, "seed": 7, "n": 3, "max_tokens": 6}
    made, again = chunks(engine, **settings), chunks(engine, **settings)
    answers = [tokens(made, index) for index in range(3)]
    assert len(set(answers)) == 3
    assert [tokens(again, index) for index in range(3)] == answers
    alone = chunks(engine, temperature=1.5, seed=8, max_tokens=6)
    assert tokens(alone) == answers[1]


def test_requests_share_steps_and_keep_their_own_answers(engine: Engine) -> None:
    prompts = [(*PROMPT, 253), (*PROMPT, 1135, 282), (28, 284, 260)]
    alone = [tokens(chunks(engine, prompt, max_tokens=5)) for prompt in prompts]
    handles = [engine.submit(request(prompt, max_tokens=5)) for prompt in prompts]
    assert [tokens(list(handle)) for handle in handles] == alone


def test_cancel_frees_the_slot(engine: Engine) -> None:
    handle = engine.submit(request(max_tokens=400, ignore_eos=True))
    made = []
    for chunk in handle:
        made.append(chunk)
        handle.cancel()
    assert made[-1].finish_reason == "cancelled"
    assert len(tokens(made)) < 400
    assert engine.running() == 0


@pytest.mark.parametrize(
    ("constraint", "accepts"),
    [
        (Constraint(kind="regex", value="[a-z]{2}-(foo|bar)"), lambda text: text[2:] in ("-foo", "-bar")),
        (Constraint(kind="json_schema", value={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
                                               "additionalProperties": False}), lambda text: isinstance(json.loads(text)["a"], int)),
        (Constraint(kind="grammar", value='root ::= "left" | "right"'), lambda text: text in ("left", "right")),
        (Constraint(kind="grammar", value='start: "left" | "right"'), lambda text: text in ("left", "right")),
    ],
    ids=["regex", "json_schema", "gbnf", "lark"],
)  # fmt: skip
def test_constraints_hold(
    engine: Engine, asset: Callable[[str], Path], constraint: Constraint, accepts: Callable[[str], bool]
) -> None:
    made = chunks(engine, max_tokens=40, constraint=constraint)
    assert made[-1].finish_reason == "stop"
    text = load_tokenizer(asset("smollm2")).decode(tokens(made))
    assert accepts(text), text


@pytest.mark.parametrize("kind, value", [("regex", "(unclosed"), ("json_schema", {"type": "foo"}), ("grammar", "root ::= (")])
def test_a_constraint_that_does_not_compile_fails_its_own_request_only(engine: Engine, kind: Any, value: Any) -> None:
    other = engine.submit(request())
    with pytest.raises(InvalidValue, match="cannot be compiled"):
        chunks(engine, constraint=Constraint(kind=kind, value=value))
    assert tokens(list(other)) == GREEDY


def test_bias_and_penalties_change_the_choice(engine: Engine) -> None:
    assert tokens(chunks(engine, max_tokens=1, logit_bias={253: -100.0})) == (15556,)
    assert tokens(chunks(engine, max_tokens=1, logit_bias={441: 100.0})) == (441,)
    looping = tokens(chunks(engine, (441,) * 20, max_tokens=12))
    freed = tokens(chunks(engine, (441,) * 20, max_tokens=12, frequency_penalty=2.0, repetition_penalty=1.5))
    assert len(set(freed)) > len(set(looping))


def test_score_equals_generation_and_single_scoring(engine: Engine) -> None:
    made = chunks(engine, logprobs=0)
    items = [
        ScoreItem(prompt=PROMPT, continuations=(GREEDY, (253,), (441, 9), ())),
        ScoreItem(prompt=(*PROMPT, 253), continuations=(GREEDY[1:3],)),
    ]
    scored = engine.score(items, top=2)
    assert [one.logprob for one in scored[0].continuations[0]] == pytest.approx(
        [chunk.logprobs[0].logprob for chunk in made], abs=0.05
    )
    assert [len(one) for one in scored[0].continuations] == [8, 1, 2, 0]
    assert scored[0].continuations[0][0].top[0][0] == 253
    single = [engine.score([ScoreItem(prompt=PROMPT, continuations=(one,))])[0].continuations[0] for one in items[0].continuations]
    for together, alone in zip(scored[0].continuations, single, strict=True):
        assert [one.logprob for one in together] == pytest.approx([one.logprob for one in alone], abs=0.05)
    assert scored[1].continuations[0][0].logprob == pytest.approx(scored[0].continuations[0][1].logprob, abs=0.05)


def test_more_continuations_than_slots_are_all_scored(engine: Engine) -> None:
    continuations = tuple((300 + number, 400, 500) for number in range(40))
    scored = engine.score([ScoreItem(prompt=PROMPT, continuations=continuations)])
    assert [[one.token_id for one in continuation] for continuation in scored[0].continuations] == [
        list(one) for one in continuations
    ]


def test_continuations_larger_than_the_cache_together_are_all_scored(engine: Engine) -> None:
    continuations = tuple((300 + number, *range(400, 550)) for number in range(8))  # 8 x 150 tokens, the cache has 1024
    scored = engine.score([ScoreItem(prompt=PROMPT, continuations=continuations)])
    assert [len(one) for one in scored[0].continuations] == [151] * 8


def test_generation_goes_on_beside_scoring(engine: Engine) -> None:
    handle = engine.submit(request(max_tokens=30))
    scored = engine.score([ScoreItem(prompt=(*PROMPT, number), continuations=((253,),)) for number in range(300, 310)])
    assert len(scored) == 10
    assert tokens(list(handle))[:8] == GREEDY


def test_what_does_not_fit_the_context_is_refused_with_the_numbers(engine: Engine) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"500 tokens and 13 more .* 512"):
        chunks(engine, range(300, 800), max_tokens=13)
    with pytest.raises(ContextLengthExceeded, match="512"):
        engine.score([ScoreItem(prompt=tuple(range(300, 812)), continuations=((5,),))])
    assert tokens(chunks(engine, range(300, 800), max_tokens=2))


def test_zero_tokens_is_an_answer(engine: Engine) -> None:
    made = chunks(engine, max_tokens=0)
    assert [(chunk.token_ids, chunk.finish_reason) for chunk in made] == [((), "length")]


def test_what_it_cannot_do_is_said(engine: Engine) -> None:
    assert Feature.ADAPTERS not in engine.features and Feature.EMBED not in engine.features
    with pytest.raises(UnsupportedFeature):
        engine.embed([PROMPT])
    with pytest.raises(UnsupportedFeature):
        engine.score([], adapter=Adapter(name="a", folder=Path("a")))


def test_close_fails_what_runs_and_refuses_more(asset: Callable[[str], Path]) -> None:
    folder = asset("smollm2")
    engine = load("llamacpp", smollm2_card(folder), folder)
    assert engine.memory_bytes > 90_000_000
    handle = engine.submit(request(max_tokens=400, ignore_eos=True))
    stream = iter(handle)
    next(stream)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        list(stream)
    with pytest.raises(EngineError, match="closed"):
        engine.submit(request())


def test_a_file_that_is_no_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"junk" * 100)
    card = ModelCard(
        name="junk", version="0", family=Family.CAUSAL, format="gguf", architecture="llama", source="test",
        files=(ModelFile(path="model.gguf", sha256="", size_bytes=400),), context_length=512,
    )  # fmt: skip
    with pytest.raises(CorruptFile, match="invalid magic"):
        load("llamacpp", card, tmp_path)


def test_a_build_with_another_layout_is_refused() -> None:
    found = binding.Params().set(binding.CONTEXT_FIELDS, n_ctx=513)
    with pytest.raises(EngineError, match=r"llama_context_params.n_ctx is 513 where 512"):
        binding._check(found, binding.CONTEXT_FIELDS, "llama_context_params")


def test_availability_and_support(asset: Callable[[str], Path]) -> None:
    backend = backends.get("llamacpp")
    assert backend.availability().ok
    assert Feature.TOP_SCORE in backend.supports(smollm2_card(asset("smollm2"))).features
