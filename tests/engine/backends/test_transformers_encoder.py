"""Models that read: the same numbers for a text in a batch as for the text alone, straight from transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from llmos.engine.base import Feature
from llmos.errors import ContextLengthExceeded, EngineError, InvalidValue, UnsupportedFeature
from llmos.types import Family, TokenIds
from tests.engine.backends import tiny

INPUTS: list[TokenIds] = [(5, 10, 20, 30, 4), (5, 40, 4), (5, 7, 8, 9, 10, 11, 12, 13, 14, 4), (5, 100, 4)]


def test_minilm_embeds_as_sentence_transformers_describes(asset: Callable[[str], Path]) -> None:
    """Mean over the tokens, length one; texts of one meaning are near."""
    from llmos.text.load import load_tokenizer

    folder = asset("minilm")
    engine = tiny.load(folder, Family.ENCODER, context_length=256)
    assert engine.features == {Feature.EMBED}
    texts = [
        "A man is eating food.",
        "Someone has a meal.",
        "The orbit of the moon is an ellipse around the earth, nearly a circle.",
    ]
    inputs = load_tokenizer(folder).encode_batch(texts, add_special=True)
    found = engine.embed(inputs)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    for row, ids in zip(found, inputs, strict=True):
        with torch.no_grad():
            mean = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        assert np.allclose(row, (mean / mean.norm()).numpy(), atol=1e-5)
    assert found[0] @ found[1] > 0.4 > 0.2 > found[0] @ found[2]
    assert engine.embed([]).shape == (0, 0)
    with pytest.raises(UnsupportedFeature, match="classify"):
        engine.classify([(inputs[0], inputs[0])])
    with pytest.raises(UnsupportedFeature, match="generate"):
        engine.submit(tiny.request(inputs[0]))
    engine.close()


def test_bert_tiny_with_its_old_weight_names_fills_masks(asset: Callable[[str], Path]) -> None:
    """`gamma` and `beta` in the file are the weights of the layer norms, not lost and made up again."""
    from safetensors import safe_open

    from llmos.text.load import load_tokenizer

    folder = asset("bert-tiny-mlm")
    tokenizer = load_tokenizer(folder)
    engine = tiny.load(folder, Family.MASKED, context_length=512)
    inputs = [
        tokenizer.encode(text, add_special=True, parse_special=True)
        for text in ("paris is the [MASK] of france.", "[MASK] [MASK]", "a very [MASK] day")
    ]
    found = engine.fill_mask(inputs)
    assert [rows.shape for rows in found] == [(1, 30522), (2, 30522), (1, 30522)]
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert torch.equal(model.bert.embeddings.LayerNorm.weight, file.get_tensor("bert.embeddings.LayerNorm.gamma"))
        assert torch.equal(model.bert.embeddings.LayerNorm.bias, file.get_tensor("bert.embeddings.LayerNorm.beta"))
    for ids, rows in zip(inputs, found, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        expected = logits[[place for place, token in enumerate(ids) if token == 103]].log_softmax(-1)
        assert np.allclose(rows, expected.numpy(), atol=1e-4)
        assert np.allclose(np.exp(rows).sum(1), 1, atol=1e-4)
    some = engine.fill_mask(inputs[:1], candidates=[2003, 7, 2003])
    assert np.allclose(some[0], found[0][:, [2003, 7, 2003]])
    with pytest.raises(InvalidValue, match="Input 1 holds no mask"):
        engine.fill_mask([inputs[0], (101, 102)])
    engine.close()


@pytest.mark.parametrize(("name", "config"), [("Bert", tiny.bert), ("Roberta", tiny.roberta)])
def test_classifier_gives_a_row_the_same_logits_in_any_batch(tmp_path: Path, name: str, config: Callable[..., Any]) -> None:
    reference = tiny.save(tmp_path, f"{name}ForSequenceClassification", config(num_labels=3))
    engine = tiny.load(tmp_path, Family.CLASSIFIER)
    types = [tuple(int(name == "Bert" and place > len(ids) // 2) for place in range(len(ids))) for ids in INPUTS]
    found = engine.classify(list(zip(INPUTS, types, strict=True)))
    for row, ids, kinds in zip(found, INPUTS, types, strict=True):
        with torch.no_grad():
            assert np.allclose(
                row, reference(torch.tensor([ids]), token_type_ids=torch.tensor([kinds])).logits[0].numpy(), atol=1e-4
            )
    if name == "Bert":  # the second text of a pair is seen as such
        assert not np.allclose(engine.classify([(INPUTS[0], (0,) * 5)]), found[0])
    engine.close()


def test_classifier_on_a_causal_model_without_padding_reads_row_by_row(tmp_path: Path) -> None:
    """Without a padding id such a model cannot tell where a row of a batch ends."""
    config = tiny.llama()
    config.num_labels, config.pad_token_id = 2, None
    reference = tiny.save(tmp_path, "LlamaForSequenceClassification", config)
    engine = tiny.load(tmp_path, Family.CLASSIFIER)
    found = engine.classify([(ids, (0,) * len(ids)) for ids in INPUTS])
    for row, ids in zip(found, INPUTS, strict=True):
        with torch.no_grad():
            assert np.allclose(row, reference(torch.tensor([ids])).logits[0].numpy(), atol=1e-4)
    engine.close()


def test_tagger_gives_logits_for_each_token(tmp_path: Path) -> None:
    reference = tiny.save(tmp_path, "BertForTokenClassification", tiny.bert(num_labels=5))
    engine = tiny.load(tmp_path, Family.TAGGER)
    for rows, ids in zip(engine.tag(INPUTS), INPUTS, strict=True):
        assert rows.shape == (len(ids), 5)
        with torch.no_grad():
            assert np.allclose(rows, reference(torch.tensor([ids])).logits[0].numpy(), atol=1e-4)
    engine.close()


@pytest.mark.parametrize("mode", ["cls", "lasttoken", "max", "mean", "mean_sqrt_len"])
def test_pooling_follows_the_model_s_own_files(tmp_path: Path, mode: str) -> None:
    from safetensors.torch import save_file

    reference = tiny.save(tmp_path, "BertModel", tiny.bert())
    names = {"0": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [
        {"path": path if path != "0" else "", "type": f"sentence_transformers.models.{kind}"} for path, kind in names.items()
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    for folder in ("1_Pooling", "2_Dense"):
        (tmp_path / folder).mkdir()
    (tmp_path / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode": mode}))
    (tmp_path / "2_Dense/config.json").write_text(json.dumps({"activation_function": "torch.nn.modules.activation.Tanh"}))
    weight = torch.randn(6, 32, generator=torch.Generator().manual_seed(1))
    save_file({"linear.weight": weight}, tmp_path / "2_Dense/model.safetensors")
    engine = tiny.load(tmp_path, Family.ENCODER)
    for row, ids in zip(engine.embed(INPUTS), INPUTS, strict=True):
        with torch.no_grad():
            hidden = reference(torch.tensor([ids])).last_hidden_state[0]
        pooled = {
            "cls": hidden[0],
            "lasttoken": hidden[-1],
            "max": hidden.max(0).values,
            "mean": hidden.mean(0),
            "mean_sqrt_len": hidden.sum(0) / len(ids) ** 0.5,
        }[mode]
        assert np.allclose(row, torch.tanh(weight @ pooled).numpy(), atol=1e-4)
    engine.close()


def test_a_step_of_pooling_that_is_not_known_is_refused(tmp_path: Path) -> None:
    tiny.save(tmp_path, "BertModel", tiny.bert())
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.CNN"}]))
    with pytest.raises(EngineError, match=r"models\.CNN"):
        tiny.load(tmp_path, Family.ENCODER)


def test_a_text_longer_than_the_model_reads_is_refused_with_both_numbers(tmp_path: Path) -> None:
    tiny.save(tmp_path, "BertModel", tiny.bert())
    engine = tiny.load(tmp_path, Family.ENCODER)
    with pytest.raises(ContextLengthExceeded, match="Input 1 has 129 tokens, the model reads 128"):
        engine.embed([INPUTS[0], (7,) * 129])
    with pytest.raises(InvalidValue, match="Input 0 holds no tokens"):
        engine.embed([()])
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.embed(INPUTS)
