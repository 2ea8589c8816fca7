"""The step loop on causal models: what a row gets must not depend on who else is in the batch."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from llmos.engine.backends.transformers.generator import GeneratorEngine
from llmos.engine.base import Engine, ScoreItem
from llmos.errors import ContextLengthExceeded, DeadlineExceeded, EngineError, InvalidValue, LLMOSError, OverCapacity
from llmos.types import Constraint, Family, TokenIds
from tests.engine.backends import tiny

PROMPTS: list[TokenIds] = [(10, 20, 30), (40,), (7, 8, 9, 10, 11, 12, 13, 14, 15), (100, 101), (200, 50, 60, 70, 80), (33, 44)]


@dataclass
class Pair:
    engine: Engine
    reference: Any
    folder: Path

    def greedy(self, prompt: TokenIds, num: int) -> list[int]:
        """What transformers' own generate writes for this prompt alone."""
        made = self.reference.generate(torch.tensor([prompt]), max_new_tokens=num, do_sample=False, pad_token_id=0)
        return [token for token in made[0, len(prompt) :].tolist() if token != 1]


def make(folder: Path, class_name: str, config: Any, **options: Any) -> Pair:
    reference = tiny.save(folder, class_name, config)
    return Pair(tiny.load(folder, Family.CAUSAL, context_length=256, **options), reference, folder)


@pytest.fixture(scope="module", params=["LlamaForCausalLM", "MistralForCausalLM", "GPT2LMHeadModel"])
def any_pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    config = {"LlamaForCausalLM": tiny.llama, "MistralForCausalLM": tiny.sliding, "GPT2LMHeadModel": tiny.gpt2}[request.param]()
    pair = make(tmp_path_factory.mktemp("model"), request.param, config)
    yield pair
    pair.engine.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = make(tmp_path_factory.mktemp("model"), "LlamaForCausalLM", tiny.llama(), max_batch=4)
    yield pair
    pair.engine.close()


def test_rows_of_a_batch_write_what_each_writes_alone(any_pair: Pair) -> None:
    """Different prompts, different lengths, joining while others run, leaving at different times."""
    lengths = [20, 3, 30, 11, 1, 25]
    handles = [any_pair.engine.submit(tiny.request(p, max_tokens=n)) for p, n in zip(PROMPTS, lengths, strict=True)]
    first = iter(handles[2])
    began = [next(first) for _ in range(5)]
    late = any_pair.engine.submit(tiny.request(PROMPTS[0], max_tokens=12))
    assert [token for chunk in (*began, *first) for token in chunk.token_ids] == any_pair.greedy(PROMPTS[2], 30)
    for index in (0, 1, 3, 4, 5):
        assert tiny.tokens(handles[index]) == any_pair.greedy(PROMPTS[index], lengths[index])
    assert tiny.tokens(late) == any_pair.greedy(PROMPTS[0], 12)


def test_scores_equal_a_plain_forward_pass(any_pair: Pair) -> None:
    continuations: tuple[TokenIds, ...] = ((9,), (50, 51, 52, 53), (), (60, 61))
    shared = (77, 78, 79, 80)
    items = [ScoreItem(prompt=shared + prompt, continuations=continuations) for prompt in PROMPTS]
    for item, result in zip(items, any_pair.engine.score(items, top=3), strict=True):
        for continuation, entries in zip(item.continuations, result.continuations, strict=True):
            assert [entry.token_id for entry in entries] == list(continuation)
            with torch.no_grad():
                logits = any_pair.reference(torch.tensor([item.prompt + continuation])).logits[0]
            expected = logits.log_softmax(-1)
            for place, entry in enumerate(entries, len(item.prompt) - 1):
                assert entry.logprob == pytest.approx(float(expected[place, entry.token_id]), abs=2e-4)
                assert [token for token, _ in entry.top] == expected[place].topk(3).indices.tolist()


