"""Which files of a repository or folder make up the model. Pure: names in, names out.

Repositories hold the same weights several times (PyTorch pickles, safetensors, TensorFlow, ONNX, ten GGUF quantisations). LLMOS
takes one safe form, in this order: PEFT adapter, safetensors, OpenVINO IR, CTranslate2, GGUF, ONNX. Content is checked later
by `library/inspect.py`; this only decides what is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from llmos.errors import ModelFileError, NotFound, UnsafeFile, did_you_mean

# Preferred GGUF quantisation when a repository holds several and the name says none: the usual balance of size and quality first.
GGUF_ORDER = ("q4_k_m", "q4_k_s", "q5_k_m", "q4_1", "q4_0", "q6_k", "q8_0", "bf16", "f16", "f32")
_COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*.json",
    "vocab.txt",
    "merges.txt",
    "*.spm",
    "*.model",
    "chat_template.*",
    "preprocessor_config.json",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_*_config.json",
    "[0-9]_*/config.json",
    "[0-9]_*/*.safetensors",
    "LICENSE*",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.joblib")
_SPLIT = re.compile(r"^(?P<stem>.*)-\d{5}-of-(?P<total>\d{5})\.gguf$")


@dataclass(frozen=True, slots=True)
class Choice:
    """The files to take and those left out, sorted."""

    files: tuple[str, ...]
    skipped: tuple[str, ...]


def choose_files(names: Sequence[str], *, want: str = "") -> Choice:
    """Picks the model's files. `want` is one file (its parts come along) or a pattern with *.

    Raises NotFound for an unknown `want` or no model at all, UnsafeFile when the weights are only there as pickle.
    """
    taken = _wanted(names, want) if want else _weights(names)
    if not any(name.endswith(".gguf") for name in taken):
        taken |= {name for name in names if _matches(name, _COMPANIONS)}
    return Choice(tuple(sorted(taken)), tuple(sorted(set(names) - taken)))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns)


def _wanted(names: Sequence[str], want: str) -> set[str]:
    found = {name for name in names if name == want or fnmatchcase(name, want)}
    if not found:
        weights = [name for name in names if name.endswith((".gguf", ".safetensors", ".onnx"))]
        raise NotFound(f"There is no file {want!r} in it.", param="model", hint=did_you_mean(want, weights))
    return found | {part for name in found for part in _split_parts(names, name)}


def _split_parts(names: Sequence[str], name: str) -> set[str]:
    match = _SPLIT.match(name)
    if not match:
        return {name}
    parts = {f"{match['stem']}-{n:05d}-of-{match['total']}.gguf" for n in range(1, int(match["total"]) + 1)}
    if missing := parts - set(names):
        raise NotFound(f"{len(missing)} of {len(parts)} parts of {name} are missing, the first is {min(missing)}.", param="model")
    return parts


def _weights(names: Sequence[str]) -> set[str]:
    for pick in (_peft, _safetensors, _openvino, _ctranslate2, _gguf, _onnx):
        if found := pick(names):
            return found
    if pickles := sorted(name for name in names if _matches(name, _PICKLES)):
        raise UnsafeFile(
            f"The weights are only there as pickle ({', '.join(pickles[:3])}); loading a pickle can run any code.",
            hint="Look for a safetensors or GGUF form of this model; on the hub it is often at @refs/pr/1 or in a conversion.",
        )
    raise ModelFileError(
        f"No model files among {len(names)} files.",
        hint="Wanted: *.safetensors with config.json, *.gguf, *.onnx, openvino_model.xml, a CTranslate2 model.bin or a PEFT adapter.",
    )


def _peft(names: Sequence[str]) -> set[str]:
    pair = {"adapter_config.json", "adapter_model.safetensors"}
    return pair if pair <= set(names) else set()


def _safetensors(names: Sequence[str]) -> set[str]:
    root = {name for name in names if name.endswith(".safetensors") and "/" not in name}
    if "model.safetensors.index.json" in names:
        return {name for name in root if re.match(r"model-\d+-of-\d+\.", name)} | {"model.safetensors.index.json"}
    if "model.safetensors" in root:
        return {"model.safetensors"}
    return root if "config.json" in names else set()


def _openvino(names: Sequence[str]) -> set[str]:
    stems = {name.removesuffix(".xml") for name in names if name.endswith(".xml") and "/" not in name}
    return {f"{stem}{end}" for stem in stems for end in (".xml", ".bin")} & set(names) if "openvino_model" in stems else set()


def _ctranslate2(names: Sequence[str]) -> set[str]:
    vocabularies = {
        name for name in names if _matches(name, ("vocabulary*", "shared_vocabulary*", "source_vocabulary*", "target_vocabulary*"))
    }
    return {"model.bin", *vocabularies} if "model.bin" in names and vocabularies else set()


def _gguf(names: Sequence[str]) -> set[str]:
    models = sorted(name for name in names if name.endswith(".gguf") and "mmproj" not in name.lower())
    for quantization in GGUF_ORDER:
        for name in models:
            if quantization in name.lower().replace("-", "_"):
                return _split_parts(names, name)
    return _split_parts(names, models[0]) if models else set()


def _onnx(names: Sequence[str]) -> set[str]:
    models = [name for name in ("model.onnx", "onnx/model.onnx") if name in names]
    models = models or [name for name in sorted(names) if name.endswith(".onnx") and "/" not in name][:1]
    return {name for model in models[:1] for name in names if name == model or name.startswith(f"{model}_data")}
