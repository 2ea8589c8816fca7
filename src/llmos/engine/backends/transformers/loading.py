"""Files to a torch model: complete and with its own weights only, or an error that says what is wrong.

safetensors and GGUF (dequantised) are read, never pickle, never code from the model's folder, never the network.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor

from llmos.errors import CorruptFile, EngineError
from llmos.library.base import ModelCard
from llmos.types import Family

AUTO_CLASSES = {
    Family.CAUSAL: "AutoModelForCausalLM",
    Family.MASKED: "AutoModelForMaskedLM",
    Family.SEQ2SEQ: "AutoModelForSeq2SeqLM",
    Family.ENCODER: "AutoModel",
    Family.CLASSIFIER: "AutoModelForSequenceClassification",
    Family.TAGGER: "AutoModelForTokenClassification",
}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def load_model(card: ModelCard, folder: Path, dtype: str) -> Any:
    """A transformers model in eval mode on the CPU. dtype: "f32" or "bf16".

    Raises CorruptFile when the files lack weights the architecture needs (nothing is ever filled with random numbers), and
    EngineError when transformers cannot read them or does not know the architecture.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    auto = getattr(transformers, AUTO_CLASSES[card.family])
    arguments = {"dtype": DTYPES[dtype], "local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    if card.format == "gguf":
        from transformers import modeling_gguf_pytorch_utils as reader

        reader.tqdm = lambda tensors, **_: tensors  # it draws a progress bar whatever the settings say
        arguments["gguf_file"] = next(file.path for file in card.files if file.path.endswith(".gguf"))
        # packed weights are multiplied in f32 whatever dtype says, so the bf16 variant would not be one
        arguments["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice about training and versions, addressed to nobody here
            model, report = auto.from_pretrained(folder, output_loading_info=True, **arguments)
    except SafetensorError as problem:
        raise CorruptFile(
            f"The weights of {card.ref} cannot be read: {problem}.", hint="Check them with: llmos verify"
        ) from problem
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as problem:
        raise EngineError(f"transformers {transformers.__version__} cannot load {card.ref}: {problem}") from problem
    _check_complete(card, report)
    return model.eval()


def _check_complete(card: ModelCard, report: dict[str, Any]) -> None:
    unused_head = (
        ("pooler.",) if card.family == Family.ENCODER else ()
    )  # plain encoders may come without; pooling.py does not use it
    missing = sorted(name for name in report["missing_keys"] if not any(part in name for part in unused_head))
    clashing = sorted(str(entry) for entry in report["mismatched_keys"])
    if missing or clashing:
        shown = ", ".join((missing + clashing)[:5])
        raise CorruptFile(
            f"The files of {card.ref} lack {len(missing)} weights and hold {len(clashing)} of a wrong shape: {shown}, …",
            hint="The download is not complete, or the model is of another family than its card says.",
        )


@contextmanager
def gathered(model: Any, places_BT: Tensor) -> Iterator[None]:
    """Inside, the model's logits are [N, V], of the N places that are True, row by row: the hidden states are gathered before the
    widest layer, the projection to the vocabulary, instead of [B, T, V] being computed and thrown away."""
    head = model.get_output_embeddings()
    if head is None:
        raise EngineError(f"{type(model).__name__} has no output embeddings.")
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][places_BT],))
    try:
        yield
    finally:
        hook.remove()


def config_ids(model: Any, *names: str) -> tuple[int, ...]:
    """Ids that the generation config or the config gives under these names, e.g. "eos_token_id"; a list counts as its members."""
    found: dict[int, None] = {}
    for config in (getattr(model, "generation_config", None), model.config):
        for name in names:
            value = getattr(config, name, None)
            for token_id in value if isinstance(value, list | tuple) else [value]:
                if token_id is not None:
                    found[int(token_id)] = None
    return tuple(found)