def test_a_long_continuation_and_a_long_prompt_are_scored_in_pieces(tmp_path: Path) -> None:
    reference = tiny.save(tmp_path, "LlamaForCausalLM", tiny.llama())
    engine = tiny.load(tmp_path, Family.CAUSAL, context_length=2048)
    ids = tuple(torch.randint(6, 300, (1500,), generator=torch.Generator().manual_seed(1)).tolist())
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0].log_softmax(-1)
    for cut in (1, 1200):
        (result,) = engine.score([ScoreItem(prompt=ids[:cut], continuations=(ids[cut:],))])
        found = torch.tensor([entry.logprob for entry in result.continuations[0]])
        wanted = expected[torch.arange(cut - 1, 1499), torch.tensor(ids[cut:])]
        assert torch.allclose(found, wanted, atol=1e-3)
    items = [ScoreItem(prompt=ids[start : start + 700], continuations=((5, 6),)) for start in (0, 3, 9)]
    for item, result in zip(items, engine.score(items), strict=True):
        with torch.no_grad():
            logits = reference(torch.tensor([(*item.prompt, 5)])).logits[0].log_softmax(-1)
        assert result.continuations[0][1].logprob == pytest.approx(float(logits[-1, 6]), abs=1e-3)
    prompt = tiny.tokens(engine.submit(tiny.request(ids[:1200], max_tokens=3)))
    made = reference.generate(torch.tensor([ids[:1200]]), max_new_tokens=3, do_sample=False)
    assert prompt == made[0, 1200:].tolist()
    engine.close()


def test_scoring_gives_way_to_running_answers(tmp_path: Path) -> None:
    """Prompts of six lengths are six passes here (a sliding window allows no padding), and a step comes between each two."""
    pair = make(tmp_path, "MistralForCausalLM", tiny.sliding())
    handle = pair.engine.submit(tiny.request(PROMPTS[0], max_tokens=200, ignore_eos=True))
    chunks = iter(handle)
    next(chunks)
    handle.take()
    pair.engine.score([ScoreItem(prompt=tuple(range(10, 12 + num)), continuations=((5, 6),)) for num in range(6)])
    assert len(handle.take()) >= 10
    handle.cancel()
    pair.engine.close()


def test_more_requests_than_rows_wait_their_turn(pair: Pair) -> None:
    handles = [pair.engine.submit(tiny.request(PROMPTS[i % 6], max_tokens=6)) for i in range(12)]
    for number, handle in enumerate(handles):
        assert tiny.tokens(handle) == pair.greedy(PROMPTS[number % 6], 6)
    assert pair.engine.running() == 0


def test_the_end_token_ends_and_is_not_part_of_the_answer(pair: Pair) -> None:
    for prompt in [(i, i + 1) for i in range(10, 90)]:  # one of them ends by itself
        chunks = tiny.collect(pair.engine.submit(tiny.request(prompt, max_tokens=40)))[0]
        if chunks[-1].finish_reason == "stop":
            break
    assert chunks[-1].finish_reason == "stop"
    assert all(1 not in chunk.token_ids for chunk in chunks)
    longer = tiny.collect(pair.engine.submit(tiny.request(prompt, max_tokens=40, ignore_eos=True)))[0]
    assert longer[-1].finish_reason == "length" and sum(len(chunk.token_ids) for chunk in longer) == 40


def test_answers_of_one_request_are_drawn_apart_and_repeat_with_their_seed(pair: Pair) -> None:
    asked = tiny.request(PROMPTS[0], n=3, seed=7, temperature=1.5, max_tokens=10)
    first, again = tiny.collect(pair.engine.submit(asked)), tiny.collect(pair.engine.submit(asked))
    assert first == again
    answers = [[token for chunk in first[index] for token in chunk.token_ids] for index in range(3)]
    assert len({tuple(answer) for answer in answers}) == 3
    second = tiny.tokens(pair.engine.submit(tiny.request(PROMPTS[0], seed=8, temperature=1.5, max_tokens=10)))
    assert second == answers[1]  # answer i uses seed + i


