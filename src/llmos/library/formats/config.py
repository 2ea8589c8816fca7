"""What `config.json` and its companions say of a model in Hugging Face layout: family, sizes, labels, chat template.

Shared by every format that keeps these files beside its weights (safetensors, ONNX, OpenVINO IR, CTranslate2). A config that
names code of its own (`auto_map`) is refused: LLMOS never runs code that comes with a model.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmos.errors import CorruptFile, ModelFileError, UnsafeFile
from llmos.library.base import Format
from llmos.library.formats.base import Inspection
from llmos.library.formats.content import check
from llmos.types import Family, Task

MAX_JSON_BYTES = 16 << 20
_REMOTE_CODE = ("auto_map", "custom_generate", "custom_pipelines", "trust_remote_code")
_SEQ2SEQ_TYPES = frozenset({
    "t5", "mt5", "umt5", "longt5", "switch_transformers", "t5gemma", "bart", "mbart", "marian", "m2m_100", "nllb-moe",
    "pegasus", "pegasus_x", "bigbird_pegasus", "led", "prophetnet", "blenderbot", "blenderbot-small", "fsmt",
    "plbart", "encoder-decoder",
})  # fmt: skip
_SPEECH_TYPES = frozenset(["whisper", "speech_to_text", "speecht5", "moonshine", "wav2vec2", "hubert"])
_ENCODER_TYPES = frozenset({
    "bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "distilbert", "albert", "electra", "mpnet", "deberta",
    "deberta-v2", "camembert", "modernbert", "nomic_bert", "bert-generation", "xlm", "flaubert", "ernie", "convbert",
    "mobilebert", "squeezebert", "rembert", "big_bird", "eurobert", "neobert",
})  # fmt: skip
# Positions 0..pad_token_id are not used by these (fairseq's way of counting), so fewer tokens fit than there are embeddings.
_OFFSET_TYPES = frozenset(["roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"])
_SUFFIXES = (
    (r"ForSequenceClassification", Family.CLASSIFIER),
    (r"ForTokenClassification", Family.TAGGER),
    (r"ForMaskedLM|(?<!Electra)ForPreTraining", Family.MASKED),  # Electra's is a discriminator
    (r"ForCausalLM|LMHeadModel", Family.CAUSAL),
    (r"MTModel", Family.SEQ2SEQ),
    (r"EncoderModel", Family.ENCODER),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFacts:
    """Fields as in `Inspection`."""

    family: Family
    architecture: str
    context_length: int = 0
    embedding_dim: int = 0
    labels: tuple[str, ...] = ()
    kv_bytes_per_token: int = 0
    quantization: str = ""
    chat_template_sha256: str | None = None
    licence: str = ""
    languages: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tasks_of(self.family, self.architecture, chat=self.chat_template_sha256 is not None, num_labels=len(self.labels))

    def inspection(
        self,
        kind: Format,
        folder: Path,
        files: tuple[str, ...],
        *,
        parameters: int,
        quantization: str,
        memory_bytes: int,
        more: Mapping[str, str] | None = None,
    ) -> Inspection:
        """With what a format found in the weights. more: joins `extra`."""
        return Inspection(
            format=kind,
            family=self.family,
            architecture=self.architecture,
            folder=str(folder),
            files=files,
            parameters=parameters,
            context_length=self.context_length,
            quantization=quantization,
            chat_template_sha256=self.chat_template_sha256,
            embedding_dim=self.embedding_dim,
            labels=self.labels,
            kv_bytes_per_token=self.kv_bytes_per_token,
            memory_bytes=memory_bytes,
            tasks=self.tasks,
            licence=self.licence,
            languages=self.languages,
            extra={**self.extra, **(more or {})},
        )


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The value in a JSON file. Raises CorruptFile naming file and place; files over max_bytes are refused."""
    size = path.stat().st_size
    if size > max_bytes:
        raise ModelFileError(f"{path.name} has {size} bytes; at most {max_bytes} are read.", param="path")
    return parse_json(path.read_bytes(), path.name)


