"""The openvino engine on a real model: every feature it declares, exactness of the converted graph, and faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmos.engine.backends.openvino import convert
from llmos.engine.base import Engine, Feature, LoadOptions, ScoreItem, backends, joined
from llmos.engine.supervisor import ProcessEngine
from llmos.errors import ContextLengthExceeded, EngineError, InvalidValue, StorageError
from llmos.text.load import load_tokenizer
from llmos.types import Constraint, Family
from tests.engine.backends.native import (
    GREEDY,
    NEXT,
    PROMPT,
    TIE,
    TOLERANCE,
    chat_prompt,
    chunks,
    load,
    request,
    smollm2_card,
    tokens,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openvino") / "cache"


@pytest.fixture(scope="module")
def engine(asset: Callable[[str], Path], cache: Path) -> Iterator[Engine]:
    folder = asset("smollm2")
    loaded = load("openvino", smollm2_card(folder), folder, cache_folder=cache)
    yield loaded
    loaded.close()


def test_greedy_answer_and_logprobs_are_those_of_the_reference(engine: Engine) -> None:
    made = chunks(engine, logprobs=0)
    scored = engine.score([ScoreItem(prompt=PROMPT, continuations=(GREEDY,))], top=1)[0].continuations[0]
    assert all(one.top[0][1] - one.logprob < TIE for one in scored)
    assert tokens(made)[0] == GREEDY[0]
    assert [chunk.finish_reason for chunk in made] == [None] * 7 + ["length"]
    assert made[0].logprobs[0].logprob == pytest.approx(NEXT[253], abs=TOLERANCE)


def test_every_variant_gives_the_reference(asset: Callable[[str], Path], cache: Path, engine: Engine) -> None:
    """engine: converted the model already."""
    folder = asset("smollm2")
    before = sorted(cache.rglob("*"))
    card = smollm2_card(folder)
    for number in range(1, len(backends.get("openvino").supports(card).variants)):
        other = load("openvino", card, folder, variant=number, cache_folder=cache)
        made = chunks(other, logprobs=0, max_tokens=3)
        other.close()
        scored = engine.score([ScoreItem(prompt=PROMPT, continuations=(tokens(made),))], top=1)[0].continuations[0]
        assert all(one.top[0][1] - one.logprob < TIE for one in scored), other.variant
        assert made[0].logprobs[0].logprob == pytest.approx(NEXT[253], abs=TOLERANCE), other.variant
    assert sorted(cache.rglob("*")) == before


def test_in_float32_only_the_rounding_of_weights_is_left(asset: Callable[[str], Path], cache: Path, engine: Engine) -> None:
    folder = asset("smollm2")
    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "KV_CACHE_PRECISION": "f32"}
    other = load("openvino", smollm2_card(folder), folder, cache_folder=cache, properties=exact)
    scored = other.score([ScoreItem(prompt=PROMPT, continuations=tuple((token,) for token in NEXT))])
    other.close()
    assert [one[0].logprob for one in scored[0].continuations] == pytest.approx(list(NEXT.values()), abs=0.1)


def test_answers_of_one_request_are_told_apart_and_repeatable(engine: Engine) -> None:
    settings: dict[str, Any] = {"temperature": 1.5, "seed": 7, "n": 3, "max_tokens": 6}
    made, again = chunks(engine, **settings), chunks(engine, **settings)
    answers = [tokens(made, index) for index in range(3)]
    assert len(set(answers)) == 3
    assert [tokens(again, index) for index in range(3)] == answers


def test_prompts_share_their_beginning_where_that_is_asked_for(asset: Callable[[str], Path], cache: Path) -> None:
    """Four prompts at once that open with the same 320 tokens hold the blocks of little more than one."""
    folder, most = asset("smollm2"), {}
    for share in (False, True):
        engine: Any = load("openvino", smollm2_card(folder), folder, cache_folder=cache, share_prefixes=share)
        assert (Feature.PREFIX_CACHE in engine.features) is share
        opening = chat_prompt(320)
        chunks(engine, opening)  # a beginning is known once it has been read
        for handle in [engine.submit(request((*opening, 1000 + number), ignore_eos=True)) for number in range(4)]:
            list(handle)
        most[share] = engine._pipeline.get_metrics().max_cache_usage
        engine.close()
    assert 0 < 2 * most[True] < most[False]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "seed": 5}], ids=["greedy", "seeded"])
@pytest.mark.parametrize("length", [33, 64, 130])  # 1, 0 and 2 tokens behind a block of the cache
def test_the_same_request_gives_the_same_bits_cold_and_warm(engine: Engine, length: int, sampling: dict[str, Any]) -> None:
    prompt = chat_prompt(length, salt=len(sampling))
    made = [chunks(engine, prompt, max_tokens=24, ignore_eos=True, logprobs=0, **sampling) for _ in range(2)]
    chunks(engine, prompt, max_tokens=1)
    chunks(engine, (*prompt, *tokens(made[0])), max_tokens=4)
    made.append(chunks(engine, prompt, max_tokens=24, ignore_eos=True, logprobs=0, **sampling))
    assert [[chunk.logprobs for chunk in one] for one in made[1:]] == [[chunk.logprobs for chunk in made[0]]] * 2


@pytest.mark.parametrize("sampling", [{"max_tokens": 20}, {"max_tokens": 20, "n": 2, "temperature": 1.0, "seed": 3}])
def test_an_unwatched_answer_is_the_watched_one_in_one_chunk(engine: Engine, sampling: dict[str, Any]) -> None:
    made = chunks(engine, logprobs=0, **sampling)
    whole = list(engine.submit(replace(request(logprobs=0, **sampling), stream=False)))
    assert len(whole) == sampling.get("n", 1)
    for one in whole:
        parts = [chunk for chunk in made if chunk.index == one.index]
        assert one == joined(parts)


def test_a_cancelled_unwatched_answer_keeps_what_was_made(engine: Engine) -> None:
    handle = engine.submit(replace(request(max_tokens=400, ignore_eos=True, logprobs=0), stream=False))
    watched = engine.submit(request(max_tokens=400, ignore_eos=True))
    for _, _chunk in zip(range(5), watched, strict=False):
        pass
    handle.cancel()
    watched.cancel()
    [whole] = list(handle)
    assert whole.finish_reason == "cancelled" and 3 < len(whole.token_ids) == len(whole.logprobs) < 400
    list(watched)


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
    ],
    ids=["regex", "json_schema", "gbnf"],
)  # fmt: skip
def test_constraints_hold(
    engine: Engine, asset: Callable[[str], Path], constraint: Constraint, accepts: Callable[[str], bool]
) -> None:
    made = chunks(engine, max_tokens=40, constraint=constraint)
    assert made[-1].finish_reason == "stop"
    text = load_tokenizer(asset("smollm2")).decode(tokens(made))
    assert accepts(text), text


def test_a_whole_constraint_ends_an_answer_that_ignores_the_end(engine: Engine) -> None:
    made = chunks(engine, max_tokens=40, ignore_eos=True, constraint=Constraint(kind="regex", value="[a-z]{2}-(foo|bar)"))
    assert made[-1].finish_reason == "stop" and len(tokens(made)) < 40


@pytest.mark.parametrize("kind, value", [("regex", "(unclosed"), ("json_schema", {"type": "foo"}), ("grammar", "root ::= (")])
def test_a_constraint_that_does_not_compile_fails_its_own_request_only(engine: Engine, kind: Any, value: Any) -> None:
    other = engine.submit(request())
    with pytest.raises(InvalidValue, match="cannot be compiled"):
        chunks(engine, constraint=Constraint(kind=kind, value=value))
    assert tokens(list(other)) == tokens(chunks(engine))


def test_ends_are_kept_out_and_can_be_ignored(engine: Engine, asset: Callable[[str], Path]) -> None:
    tokenizer = load_tokenizer(asset("smollm2"))
    text = "<|im_start|>user\nSay only the word yes.<|im_end|>\n<|im_start|>assistant\n"
    prompt = tokenizer.encode(text, parse_special=True)
    made = chunks(engine, prompt, max_tokens=60)
    assert made[-1].finish_reason == "stop"
    assert not set(tokens(made)) & set(tokenizer.special.eos)
    longer = chunks(engine, prompt, max_tokens=60, ignore_eos=True)
    assert len(tokens(longer)) == 60 and longer[-1].finish_reason == "length"
    assert set(tokens(longer)) & set(tokenizer.special.eos) and "<|im_end|>" not in tokenizer.decode(tokens(longer))


def test_score_equals_single_scoring_and_generation(engine: Engine) -> None:
    made = chunks(engine, logprobs=0)
    items = [
        ScoreItem(prompt=PROMPT, continuations=(tokens(made), (253,), (441, 9), ())),
        ScoreItem(prompt=(*PROMPT, 253), continuations=(GREEDY[1:3],)),
        ScoreItem(prompt=(*PROMPT, 1135, 282, 260), continuations=((300,), (300, 301))),
    ]
    scored = engine.score(items, top=2)
    assert [one.logprob for one in scored[0].continuations[0]] == pytest.approx(
        [chunk.logprobs[0].logprob for chunk in made], abs=0.3
    )
    assert [len(one) for one in scored[0].continuations] == [8, 1, 2, 0]
    assert scored[0].continuations[0][0].top[0][0] == 253
    for item, together in zip(items, scored, strict=True):
        for index, continuation in enumerate(item.continuations):
            alone = engine.score([ScoreItem(prompt=item.prompt, continuations=(continuation,))])[0].continuations[0]
            assert [one.logprob for one in together.continuations[index]] == pytest.approx(
                [one.logprob for one in alone], abs=0.2, rel=0.05
            )
    assert engine.score([]) == []


def test_memory_grows_by_the_scorer_also_across_the_process(cache: Path, engine: Engine, asset: Callable[[str], Path]) -> None:
    folder, backend = asset("smollm2"), backends.get("openvino")
    card = smollm2_card(folder)
    options = LoadOptions(num_threads=2, context_length=512, max_batch=4, cache_folder=cache)
    other = ProcessEngine(backend, card, folder, backend.supports(card).variants[0], options)
    before = other.memory_bytes
    other.score([ScoreItem(prompt=PROMPT, continuations=((253,),))])
    once = other.memory_bytes
    other.score([ScoreItem(prompt=PROMPT, continuations=((253,),))])
    other.close()
    assert once > before + 2**20 and other.memory_bytes == once


def test_what_does_not_fit_the_context_is_refused_with_the_numbers(engine: Engine) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"500 tokens and 13 more .* 512"):
        chunks(engine, range(300, 800), max_tokens=13)
    assert tokens(chunks(engine, range(300, 800), max_tokens=2))
    assert chunks(engine, max_tokens=0)[0].finish_reason == "length"


def test_close_fails_what_runs_and_refuses_more(asset: Callable[[str], Path], cache: Path, engine: Engine) -> None:
    folder = asset("smollm2")
    other = load("openvino", smollm2_card(folder), folder, cache_folder=cache)
    stream = iter(other.submit(request(max_tokens=400, ignore_eos=True)))
    next(stream)
    other.close()
    other.close()
    with pytest.raises(EngineError, match="closed"):
        list(stream)
    with pytest.raises(EngineError, match="closed"):
        other.submit(request())


def test_a_converted_folder_is_whole_and_an_unwritable_place_is_said(
    cache: Path, engine: Engine, asset: Callable[[str], Path]
) -> None:
    (folder,) = cache.iterdir()  # nothing half-made beside it
    assert {convert.MODEL, convert.TOKENIZER, convert.GENERATION} <= {path.name for path in folder.iterdir()}
    assert convert.end_tokens(folder) == tuple(sorted(load_tokenizer(asset("smollm2")).special.eos))
    with pytest.raises(StorageError, match="cannot be written"):
        convert.prepare(smollm2_card(asset("smollm2")), asset("smollm2"), folder / convert.MODEL / "below-a-file")


def test_an_openvino_folder_is_loaded_as_it_is(cache: Path, engine: Engine, asset: Callable[[str], Path]) -> None:
    (folder,) = cache.iterdir()
    other = load("openvino", replace(smollm2_card(asset("smollm2")), format="openvino"), folder)
    assert tokens(chunks(other)) == tokens(chunks(engine))
    other.close()


def test_support_is_decided_by_the_card(asset: Callable[[str], Path]) -> None:
    backend, card = backends.get("openvino"), smollm2_card(asset("smollm2"))
    support = backend.supports(card)
    assert support.ok and [variant.name for variant in support.variants][:3] == ["default", "f32-group32", "dynquant32"]
    assert Feature.LOGPROBS in support.features and Feature.TOP_LOGPROBS not in support.features
    for change, why in (
        ({"architecture": "gemma3"}, "knows llama, qwen2, qwen3"),
        ({"quantization": "IQ4_XS"}, "quantisation IQ4_XS"),
        ({"family": Family.ENCODER}, "causal models"),
    ):
        refused = backend.supports(replace(card, **change))
        assert not refused.ok and why in refused.why
