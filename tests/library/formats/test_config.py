"""config.json: the family of every kind of head, sizes, labels, templates; code that comes with a model is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import CorruptFile, ModelFileError, UnsafeFile
from llmos.library.formats.config import read_config
from llmos.types import Family, Task
from tests.library.formats.builders import BERT, LLAMA, folder


@pytest.mark.parametrize(
    ("head", "kind", "further", "family"),
    [
        ("LlamaForCausalLM", "llama", {}, Family.CAUSAL),
        ("GPT2LMHeadModel", "gpt2", {}, Family.CAUSAL),
        ("Gemma3ForConditionalGeneration", "gemma3", {"text_config": {}, "vision_config": {"x": 1}}, Family.CAUSAL),
        ("BertForMaskedLM", "bert", {}, Family.MASKED),
        ("BertForPreTraining", "bert", {}, Family.MASKED),
        ("T5ForConditionalGeneration", "t5", {"is_encoder_decoder": True}, Family.SEQ2SEQ),
        ("T5WithLMHeadModel", "t5", {}, Family.SEQ2SEQ),
        ("MarianMTModel", "marian", {"is_encoder_decoder": True}, Family.SEQ2SEQ),
        ("BartForConditionalGeneration", "bart", {}, Family.SEQ2SEQ),
        ("T5EncoderModel", "t5", {}, Family.ENCODER),
        ("BertModel", "bert", {}, Family.ENCODER),
        ("XLMRobertaModel", "xlm-roberta", {}, Family.ENCODER),
        ("RobertaForSequenceClassification", "roberta", {}, Family.CLASSIFIER),
        ("DebertaV2ForTokenClassification", "deberta-v2", {}, Family.TAGGER),
        ("WhisperForConditionalGeneration", "whisper", {"is_encoder_decoder": True}, Family.SPEECH),
        ("", "bert", {}, Family.ENCODER),
        ("", "t5", {}, Family.SEQ2SEQ),
    ],
)
def test_family_follows_the_head(tmp_path: Path, head: str, kind: str, further: dict[str, Any], family: Family) -> None:
    config = {"architectures": [head] if head else None, "model_type": kind} | further
    facts = read_config(folder(tmp_path, {"config.json": config}))
    assert (facts.family, facts.architecture) == (family, kind)
    assert (facts.extra.get("multimodal") == "vision") is ("vision_config" in further)


@pytest.mark.parametrize("head", ["ViTForImageClassification", "ElectraForPreTraining", "BertForQuestionAnswering", "LlamaModel"])
def test_an_unknown_head_is_an_error_that_lists_the_known(tmp_path: Path, head: str) -> None:
    with pytest.raises(ModelFileError, match=f"{head}.*Known: ForCausalLM"):
        read_config(folder(tmp_path, {"config.json": {"architectures": [head], "model_type": "x"}}))


def test_a_sentence_encoder_of_any_architecture(tmp_path: Path) -> None:
    modules = [
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    place = folder(
        tmp_path,
        {
            "config.json": LLAMA,
            "modules.json": modules,
            "2_Dense/config.json": {"in_features": 64, "out_features": 32},
            "sentence_bert_config.json": {"max_seq_length": 100},
        },
    )
    facts = read_config(place)
    assert (facts.family, facts.embedding_dim, facts.context_length) == (Family.ENCODER, 32, 100)
    assert facts.tasks == (Task.EMBED, Task.PREDICT)
    for module, reason in (
        ({"path": "", "type": "custom.Module"}, "code of its own"),
        ({"path": "../x", "type": "sentence_transformers.models.Dense"}, "no folder of the model"),
    ):
        folder(tmp_path, {"modules.json": [module]})
        with pytest.raises(UnsafeFile, match=reason):
            read_config(place)


def test_sizes(tmp_path: Path) -> None:
    facts = read_config(folder(tmp_path, {"config.json": LLAMA, "tokenizer_config.json": {"model_max_length": 512}}))
    assert facts.context_length == 2048  # a causal model's is the network's, not the tokenizer's
    assert facts.kv_bytes_per_token == 2 * 3 * 2 * 8 * 2
    roberta = {"architectures": ["RobertaForMaskedLM"], "model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    facts = read_config(folder(tmp_path, {"config.json": roberta, "tokenizer_config.json": {"model_max_length": 10**30}}))
    assert facts.context_length == 512
    t5 = {
        "model_type": "t5",
        "d_model": 512,
        "n_positions": 512,
        "num_layers": 6,
        "num_decoder_layers": 4,
        "num_heads": 8,
        "d_kv": 64,
    }
    facts = read_config(folder(tmp_path, {"config.json": t5}))
    assert (facts.context_length, facts.kv_bytes_per_token) == (512, 2 * 4 * 8 * 64 * 2)
    gptq = LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    assert read_config(folder(tmp_path, {"config.json": gptq})).quantization == "gptq-4bit"


def test_labels(tmp_path: Path) -> None:
    config = BERT | {"architectures": ["BertForSequenceClassification"], "id2label": {"1": "b", "0": "a", "2": "c"}}
    facts = read_config(folder(tmp_path, {"config.json": config}))
    assert facts.labels == ("a", "b", "c")
    assert facts.tasks == (Task.PREDICT,)
    facts = read_config(folder(tmp_path, {"config.json": config | {"id2label": {"0": "LABEL_0"}}}))
    assert facts.tasks == (Task.RERANK,)
    facts = read_config(folder(tmp_path, {"config.json": config | {"id2label": None}}))
    assert facts.labels == ("LABEL_0", "LABEL_1")
    for wrong in ({"0": "a", "2": "b"}, {"0": 1}, ["a"]):
        with pytest.raises(CorruptFile, match="id2label"):
            read_config(folder(tmp_path, {"config.json": config | {"id2label": wrong}}))


def test_the_chat_template_is_found_where_transformers_finds_it(tmp_path: Path) -> None:
    def sha256(template: str) -> str:
        return hashlib.sha256(template.encode()).hexdigest()

    named = {"chat_template": [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]}
    folder(tmp_path, {"config.json": LLAMA, "tokenizer_config.json": named})
    assert read_config(tmp_path).chat_template_sha256 == sha256("D")
    folder(tmp_path, {"chat_template.json": {"chat_template": "J"}})
    assert read_config(tmp_path).chat_template_sha256 == sha256("J")
    folder(tmp_path, {"chat_template.jinja": "é{{ x }}"})
    facts = read_config(tmp_path)
    assert facts.chat_template_sha256 == sha256("é{{ x }}")
    assert Task.CHAT in facts.tasks


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": LLAMA | {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}},
        {"config.json": LLAMA | {"text_config": {"auto_map": {"AutoConfig": "evil--repo.X"}}}},
        {"config.json": LLAMA, "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["a.B", None]}}},
        {"config.json": LLAMA, "generation_config.json": {"custom_generate": "x"}},
        {"config.json": LLAMA | {"trust_remote_code": True}},
    ],
)
def test_code_that_comes_with_a_model_is_refused(tmp_path: Path, files: dict[str, Any]) -> None:
    with pytest.raises(UnsafeFile, match="code of its own"):
        read_config(folder(tmp_path, files))


def test_an_empty_auto_map_asks_for_nothing(tmp_path: Path) -> None:
    assert read_config(folder(tmp_path, {"config.json": LLAMA | {"auto_map": {}}})).family is Family.CAUSAL


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("[]", "a list where an object is expected"),
        ("{", "not valid JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('{"architectures": "BertModel"}', "architectures is"),
        (
            '{"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": "512"}',
            "max_position_embeddings is 512",
        ),
        ('{"architectures": ["BertModel"], "model_type": "bert", "hidden_size": -1}', "hidden_size is -1"),
        ("{}", "config.json is missing"),
    ],
)
def test_a_broken_config_is_named(tmp_path: Path, config: str, reason: str) -> None:
    with pytest.raises(CorruptFile) as caught:
        read_config(folder(tmp_path, {"config.json": config}))
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("front", "licence", "languages"),
    [
        ("license: apache-2.0\nlanguage: en\n", "apache-2.0", ("en",)),
        ("language:\n- en\n- zh\ntags:\n- xx\nlicense: mit\n", "mit", ("en", "zh")),
        ("language: [en, fr]\n", "", ("en", "fr")),
        ("title: x\n", "", ()),
    ],
)
def test_licence_and_languages_come_from_the_readme(tmp_path: Path, front: str, licence: str, languages: tuple[str, ...]) -> None:
    facts = read_config(folder(tmp_path, {"config.json": BERT, "README.md": f"---\n{front}---\n# Model\n"}))
    assert (facts.licence, facts.languages) == (licence, languages)
