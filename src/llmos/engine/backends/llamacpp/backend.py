"""The `llamacpp` backend: what is installed, which models it runs, how a model is loaded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from llmos.engine.backends.llamacpp import binding
from llmos.engine.backends.native import resident_bytes
from llmos.engine.base import Availability, Backend, Engine, Feature, LoadOptions, Support, Variant, backends
from llmos.errors import EngineError, NotFound
from llmos.library.base import ModelCard
from llmos.types import Family

_CAUSAL = frozenset(
    {
        Feature.GENERATE, Feature.BATCHING, Feature.PREFIX_CACHE, Feature.SEED, Feature.LOGPROBS, Feature.TOP_LOGPROBS,
        Feature.SCORE, Feature.TOP_SCORE, Feature.JSON_SCHEMA, Feature.REGEX, Feature.GRAMMAR, Feature.LOGIT_BIAS, Feature.MIN_P,
        Feature.PENALTIES, Feature.IGNORE_EOS,
    }
)  # fmt: skip
_ENCODER = frozenset({Feature.EMBED})
BATCH_TOKENS = 128  # of one step: as fast as more (measured with Q4_1 and Q4_K), and a step stays short
SHARED_CONTEXTS = 2  # the cache holds this many full contexts for all sequences together, unless kv_bytes says otherwise


@backends.register("llamacpp")
class LlamaCppBackend(Backend):
    """Loads in under a second, keeps quantised weights as they are, writes single answers fast."""

    name = "llamacpp"

    def availability(self) -> Availability:
        install = "pip install xllamacpp"
        version = binding.version()
        if version is None:
            return Availability(ok=False, why="xllamacpp is not installed.", install=install)
        return Availability(ok=True, version=version, install=install)

    def supports(self, card: ModelCard) -> Support:
        if card.format != "gguf":
            return Support(ok=False, why=f"llama.cpp reads GGUF files, this model is {card.format}.")
        if card.family is Family.CAUSAL:
            variants = (
                Variant(name="default", why="llama.cpp decides about flash attention itself"),
                Variant(name="noflash", properties={"flash_attention": "off"}, why="plain attention: faster on some CPUs"),
            )
            return Support(ok=True, why="llama.cpp runs GGUF models as they are.", features=_CAUSAL, variants=variants)
        if card.family is Family.ENCODER:
            return Support(ok=True, why="llama.cpp pools GGUF encoders.", features=_ENCODER)
        return Support(ok=False, why=f"LLMOS runs no {card.family.value} model with llama.cpp.")

    def load(self, card: ModelCard, folder: Path, variant: Variant, options: LoadOptions) -> Engine:
        from llmos.engine.backends.llamacpp.context import Context, ContextOptions
        from llmos.engine.backends.llamacpp.engine import SCORE_SLOTS, LlamaCppEngine
        from llmos.engine.turns import Turns

        started, before = time.monotonic(), resident_bytes()
        encoder = card.family is Family.ENCODER
        context_length = min(options.context_length, card.context_length or options.context_length)
        settings: dict[str, Any] = {**variant.properties, **options.properties}
        num_cells = context_length if encoder else self._num_cells(card, context_length, options)
        context = Context(
            model_file(card, folder),
            ContextOptions(
                num_cells=num_cells,
                num_sequences=options.max_batch + SCORE_SLOTS,
                num_threads=options.num_threads,
                batch_tokens=context_length if encoder else BATCH_TOKENS,
                embeddings=encoder,
                **settings,
            ),
        )
        features = _ENCODER if encoder else _CAUSAL
        engine = LlamaCppEngine(
            card,
            context,
            variant=variant.name,
            features=features,
            context_length=context_length,
            max_batch=options.max_batch,
            turns=Turns(options.run_folder),
        )
        engine.memory_bytes = max(resident_bytes() - before, context.weights_bytes)  # the cache is resident from the start
        engine.load_s = time.monotonic() - started
        return engine

    def _num_cells(self, card: ModelCard, context_length: int, options: LoadOptions) -> int:
        if options.kv_bytes is None or not card.kv_bytes_per_token:
            return context_length * min(SHARED_CONTEXTS, options.max_batch)
        cells = options.kv_bytes // card.kv_bytes_per_token
        if cells < context_length:
            raise EngineError(
                f"A cache of {options.kv_bytes} bytes holds {cells} tokens, less than one context of {context_length}.",
                hint="Set a smaller LLMOS_CONTEXT_LENGTH or allow more memory.",
            )
        return int(cells)


def model_file(card: ModelCard, folder: Path) -> Path:
    """The GGUF file of a card: the only one, or the first part of a split one. Raises NotFound."""
    names = sorted(file.path for file in card.files if file.path.lower().endswith(".gguf"))
    if not names or not (folder / names[0]).exists():
        raise NotFound(f"{card.ref} has no GGUF file in {folder}.", hint="Run `llmos verify` and pull the model again.")
    return folder / names[0]