def test_logprobs_are_those_of_scoring(pair: Pair) -> None:
    chunks = tiny.collect(pair.engine.submit(tiny.request(PROMPTS[4], max_tokens=5, logprobs=2, temperature=2.0, seed=1)))[0]
    entries = [entry for chunk in chunks for entry in chunk.logprobs]
    ids = tuple(entry.token_id for entry in entries)
    (scored,) = pair.engine.score([ScoreItem(prompt=PROMPTS[4], continuations=(ids,))], top=2)
    for one, other in zip(entries, scored.continuations[0], strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert [token for token, _ in one.top] == [token for token, _ in other.top]


def test_a_cancelled_request_leaves_and_others_go_on(pair: Pair) -> None:
    stays = pair.engine.submit(tiny.request(PROMPTS[0], max_tokens=30))
    goes = pair.engine.submit(tiny.request(PROMPTS[2], max_tokens=240, ignore_eos=True))
    chunks = iter(goes)
    next(chunks)
    goes.cancel()
    assert [chunk.finish_reason for chunk in chunks][-1] == "cancelled"
    assert tiny.tokens(stays) == pair.greedy(PROMPTS[0], 30)
    assert pair.engine.running() == 0


def test_a_passed_deadline_ends_a_request_that_nobody_reads(pair: Pair) -> None:
    handle = pair.engine.submit(tiny.request(PROMPTS[0], max_tokens=200, ignore_eos=True, deadline=time.monotonic() - 1))
    with pytest.raises(DeadlineExceeded):
        list(handle)
    assert tiny.tokens(pair.engine.submit(tiny.request(PROMPTS[1]))) == pair.greedy(PROMPTS[1], 8)
    assert pair.engine.running() == 0


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"max_tokens": 300}, ContextLengthExceeded, "prompt"),
        ({"max_tokens": 0}, InvalidValue, "max_tokens"),
        ({"n": 5}, InvalidValue, "n"),
        ({"logit_bias": {999: 1.0}}, InvalidValue, "logit_bias"),
        ({"num_beams": 3, "temperature": 0.5}, InvalidValue, "temperature"),
        ({"num_beams": 3, "logprobs": 1}, InvalidValue, "logprobs"),
        ({"constraint": Constraint(kind="regex", value="(")}, InvalidValue, "constraint"),
        ({"constraint": Constraint(kind="json_schema", value={"type": "nonsense"})}, InvalidValue, "constraint"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(pair: Pair, fields: dict[str, Any], error: type[LLMOSError], param: str) -> None:
    with pytest.raises(error) as caught:
        list(pair.engine.submit(tiny.request(PROMPTS[0], **fields)))
    assert caught.value.param == param


def test_constraints_hold_for_each_answer_of_a_batch(pair: Pair) -> None:
    from llmos.text.load import load_tokenizer

    tokenizer = load_tokenizer(pair.folder)
    constraint = Constraint(kind="regex", value="(yes|no)[0-9]{3}")
    grammar = Constraint(kind="grammar", value='root ::= "up" | "down"')
    free = pair.engine.submit(tiny.request(PROMPTS[3], max_tokens=9))
    answers = tiny.collect(
        pair.engine.submit(tiny.request(PROMPTS[0], n=2, temperature=1.0, seed=3, max_tokens=20, constraint=constraint))
    )
    other = tokenizer.decode(tiny.tokens(pair.engine.submit(tiny.request(PROMPTS[1], max_tokens=20, constraint=grammar))))
    for chunks in answers.values():
        text = tokenizer.decode([token for chunk in chunks for token in chunk.token_ids])
        assert text[:-3] in ("yes", "no") and text[-3:].isdigit()
        assert chunks[-1].finish_reason == "stop"
    assert other in ("up", "down")
    assert tiny.tokens(free) == pair.greedy(PROMPTS[3], 9)


def test_logit_bias_and_penalties_change_what_is_written(pair: Pair) -> None:
    plain = tiny.tokens(pair.engine.submit(tiny.request(PROMPTS[0], max_tokens=6)))
    assert plain[0] not in tiny.tokens(pair.engine.submit(tiny.request(PROMPTS[0], max_tokens=6, logit_bias={plain[0]: -100.0})))
    unique = tiny.tokens(pair.engine.submit(tiny.request(PROMPTS[0], max_tokens=40, presence_penalty=1000.0, ignore_eos=True)))
    assert len(set(unique)) == 40


def test_beams_find_what_generate_finds(pair: Pair) -> None:
    made = pair.reference.generate(
        torch.tensor([PROMPTS[2]]), max_new_tokens=7, num_beams=3, num_return_sequences=2, do_sample=False, pad_token_id=0
    )
    answers = tiny.collect(pair.engine.submit(tiny.request(PROMPTS[2], max_tokens=7, num_beams=3, n=2)))
    for index in range(2):
        expected = [token for token in made[index, len(PROMPTS[2]) :].tolist() if token not in (0, 1)]
        assert [token for chunk in answers[index] for token in chunk.token_ids] == expected


def test_kv_memory_bounds_what_runs_at_once(tmp_path: Path) -> None:
    token_bytes = 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, width, float32
    pair = make(tmp_path, "LlamaForCausalLM", tiny.llama(), kv_bytes=token_bytes * 40)
    with pytest.raises(OverCapacity, match=f"{token_bytes * 53} bytes.*{token_bytes * 40}"):
        list(pair.engine.submit(tiny.request(PROMPTS[0], max_tokens=50)))
    handles = [pair.engine.submit(tiny.request(prompt, max_tokens=20)) for prompt in PROMPTS]
    assert [tiny.tokens(handle) for handle in handles] == [pair.greedy(prompt, 20) for prompt in PROMPTS]
    pair.engine.close()


def test_closing_cancels_what_runs_and_refuses_what_comes(tmp_path: Path) -> None:
    pair = make(tmp_path, "LlamaForCausalLM", tiny.llama())
    engine = pair.engine
    assert isinstance(engine, GeneratorEngine)
    weights = weakref.ref(engine._model.lm_head.weight)
    handle = engine.submit(tiny.request(PROMPTS[0], max_tokens=250, ignore_eos=True))
    chunks = iter(handle)
    next(chunks)
    engine.close()
    engine.close()
    gc.collect()
    assert [chunk.finish_reason for chunk in chunks][-1] == "cancelled"
    assert pair.engine.running() == 0
    assert weights() is None  # the memory is free, though the engine object still exists
    with pytest.raises(EngineError, match="closed"):
        pair.engine.submit(tiny.request(PROMPTS[0]))
    with pytest.raises(EngineError, match="closed"):
        pair.engine.score([ScoreItem(prompt=(1,), continuations=((2,),))])


async def test_handles_are_async_iterable(pair: Pair) -> None:
    found = [token async for chunk in pair.engine.submit(tiny.request(PROMPTS[0])) for token in chunk.token_ids]
    assert found == pair.greedy(PROMPTS[0], 8)


def test_bf16_runs_and_stays_near(tmp_path: Path) -> None:
    pair = make(tmp_path, "LlamaForCausalLM", tiny.llama())
    half = tiny.load(tmp_path, Family.CAUSAL, dtype="bf16")
    item = ScoreItem(prompt=PROMPTS[2], continuations=((9, 10),))
    (full,), (rounded,) = pair.engine.score([item]), half.score([item])
    for one, other in zip(full.continuations[0], rounded.continuations[0], strict=True):
        assert one.logprob == pytest.approx(other.logprob, rel=0.05, abs=0.3)
    assert half.memory_bytes * 2 == pytest.approx(pair.engine.memory_bytes, rel=0.01)
    pair.engine.close()
    half.close()


def test_smollm2_from_gguf_writes_and_scores(asset: Callable[[str], Path]) -> None:
    """Real weights, dequantised: text that makes sense, JSON that holds to its schema."""
    import json

    from llmos.engine.backends.transformers.backend import F32, TransformersBackend
    from llmos.engine.base import LoadOptions
    from llmos.text.load import load_tokenizer

    folder = asset("smollm2")
    (file,) = folder.glob("*.gguf")
    card = tiny.card(Family.CAUSAL, format_="gguf", files=(file.name,), context_length=1024)
    engine = TransformersBackend().load(card, folder, F32, LoadOptions(num_threads=2, context_length=1024))
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode("The capital of France is")
    assert "Paris" in tokenizer.decode(tiny.tokens(engine.submit(tiny.request(ids, max_tokens=4))))
    (scored,) = engine.score([ScoreItem(prompt=ids, continuations=(tokenizer.encode(" Paris"), tokenizer.encode(" purple")))])
    right, wrong = (sum(entry.logprob for entry in entries) for entries in scored.continuations)
    assert right > wrong + 3
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 99}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    constraint = Constraint(kind="json_schema", value=schema)
    answer = json.loads(tokenizer.decode(tiny.tokens(engine.submit(tiny.request(ids, max_tokens=60, constraint=constraint)))))
    assert sorted(answer) == ["city", "people"] and isinstance(answer["people"], int)
    engine.close()
