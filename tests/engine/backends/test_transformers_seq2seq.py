"""T5, Marian and BART through the step loop: the same text as transformers' own generate, alone or together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from llmos.engine.base import Engine, ScoreItem
from llmos.errors import ContextLengthExceeded
from llmos.types import Family, TokenIds
from tests.engine.backends import tiny

SOURCES: list[TokenIds] = [(10, 20, 30, 1), (40, 1), (7, 8, 9, 10, 11, 12, 13, 14, 1), (100, 101, 1)]


def bart() -> Any:
    return transformers.BartConfig(
        **{
            f"{side}_{what}": value
            for side in ("encoder", "decoder")
            for what, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))
        },
        d_model=32,
        vocab_size=304,
        max_position_embeddings=128,
        decoder_start_token_id=1,
        pad_token_id=0,
        bos_token_id=5,
        eos_token_id=1,
    )


@dataclass
class Pair:
    engine: Engine
    reference: Any
    opening: TokenIds

    def generate(self, source: TokenIds, num: int, **more: Any) -> list[list[int]]:
        made = self.reference.generate(torch.tensor([source]), max_new_tokens=num + len(self.opening) - 1, do_sample=False, **more)
        return [[token for token in row[len(self.opening) :] if token not in (0, 1)] for row in made.tolist()]


@pytest.fixture(scope="module", params=["T5ForConditionalGeneration", "MarianMTModel", "BartForConditionalGeneration"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    config = {"T5ForConditionalGeneration": tiny.t5, "MarianMTModel": tiny.marian, "BartForConditionalGeneration": bart}[
        request.param
    ]()
    folder = tmp_path_factory.mktemp("model")
    forced = {"forced_bos_token_id": 77} if request.param.startswith("Bart") else {}  # as summarisers and translators have
    reference = tiny.save(folder, request.param, config, forced_eos_token_id=None, **forced)
    opening = (1, 77) if forced else (0,)
    pair = Pair(tiny.load(folder, Family.SEQ2SEQ), reference, opening)
    yield pair
    pair.engine.close()


def test_texts_together_become_what_each_becomes_alone(pair: Pair) -> None:
    lengths = [12, 5, 20, 1]
    handles = [pair.engine.submit(tiny.request(s, max_tokens=n)) for s, n in zip(SOURCES, lengths, strict=True)]
    for handle, source, length in zip(handles, SOURCES, lengths, strict=True):
        assert [token for token in tiny.tokens(handle) if token] == pair.generate(source, length)[0]


def test_a_text_that_comes_later_is_served_beside_the_running_one(pair: Pair) -> None:
    first = pair.engine.submit(tiny.request(SOURCES[2], max_tokens=60, ignore_eos=True))
    chunks = iter(first)
    next(chunks)
    late = pair.engine.submit(tiny.request(SOURCES[1], max_tokens=5))
    assert [token for token in tiny.tokens(late) if token] == pair.generate(SOURCES[1], 5)[0]
    first.cancel()
    assert [chunk.finish_reason for chunk in chunks][-1] in ("cancelled", "length")


def test_beams_equal_generate(pair: Pair) -> None:
    answers = tiny.collect(pair.engine.submit(tiny.request(SOURCES[2], max_tokens=8, num_beams=4, n=2)))
    expected = pair.generate(SOURCES[2], 8, num_beams=4, num_return_sequences=2)
    assert [[t for chunk in answers[i] for t in chunk.token_ids if t] for i in range(2)] == expected


def test_scores_equal_teacher_forcing(pair: Pair) -> None:
    continuations: tuple[TokenIds, ...] = ((9,), (50, 51, 52), (60, 1))
    items = [ScoreItem(prompt=source, continuations=continuations) for source in SOURCES]
    for item, result in zip(items, pair.engine.score(items, top=2), strict=True):
        for continuation, entries in zip(continuations, result.continuations, strict=True):
            fed = torch.tensor([pair.opening + continuation[:-1]])
            with torch.no_grad():
                logits = pair.reference(input_ids=torch.tensor([item.prompt]), decoder_input_ids=fed).logits[0]
            expected = logits.log_softmax(-1)[len(pair.opening) - 1 :]
            for place, entry in enumerate(entries):
                assert entry.token_id == continuation[place]
                assert entry.logprob == pytest.approx(float(expected[place, continuation[place]]), abs=2e-4)
                assert [token for token, _ in entry.top] == expected[place].topk(2).indices.tolist()


def test_the_request_may_set_how_the_decoder_starts(pair: Pair) -> None:
    opening = (*pair.opening, 88)
    made = pair.reference.generate(
        torch.tensor([SOURCES[0]]), decoder_input_ids=torch.tensor([opening]), max_new_tokens=6, do_sample=False
    )
    found = tiny.tokens(pair.engine.submit(tiny.request(SOURCES[0], max_tokens=6, decoder_prompt=opening)))
    assert [token for token in found if token] == [token for token in made[0, len(opening) :].tolist() if token not in (0, 1)]


def test_answers_of_one_text_are_drawn_apart(pair: Pair) -> None:
    answers = tiny.collect(pair.engine.submit(tiny.request(SOURCES[0], n=3, seed=3, temperature=2.0)))
    assert len({tuple(t for chunk in answers[i] for t in chunk.token_ids) for i in range(3)}) == 3


def test_a_source_longer_than_the_model_reads_is_refused(pair: Pair) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"129 tokens.*128"):
        list(pair.engine.submit(tiny.request((5,) * 129)))


def test_a_decoder_with_learned_positions_is_not_run_past_them(tmp_path: Path) -> None:
    tiny.save(tmp_path, "BartForConditionalGeneration", bart())
    engine = tiny.load(tmp_path, Family.SEQ2SEQ)
    with pytest.raises(ContextLengthExceeded, match=r"129.*128"):
        list(engine.submit(tiny.request(SOURCES[0], max_tokens=128)))
    engine.close()