def parse_json(raw: bytes, name: str) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_no_key_twice)
    except UnicodeDecodeError as problem:
        raise CorruptFile(f"{name}: byte {problem.start} is not UTF-8.", hint="Download it again.") from None
    except (ValueError, RecursionError) as problem:
        reason = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
        raise CorruptFile(f"{name} is not valid JSON: {reason[:200]}.", hint="Download it again.") from None


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return found


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object in a file that may not bring code. An absent file is an empty object."""
    if not path.exists():
        return {}
    check(path)
    told = read_json(path)
    if not isinstance(told, dict):
        raise CorruptFile(f"{path.name} holds a {type(told).__name__} where an object is expected.")
    for part in (told, *(value for value in told.values() if isinstance(value, dict))):
        for key in _REMOTE_CODE:
            if part.get(key):
                hint = (
                    "LLMOS never runs code that comes with a model. Use a version of it for an architecture known to your engines."
                )
                raise UnsafeFile(f"{path.name} asks for code of its own ({key}: {str(part[key])[:100]}).", param="path", hint=hint)
    return told


def read_config(folder: Path) -> ConfigFacts:
    """Everything the JSON files say. Raises CorruptFile without config.json, ModelFileError for an unknown family."""
    config = read_object(folder / "config.json")
    if not config:
        hint = "Give the folder that holds config.json and the weights."
        raise CorruptFile(f"{folder.name}: config.json is missing, so the model cannot be identified.", hint=hint)
    for companion in ("generation_config.json", "processor_config.json", "preprocessor_config.json"):
        read_object(folder / companion)
    tokenizer = read_object(folder / "tokenizer_config.json")
    modules = _sentence_modules(folder)
    family, architecture, extra = _family(config, sentence_encoder=bool(modules))
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    licence, languages = _readme(folder)
    return ConfigFacts(
        family=family,
        architecture=architecture,
        context_length=_context_length(text, tokenizer, folder, family),
        embedding_dim=_embedding_dim(text, folder, modules) if family in (Family.ENCODER, Family.MASKED) else 0,
        labels=_labels(config) if family in (Family.CLASSIFIER, Family.TAGGER) else (),
        kv_bytes_per_token=_kv_bytes(text) if family in (Family.CAUSAL, Family.SEQ2SEQ) else 0,
        quantization=_quantization(config),
        chat_template_sha256=_chat_template(folder, tokenizer),
        licence=licence,
        languages=languages,
        extra=extra | ({"sentence_modules": ",".join(modules)} if modules else {}),
    )


def tasks_of(family: Family, architecture: str, *, chat: bool, num_labels: int = 0) -> tuple[Task, ...]:
    """What can be asked of a model of this family. Base causal models complete and score; translation and summaries by prompt
    need one that follows instructions, which a chat template tells."""
    if family is Family.CAUSAL:
        instruct = (Task.CHAT, Task.TRANSLATE, Task.SUMMARIZE) if chat else ()
        return (Task.GENERATE, *instruct, Task.PREDICT, Task.SCORE)
    if family is Family.SEQ2SEQ:
        translator = architecture in ("marian", "m2m_100", "nllb-moe", "fsmt")
        return (*(() if translator else (Task.GENERATE, Task.SUMMARIZE)), Task.TRANSLATE, Task.PREDICT, Task.SCORE)
    if family is Family.CLASSIFIER:
        return (Task.RERANK,) if num_labels == 1 else (Task.PREDICT,)
    by_family = {
        Family.MASKED: (Task.FILL_MASK, Task.PREDICT),
        Family.ENCODER: (Task.EMBED, Task.PREDICT),
        Family.TAGGER: (Task.TAG,),
    }
    return by_family.get(family, ())


def _family(config: dict[str, Any], *, sentence_encoder: bool) -> tuple[Family, str, dict[str, str]]:
    named = config.get("architectures") or [""]
    if not isinstance(named, list) or not isinstance(named[0], str):
        raise CorruptFile(f"config.json: architectures is {str(named)[:100]}; a list of names is expected.")
    head, kind = named[0], str(config.get("model_type", ""))
    architecture = kind or re.split(r"For|LMHead|Model|With", head)[0].lower()
    extra = {"head": head} if head else {}
    family = Family.ENCODER if sentence_encoder else None
    if family is None and (kind in _SPEECH_TYPES or head.startswith("Whisper")):
        family = Family.SPEECH
    if family is None and head.endswith("ForConditionalGeneration"):
        family = Family.SEQ2SEQ if config.get("is_encoder_decoder") or kind in _SEQ2SEQ_TYPES else Family.CAUSAL
    if family is None:
        family = next((family for pattern, family in _SUFFIXES if re.search(f"({pattern})$", head)), None)
    if kind in _SEQ2SEQ_TYPES and (family is Family.CAUSAL or (family is None and head == "")):
        family = Family.SEQ2SEQ
    if family is None and kind in _ENCODER_TYPES and (head == "" or head.endswith("Model")):
        family = Family.ENCODER
    if family is None or not architecture:
        hint = "Known: ForCausalLM, ForMaskedLM, ForConditionalGeneration, ForSequenceClassification, ForTokenClassification."
        raise ModelFileError(
            f"config.json describes {head or kind or 'nothing'}, which is of no family that LLMOS runs.", hint=hint
        )
    if isinstance(config.get("vision_config"), dict):
        extra["multimodal"] = "vision"
    return family, architecture, extra


def whole(told: dict[str, Any], *names: str, default: int = 0) -> int:
    """The first of these keys that is there, as a number of 0 or more. Raises CorruptFile for anything else."""
    for name in names:
        value = told.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
            raise CorruptFile(f"config.json: {name} is {str(value)[:60]}; a number of 0 or more is expected.")
        return value
    return default


def _context_length(config: dict[str, Any], tokenizer: dict[str, Any], folder: Path, family: Family) -> int:
    length = whole(config, "max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len")
    if length and config.get("model_type") in _OFFSET_TYPES:
        length -= whole(config, "pad_token_id", default=1) + 1
    limits = [whole(read_object(folder / "sentence_bert_config.json"), "max_seq_length")]
    stated = tokenizer.get("model_max_length")
    if family is not Family.CAUSAL and isinstance(stated, int) and 0 < stated < 1 << 24:  # else it means "no limit"
        limits.append(stated)
    return min([limit for limit in (length, *limits) if limit > 0], default=0)


def _embedding_dim(config: dict[str, Any], folder: Path, modules: tuple[str, ...]) -> int:
    for path in reversed(modules):
        dense = whole(read_object(folder / path / "config.json"), "out_features") if path else 0
        if dense:
            return dense
    return whole(config, "hidden_size", "d_model", "dim", "n_embd")


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    told = config.get("id2label")
    if not told:
        return tuple(f"LABEL_{i}" for i in range(min(whole(config, "num_labels", default=2), 10_000)))
    wrong = CorruptFile(f"config.json: id2label is {str(told)[:100]}; names under the keys 0, 1, 2, … are expected.")
    if not isinstance(told, dict) or set(told) != {str(i) for i in range(len(told))}:
        raise wrong
    names = tuple(told[str(i)] for i in range(len(told)))
    if not all(isinstance(name, str) for name in names):
        raise wrong
    return names


def _kv_bytes(config: dict[str, Any]) -> int:
    """Two vectors a layer and token in 16 bits: 2 x layers x key-value heads x head size x 2 bytes."""
    layers = whole(config, "num_decoder_layers", "decoder_layers", "num_hidden_layers", "num_layers", "n_layer", "n_layers")
    heads = whole(config, "num_attention_heads", "decoder_attention_heads", "num_heads", "n_head", "n_heads", default=1)
    width = whole(config, "hidden_size", "d_model", "n_embd", "dim")
    head_size = whole(config, "head_dim", "d_kv") or width // max(heads, 1)
    return 2 * layers * whole(config, "num_key_value_heads", default=heads) * head_size * 2


def _quantization(config: dict[str, Any]) -> str:
    told = config.get("quantization_config")
    if not isinstance(told, dict):
        return ""
    bits = told.get("bits")
    return str(told.get("quant_method", "quantized"))[:40] + (f"-{bits}bit" if isinstance(bits, int) else "")


def _chat_template(folder: Path, tokenizer: dict[str, Any]) -> str | None:
    """SHA-256 of the template in the order of transformers: chat_template.jinja, chat_template.json, tokenizer_config.json."""
    jinja = folder / "chat_template.jinja"
    template: Any = tokenizer.get("chat_template")
    if jinja.exists():
        check(jinja)
        if jinja.stat().st_size > 1 << 20:
            raise ModelFileError(
                f"chat_template.jinja has {jinja.stat().st_size} bytes; a template may have 1,048,576.", param="path"
            )
        return hashlib.sha256(jinja.read_bytes()).hexdigest()
    template = read_object(folder / "chat_template.json").get("chat_template", template)
    if isinstance(template, list):  # several named ones
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    return hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest() if isinstance(template, str) else None


def _sentence_modules(folder: Path) -> tuple[str, ...]:
    """Paths of the modules of a sentence-transformers model, in order; () when it is none."""
    path = folder / "modules.json"
    if not path.exists():
        return ()
    check(path)
    told = read_json(path)
    if not isinstance(told, list) or not all(isinstance(module, dict) for module in told):
        raise CorruptFile("modules.json: a list of modules is expected.")
    for module in told:
        kind, place = str(module.get("type", "")), str(module.get("path", ""))
        if not kind.startswith("sentence_transformers."):
            raise UnsafeFile(f"modules.json asks for code of its own ({kind[:100]}).", param="path")
        if not re.fullmatch(r"[\w.-]{0,100}", place) or place in (".", ".."):
            raise UnsafeFile(f"modules.json points to {place[:100]!r}, which is no folder of the model.", param="path")
    return tuple(str(module.get("path", "")) for module in told)


def _readme(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Licence and languages from the front matter of the model's README.md, where there is one."""
    path = folder / "README.md"
    if not path.is_file():
        return "", ()
    with path.open("rb") as file:
        text = file.read(16 << 10).decode("utf-8", "replace")
    front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    if not front:
        return "", ()
    licence = re.search(r"^license:[ \t]*([\w.+-]+)", front[1], re.MULTILINE)
    inline = re.search(r"^language:[ \t]*\[?([\w, \t'\"-]+)", front[1], re.MULTILINE)
    listed = re.search(r"^language:[ \t]*\n((?:[ \t]*-[ \t]*\w+[ \t]*\n?)+)", front[1], re.MULTILINE)
    languages = re.findall(r"\b[a-z]{2}\b", (listed or inline or [""])[0].removeprefix("language:"))
    return (licence[1] if licence else ""), tuple(languages)
