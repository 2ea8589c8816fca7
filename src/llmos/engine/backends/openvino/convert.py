"""A GGUF file becomes a folder that OpenVINO GenAI loads: graph, tokenizer, end tokens. Made once, kept in the cache folder.

The folder appears under its final name only when it is complete (made beside it, then renamed), so a kill leaves nothing that
looks whole. Its name holds the content hash of the model and the versions of whatever made it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from llmos.errors import CorruptFile, EngineError, StorageError
from llmos.infra.gguf import read_gguf
from llmos.library.base import ModelCard

VERSION = 3  # of the graph; raise it when graph.py or weights.py make something else
MODEL = "openvino_model.xml"
TOKENIZER = "openvino_tokenizer.xml"
GENERATION = "generation_config.json"


def prepare(card: ModelCard, folder: Path, cache_folder: Path) -> Path:
    """The folder with the converted model, made now if it is not there. Raises CorruptFile, EngineError, StorageError."""
    target = cache_folder / f"openvino-{card.version[:24]}-v{VERSION}-{importlib.metadata.version('openvino')}"
    if (target / MODEL).exists():
        return target
    try:
        cache_folder.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=cache_folder))
    except OSError as problem:
        raise StorageError(f"The cache folder {cache_folder} cannot be written: {problem.strerror}.") from None
    try:
        _convert(card, folder, making)
        with contextlib.suppress(OSError):  # another process was faster: what it made is the same
            making.rename(target)
    except OSError as problem:
        raise StorageError(
            f"The converted model cannot be written to {cache_folder}: {problem.strerror}.",
            hint="Free some disk space, or use --engine llamacpp.",
        ) from None
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def end_tokens(folder: Path) -> tuple[int, ...]:
    """Ids that end an answer, as generation_config.json says: () where there is none."""
    path = folder / GENERATION
    if not path.exists():
        return ()
    ids = json.loads(path.read_text()).get("eos_token_id", [])
    return tuple(ids) if isinstance(ids, list) else (int(ids),)


def _convert(card: ModelCard, folder: Path, target: Path) -> None:
    import numpy as np
    import openvino as ov

    from llmos.engine.backends.openvino.graph import Network

    names = sorted(file.path for file in card.files if file.path.lower().endswith(".gguf"))
    if len(names) != 1:
        raise EngineError(f"{card.ref} has {len(names)} GGUF files, this engine reads one.", hint="Use --engine llamacpp.")
    path = folder / names[0]
    header = read_gguf(path, skip_arrays_over=1 << 10)
    data = np.memmap(path, np.uint8, "r")
    model = Network(header, data).build()
    ov.save_model(model, target / MODEL, compress_to_fp16=False)
    _convert_tokenizer(path, target)
    ends = sorted(_end_tokens(folder))
    (target / GENERATION).write_text(json.dumps({"eos_token_id": ends}))
    for file in target.iterdir():  # a crash of the machine must not leave a folder whose files are empty
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def _convert_tokenizer(path: Path, target: Path) -> None:
    """OpenVINO GenAI writes the tokenizer beside the file that it reads: here, beside a link to it."""
    import openvino_genai

    link = target / "model.gguf"
    link.symlink_to(path.resolve())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        openvino_genai.Tokenizer(str(link), enable_save_ov_model=True)
    link.unlink()
    if not (target / TOKENIZER).exists():
        raise CorruptFile(f"OpenVINO cannot make a tokenizer from {path.name}.", hint="Use --engine llamacpp.")


def _end_tokens(folder: Path) -> tuple[int, ...]:
    from llmos.text.load import load_tokenizer

    return load_tokenizer(folder).special.eos
