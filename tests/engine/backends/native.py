"""Cards and requests for the tests of the native engines, and what SmolLM2 answers.

The reference values come from transformers 5.23 in float32 on the dequantised weights of the same file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from llmos.engine.backends.llamacpp import backend as _llamacpp  # noqa: F401  - registers it
from llmos.engine.backends.openvino import backend as _openvino  # noqa: F401  - registers it
from llmos.engine.base import Chunk, Engine, LoadOptions, Request, backends
from llmos.library.base import ModelCard, ModelFile
from llmos.types import Family, Sampling, TokenIds

PROMPT = (504, 905, 314)  # "The world is"
GREEDY = (253, 1784, 14886, 282, 10851, 1734, 28, 837)  # " a complex tapestry of interconnected systems, where"
NEXT = {253: -1.9413, 15556: -3.0551, 1135: -3.1391}  # log-probabilities after PROMPT
TOLERANCE = 0.15  # nats: 8-bit activations and bf16
TIE = 0.5  # nats: tokens so close may change places on another processor
_IDS = count()


def smollm2_card(folder: Path) -> ModelCard:
    path = next(folder.glob("*.gguf"))
    return ModelCard(
        name="smollm2",
        version="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        family=Family.CAUSAL,
        format="gguf",
        architecture="llama",
        files=(ModelFile(path=path.name, sha256="", size_bytes=path.stat().st_size),),
        source="test",
        context_length=8192,
        quantization="Q4_1",
        kv_bytes_per_token=23_040,
    )


def load(engine: str, card: ModelCard, folder: Path, *, variant: int = 0, **options: Any) -> Engine:
    backend = backends.get(engine)
    settings = {"num_threads": 2, "context_length": 512, "max_batch": 4} | options
    return backend.load(card, folder, backend.supports(card).variants[variant], LoadOptions(**settings))


def request(prompt: Sequence[int] = PROMPT, **sampling: Any) -> Request:
    return Request(
        id=str(next(_IDS)), prompt=tuple(prompt), sampling=Sampling(**({"max_tokens": 8, "temperature": 0.0} | sampling))
    )


def chunks(engine: Engine, prompt: Sequence[int] = PROMPT, **sampling: Any) -> list[Chunk]:
    return list(engine.submit(request(prompt, **sampling)))


def tokens(made: Sequence[Chunk], index: int = 0) -> TokenIds:
    return tuple(token for chunk in made if chunk.index == index for token in chunk.token_ids)


def chat_prompt(length: int, *, salt: int = 0) -> TokenIds:
    """A chat turn of SmolLM2 in `length` tokens; another salt gives one that shares no block of 32 tokens with it."""
    ids = (1, 4093, 198, *(2000 + (salt * 7919 + place * 131) % 30000 for place in range(length - 8)), 2, 198, 1, 520, 9531)
    return ids[:length]
