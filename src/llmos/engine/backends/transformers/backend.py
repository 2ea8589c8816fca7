"""The `transformers` backend: says what it can run, and loads it. Imports no torch until `load`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from llmos.engine.base import Availability, Backend, Engine, Feature, LoadOptions, Support, Variant, backends
from llmos.errors import MissingExtra
from llmos.infra.hardware import detect
from llmos.library.base import ModelCard
from llmos.types import Family

F32 = Variant(name="f32", properties={"dtype": "f32"}, why="full precision: the reference other engines are compared with")
BF16 = Variant(name="bf16", properties={"dtype": "bf16"}, why="half the memory traffic; quick where the CPU multiplies bf16")


def variants(instruction_sets: Collection[str]) -> tuple[Variant, ...]:
    """What is worth trying on a CPU: bf16 only where it is multiplied in hardware (AMX, AVX-512 or Arm)."""
    return (F32, BF16) if {"amx_bf16", "avx512_bf16", "bf16"} & set(instruction_sets) else (F32,)


@lru_cache(maxsize=1)
def _variants_here() -> tuple[Variant, ...]:
    return variants(detect().instruction_sets)


_GENERATION = {
    Feature.GENERATE,
    Feature.BATCHING,
    Feature.SEED,
    Feature.LOGPROBS,
    Feature.TOP_LOGPROBS,
    Feature.SCORE,
    Feature.TOP_SCORE,
    Feature.LOGIT_BIAS,
    Feature.MIN_P,
    Feature.PENALTIES,
    Feature.IGNORE_EOS,
    Feature.BEAMS,
}
_CONSTRAINTS = {Feature.JSON_SCHEMA, Feature.REGEX, Feature.GRAMMAR}
_FEATURES: dict[Family, set[Feature]] = {
    Family.CAUSAL: _GENERATION,
    Family.SEQ2SEQ: _GENERATION,
    Family.MASKED: {Feature.FILL_MASK},
    Family.ENCODER: {Feature.EMBED},
    Family.CLASSIFIER: {Feature.CLASSIFY},
    Family.TAGGER: {Feature.TAG},
}


@backends.register("transformers")
class TransformersBackend(Backend):
    """Runs safetensors folders of every family, and causal GGUF files by turning them back into full precision."""

    name = "transformers"

    def availability(self) -> Availability:
        lacking = [module for module in ("torch", "transformers") if importlib.util.find_spec(module) is None]
        if lacking:
            return Availability(ok=False, why=f"{' and '.join(lacking)} not installed", install="pip install 'llmos[torch]'")
        versions = [f"{module} {importlib.metadata.version(module)}" for module in ("transformers", "torch")]
        return Availability(ok=True, version=", ".join(versions), why="installed")

    def supports(self, card: ModelCard) -> Support:
        if card.family not in _FEATURES:
            return Support(ok=False, why=f"models of the family {card.family.value} are not run by transformers here")
        if card.format != "safetensors" and not (card.format == "gguf" and card.family == Family.CAUSAL):
            return Support(
                ok=False, why=f"reads safetensors, and GGUF of causal models; this is {card.format} of a {card.family.value}"
            )
        features = set(_FEATURES[card.family])
        if Feature.GENERATE in features:
            features |= _CONSTRAINTS if importlib.util.find_spec("llguidance") else set()
            features |= {Feature.ADAPTERS} if importlib.util.find_spec("peft") and card.family == Family.CAUSAL else set()
        return Support(
            ok=True, why="transformers reads this format and family", features=frozenset(features), variants=_variants_here()
        )

    def load(self, card: ModelCard, folder: Path, variant: Variant, options: LoadOptions) -> Engine:
        if not self.availability().ok:
            raise MissingExtra("torch", needed_for=f"Running {card.ref} with transformers")
        from llmos.engine.backends.transformers.loading import load_model

        began = time.monotonic()
        features = self.supports(card).features
        model = load_model(card, folder, str({**variant.properties, **options.properties}.get("dtype", "f32")))
        if Feature.GENERATE in features:
            from llmos.engine.backends.transformers.generator import load_generator as load
        else:
            from llmos.engine.backends.transformers.encoder import load_encoder as load
        engine = load(card, folder, model, variant=variant.name, features=features, options=options)
        engine.load_s = time.monotonic() - began
        return engine
