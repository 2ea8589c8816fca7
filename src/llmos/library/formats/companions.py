"""Which files beside the weights belong to a model: tokenizer, templates, configuration, licence. Everything else is left out.

A list of what is wanted, not of what is not: a file that no engine of ours reads is never copied into the store.
"""

from __future__ import annotations

import re
from pathlib import Path

from llmos.library.formats.content import check_text

_NAMES = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|chat_template|preprocessor_config"
    r"|processor_config|modules|sentence_bert_config|config_sentence_transformers|vocab|vocabulary|shared_vocabulary"
    r"|source_vocabulary|target_vocabulary|target_vocab|source_vocab|openvino_config|normalizer)\.json"
    r"|(vocab|merges|vocabulary|shared_vocabulary|source_vocabulary|target_vocabulary|bpe\.codes)(\.txt)?"
    r"|chat_template\.jinja|(tokenizer|spiece|sentencepiece|sentencepiece\.bpe|spm|source|target)\.(model|spm)"
    r"|(LICENSE|LICENCE|NOTICE|COPYING|Modelfile)(\.txt|\.md)?",
)
_MODULE = re.compile(r"\d+_[A-Z]\w*")  # 1_Pooling, 2_Dense of sentence-transformers
_MODULE_FILES = frozenset({"config.json", "model.safetensors"})


def companions(folder: Path, *, beside: Path | None = None) -> list[Path]:
    """The files of that kind in `folder`, in its modules, and in `beside` (the folder of the weights, when another one).
    Each was checked: raises UnsafeFile for one that is something else than its name says."""
    found: list[Path] = []
    for place in dict.fromkeys((folder, beside or folder)):
        for path in sorted(place.iterdir()):
            if _NAMES.fullmatch(path.name) and path.is_file():
                found.append(path)
            elif place == folder and _MODULE.fullmatch(path.name) and path.is_dir():
                found += [file for file in sorted(path.iterdir()) if file.name in _MODULE_FILES]
    for path in found:
        if path.suffix != ".safetensors":
            check_text(path)
    return found


def relative(folder: Path, *paths: Path) -> tuple[str, ...]:
    """Paths as a card writes them: relative to the folder, with slashes, each once, in the given order."""
    return tuple(dict.fromkeys(path.relative_to(folder).as_posix() for path in paths))
