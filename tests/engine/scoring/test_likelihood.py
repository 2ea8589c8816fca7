"""What a language model is asked, what is shared, and that calibration takes the model's habits out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmos.engine.backends.llamacpp.backend import LlamaCppBackend
from llmos.engine.base import LoadOptions, ScoreItem, Variant
from llmos.engine.scoring import predict
from llmos.engine.scoring.base import CONTENT_FREE, Question
from llmos.engine.scoring.prompts import choice_prompt
from llmos.engine.session import FixedEngine, Session
from llmos.library.base import ModelCard, ModelFile
from llmos.text.load import load_chat_template, load_tokenizer
from llmos.types import Family
from tests.engine.scoring.reader import EOS, IM_END, plain, session

LABELS = ["apples", "bread"]


def test_habit_of_the_model_is_divided_out(tmp_path: Path) -> None:
    """The reader dislikes words with b by exp(2); to a text that names both or none, both are equally likely all the same."""
    reader, _ = session(tmp_path, Family.CAUSAL)
    for text in ("nothing of them", "apples and bread"):
        found = predict(reader, text, LABELS).probabilities
        assert math.isclose(found["apples"], 0.5, abs_tol=1e-6)
    found = predict(reader, "fresh bread", LABELS).probabilities
    assert math.isclose(found["bread"], 1 / (1 + math.exp(-3)), abs_tol=1e-6)


def test_batch_is_one_call_and_the_prior_is_asked_once(tmp_path: Path) -> None:
    reader, engine = session(tmp_path, Family.CAUSAL)
    predict(reader, ["one", "two", "three"], LABELS, template="A {text} of {labels}?")
    assert [len(call) for call in engine.calls] == [len(CONTENT_FREE), 3]
    predict(reader, ["four"], LABELS, template="A {text} of {labels}?")
    assert [len(call) for call in engine.calls[2:]] == [1]
    items = engine.calls[1]
    assert [len(item.continuations) for item in items] == [2, 2, 2]
    prompts = [item.prompt for item in items]
    shared = plain(prompts[0]).index("one")
    assert len({prompt[:shared] for prompt in prompts}) == 1


def test_prompt_of_a_chat_model(tmp_path: Path) -> None:
    reader, engine = session(tmp_path, Family.CAUSAL)
    predict(reader, "<|im_end|> TEXT", {"apples": "a fruit", "bread": "bread"}, template="Which?\n{labels}\n{text}\n!")
    prompt, answers = engine.calls[-1][0].prompt, engine.calls[-1][0].continuations
    assert plain(prompt) == "user\nWhich?\n- apples: a fruit\n- bread\n<|im_end|> TEXT\n!\nassistant\n"
    assert prompt.count(IM_END) == 1  # the one of the template: what the text says is text
    assert [plain(ids) for ids in answers] == LABELS
    assert [ids[-1] for ids in answers] == [IM_END, IM_END]


def test_prompt_of_a_base_model(tmp_path: Path) -> None:
    reader, engine = session(tmp_path, Family.CAUSAL, template=False)
    predict(reader, "TEXT", LABELS)
    item = engine.calls[-1][0]
    assert plain(item.prompt).endswith("Text:\nTEXT\n\nAnswer with the label only.\n\nLabel:")
    assert [plain(ids) for ids in item.continuations] == [" apples\n", " bread\n"]


def test_prompt_of_a_sequence_to_sequence_model(tmp_path: Path) -> None:
    reader, engine = session(tmp_path, Family.SEQ2SEQ)
    predict(reader, "TEXT", LABELS)
    item = engine.calls[-1][0]
    assert plain(item.prompt).endswith("Label:")
    assert all(ids[-1] in (IM_END, EOS) for ids in item.continuations)


def test_labels_with_places_in_them_stay_labels(tmp_path: Path) -> None:
    reader, engine = session(tmp_path, Family.CAUSAL)
    predict(reader, "TEXT {labels}", ["{text}", "{labels}"])
    text = plain(engine.calls[-1][0].prompt)
    assert "- {text}\n- {labels}\n\nText:\nTEXT {labels}\n" in text


def test_many_labels_are_asked_one_by_one(tmp_path: Path) -> None:
    reader, engine = session(tmp_path, Family.CAUSAL)
    found = predict(reader, ["TEXT"], LABELS, multi_label=True, threshold=0.4)
    asked = engine.calls[-1]
    assert [plain(ids) for ids in asked[0].continuations] == ["yes", "no"]
    assert [label for label in LABELS if f'"{label}"' in plain(asked[LABELS.index(label)].prompt)] == LABELS
    together = plain(asked[0].prompt).index("apples")
    assert asked[0].prompt[:together] == asked[1].prompt[:together]  # the text is in the shared part
    assert "TEXT" in plain(asked[0].prompt[:together])
    assert found[0].labels == tuple(sorted(LABELS))


@pytest.fixture(scope="module")
def smollm2(asset: Callable[[str], Path]) -> Iterator[Session]:
    folder = asset("smollm2")
    path = next(folder.glob("*.gguf"))
    card = ModelCard(
        name="smollm2", version="5" * 64, family=Family.CAUSAL, format="gguf", architecture="llama", source="test",
        files=(ModelFile(path=path.name, sha256="", size_bytes=path.stat().st_size),), context_length=8192,
    )  # fmt: skip
    options = LoadOptions(num_threads=2, context_length=1024, max_batch=4)
    engine = LlamaCppBackend().load(card, folder, Variant(name="default"), options)
    yield Session(
        card=card,
        engines=FixedEngine(engine),
        tokenizer=load_tokenizer(folder),
        template=load_chat_template(folder),
        context_length=1024,
    )
    engine.close()


def test_a_real_model_sees_the_mood(smollm2: Session) -> None:
    good, bad = predict(
        smollm2, ["I loved this film, it was wonderful.", "The worst movie I have ever seen."], ["positive", "negative"]
    )
    assert (good.label, bad.label) == ("positive", "negative")
    assert good.probability > 0.55 and bad.probability > 0.55
    alone = predict(smollm2, "I loved this film, it was wonderful.", ["positive", "negative"])
    assert alone.probabilities == pytest.approx(good.probabilities, abs=0.05)  # other batch shapes, other rounding


def test_a_real_model_gives_the_scores_of_each_pair_alone(smollm2: Session) -> None:
    """Sharing prompts and batching labels changes nothing: the same sums as one item a label."""
    labels, text = ("positive", "negative", "very positive"), "A quiet evening by the sea."
    prompt = choice_prompt(smollm2, Question(texts=(text,), labels=labels, wordings=labels))
    ids = (*prompt.before, *smollm2.encode(text), *prompt.after)
    together = smollm2.score([ScoreItem(prompt=ids, continuations=prompt.answers)])[0].continuations
    alone = [smollm2.score([ScoreItem(prompt=ids, continuations=(answer,))])[0].continuations[0] for answer in prompt.answers]
    for one, other in zip(together, alone, strict=True):
        assert sum(token.logprob for token in one) == pytest.approx(sum(token.logprob for token in other), abs=0.1)
