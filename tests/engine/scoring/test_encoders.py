"""Heads, entailment, cloze and similarity: against the arithmetic by hand, and on the real models there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmos.engine.base import Engine, Feature, Handle, LoadOptions, Request, Variant
from llmos.engine.scoring import predict
from llmos.engine.session import FixedEngine, Session
from llmos.errors import InvalidValue, UnsupportedFeature
from llmos.library.base import ModelCard, ModelFile
from llmos.text.load import load_tokenizer
from llmos.types import Family, TokenIds
from tests.doubles import fake_card, make_model
from tests.engine.scoring.reader import plain, session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Judge(Engine):
    """Logits by rule: the column of the first label whose name stands in the text; entailment when the last word of the
    hypothesis stands in the premise."""

    backend, variant = "judge", "default"
    features = frozenset({Feature.CLASSIFY})
    memory_bytes, load_s, context_length = 1, 0.0, 512

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.seen: list[str] = []

    def submit(self, request: Request) -> Handle:
        raise NotImplementedError

    def classify(self, inputs: Sequence[tuple[TokenIds, TokenIds]]) -> NDArray[np.float32]:
        import numpy as np

        out = np.zeros((len(inputs), len(self.card.labels)), dtype=np.float32)
        for row, (ids, _) in enumerate(inputs):
            text = plain(ids)
            self.seen.append(text)
            words = text.replace(".", " ").split()
            for place, label in enumerate(self.card.labels):
                met = words[-1] in words[:-1] if label == "ENTAILMENT" else words[-1] not in words[:-1]
                out[row, place] = 4.0 * met if label in ("ENTAILMENT", "contradiction") else 2.0 * (label in words)
        return out

    def close(self) -> None:
        """Nothing to free."""


def judge(folder: Path, *labels: str) -> tuple[Session, Judge]:
    engine = Judge(fake_card("judge", Family.CLASSIFIER, labels=labels))
    return Session(card=engine.card, engines=FixedEngine(engine), tokenizer=load_tokenizer(make_model(folder))), engine


def test_head(tmp_path: Path) -> None:
    trained, _ = judge(tmp_path, "sun", "rain", "snow")
    found = predict(trained, "only rain", ["Snow", "rain"])
    assert (found.strategy, found.label) == ("head", "rain")
    assert found.probabilities["rain"] == pytest.approx(math.exp(2) / (math.exp(2) + 1))
    many = predict(trained, "rain and snow", ["sun", "rain", "snow"], multi_label=True)
    assert set(many.labels) == {"rain", "snow", "sun"}  # 0.5 for the logit 0: at the threshold
    assert predict(trained, "rain and snow", ["sun", "rain", "snow"], multi_label=True, threshold=0.6).labels == ("rain", "snow")
    assert "reads neither descriptions" in predict(trained, "x", {"sun": "warm", "rain": "wet"}).why


def test_entailment(tmp_path: Path) -> None:
    nli, engine = judge(tmp_path, "contradiction", "neutral", "ENTAILMENT")
    found = predict(nli, "we talk about rain ", {"weather": "rain", "money": "banks"}, template="about {label}")
    assert (found.strategy, found.label) == ("entailment", "weather")
    assert found.probability == pytest.approx(math.exp(4) / (math.exp(4) + 1))
    assert engine.seen == ["we talk about rain about rain", "we talk about rain about banks"]
    many = predict(nli, "rain and snow fall ", ["rain", "snow", "sun"], multi_label=True, template="x {label}")
    assert many.labels == ("rain", "snow")
    assert many.probabilities["sun"] == pytest.approx(1 / (1 + math.exp(4)))
    with pytest.raises(InvalidValue, match=r"no \{label\}"):
        predict(nli, "x", ["a", "b"], template="nothing")
    three, _ = judge(tmp_path, "a", "b", "entails it")
    with pytest.raises(UnsupportedFeature, match="no label for contradiction"):
        predict(three, "x", ["c", "d"], multi_label=True)


def test_cloze_by_hand(tmp_path: Path) -> None:
    """Byte tokens: a label's letters are likelier by 3 each where the text has them; the sentence itself has e, i, s, t, ….
    The gain over the sentence alone is the mean over the letters."""
    masked, _ = session(tmp_path, Family.MASKED)
    found = predict(masked, "zzz", ["zz", "qqq"], template="{text} It was {label}.")
    assert found.strategy == "cloze"
    gain = {"zz": 3.0 * 2 / 3, "qqq": 0.0}  # two of " zz"'s three bytes; the space stands in every sentence
    share = math.exp(gain["zz"]) / (math.exp(gain["zz"]) + 1)
    assert found.probabilities["zz"] == pytest.approx(share, rel=1e-5)
    many = predict(masked, "zzz qq", ["zz", "qqq"], multi_label=True)
    assert set(many.labels) == {"zz", "qqq"}


def test_cloze_on_a_real_bert(asset: Callable[[str], Path]) -> None:
    pytest.importorskip("torch")
    bert = real(asset("bert-tiny-mlm"), Family.MASKED)
    texts = ["The film was in the cinema.", "[MASK] sports and sports"]
    found = predict(bert, texts, ["cinema", "sports", "machine learning", "antidisestablishmentarianism"])
    assert [round(sum(prediction.probabilities.values()), 6) for prediction in found] == [1.0, 1.0]
    assert found[0].label == "cinema"
    assert found[1].probabilities["sports"] > found[1].probabilities["cinema"]
    with pytest.raises(InvalidValue, match="cannot write the label"):
        predict(bert, "x", ["🦄", "cinema"])


def test_similarity_on_a_real_encoder(asset: Callable[[str], Path]) -> None:
    pytest.importorskip("torch")
    mini = real(asset("minilm"), Family.ENCODER)
    texts = ["I loved this film, it was wonderful.", "The worst movie I have ever seen.", "The striker scored twice."]
    mood = predict(mini, texts[:2], ["positive", "negative"])
    assert [prediction.label for prediction in mood] == ["positive", "negative"]
    topic = predict(mini, texts, {"a": "a film", "b": "football"})
    assert [prediction.label for prediction in topic] == ["a", "a", "b"]
    assert predict(mini, texts[2], ["football", "politics"], multi_label=True).labels == ("football",)
    long = predict(mini, "A football match. " * 300, ["football", "cooking"])  # longer than the context: the mean of its parts
    assert long.label == "football"


def real(folder: Path, family: Family) -> Session:
    from llmos.engine.backends.transformers.backend import TransformersBackend

    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = tuple(ModelFile(path=str(path.relative_to(folder)), sha256="", size_bytes=path.stat().st_size) for path in paths)
    card = fake_card("real", family, format="safetensors", architecture="bert", context_length=512, files=files)
    options = LoadOptions(num_threads=1, context_length=512)
    engine = TransformersBackend().load(card, folder, Variant(name="f32", properties={"dtype": "f32"}), options)
    return Session(card=card, engines=FixedEngine(engine), tokenizer=load_tokenizer(folder))
