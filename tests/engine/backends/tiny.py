"""Small models with random weights, made by transformers' own classes: real architectures where no real weights are packaged.

Weights are drawn wide (std 0.3), so that the best token leads by far more than rounding does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from llmos.engine.backends.transformers.backend import TransformersBackend
from llmos.engine.base import Chunk, Engine, Handle, LoadOptions, Request, Variant
from llmos.library.base import Format, ModelCard, ModelFile
from llmos.types import Family, Sampling, TokenIds

WORDS = "the world is a small place where every token counts and some of them end the text before it has begun 0 1 2 3 4 5 6 7 8 9"
SPECIAL = {"pad": 0, "eos": 1, "unk": 2, "mask": 3, "sep": 4, "cls": 5}


def save_tokenizer(folder: Path) -> int:
    """A byte-level BPE with the special tokens above, in ids 0 to 5. Returns the size of its vocabulary."""
    names = [f"<{name}>" for name in SPECIAL]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [WORDS] * 4, trainers.BpeTrainer(vocab_size=300, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {f"{name}_token": f"<{name}>" for name in SPECIAL} | {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return int(tokenizer.get_vocab_size())


def save(folder: Path, class_name: str, config: Any, **generation: Any) -> Any:
    """Makes the model, saves it with its tokenizer, returns it in eval mode: the reference the engine is compared with."""
    torch.manual_seed(0)
    model = getattr(transformers, class_name)(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not weight.requires_grad:
                continue  # computed positions are not saved
            if weight.dim() > 1:
                weight.normal_(std=0.3)
            elif "norm" not in name.lower():
                weight.normal_(std=0.1)
    if generation:
        model.generation_config.update(**generation)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model


def card(
    family: Family, *, context_length: int = 128, format_: Format = "safetensors", files: tuple[str, ...] = (), name: str = "tiny"
) -> ModelCard:
    return ModelCard(
        name=name,
        version="0" * 64,
        family=family,
        format=format_,
        architecture="tiny",
        files=tuple(ModelFile(path=path, sha256="", size_bytes=0) for path in files),
        source="test",
        context_length=context_length,
    )


def load(
    folder: Path, family: Family, *, context_length: int = 128, dtype: str = "f32", max_batch: int = 16, kv_bytes: int | None = None
) -> Engine:
    options = LoadOptions(num_threads=1, context_length=context_length, max_batch=max_batch, kv_bytes=kv_bytes)
    variant = Variant(name=dtype, properties={"dtype": dtype})
    return TransformersBackend().load(card(family, context_length=context_length), folder, variant, options)


def request(prompt: TokenIds, **fields: Any) -> Request:
    """Greedy unless told otherwise."""
    outside = {name: fields.pop(name) for name in ("adapter", "decoder_prompt", "deadline") if name in fields}
    return Request(id="test", prompt=prompt, sampling=Sampling(**{"temperature": 0.0, "max_tokens": 8, **fields}), **outside)


def collect(handle: Handle) -> dict[int, list[Chunk]]:
    """All chunks, by answer."""
    found: dict[int, list[Chunk]] = {}
    for chunk in handle:
        found.setdefault(chunk.index, []).append(chunk)
    return found


def tokens(handle: Handle, index: int = 0) -> list[int]:
    return [token for chunk in collect(handle)[index] for token in chunk.token_ids]


# -- configurations ------------------------------------------------------------------------------------------------------
_SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 304,
}
_ENDS: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}


def llama() -> Any:
    return transformers.LlamaConfig(
        **_SIZE, **_ENDS, num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=False
    )


def sliding() -> Any:
    return transformers.MistralConfig(**_SIZE, **_ENDS, num_key_value_heads=2, sliding_window=6, max_position_embeddings=256)


def gpt2() -> Any:
    return transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, vocab_size=304, **_ENDS)


def bert(**more: Any) -> Any:
    return transformers.BertConfig(**_SIZE, max_position_embeddings=128, **more)


def roberta(**more: Any) -> Any:
    return transformers.RobertaConfig(**_SIZE, max_position_embeddings=130, pad_token_id=2, type_vocab_size=1, **more)


def t5() -> Any:
    return transformers.T5Config(
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        vocab_size=304,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )


def marian() -> Any:
    sizes = {
        f"{side}_{what}": value
        for side in ("encoder", "decoder")
        for what, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))
    }
    return transformers.MarianConfig(
        **sizes, d_model=32, vocab_size=304, max_position_embeddings=128, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1
    )
