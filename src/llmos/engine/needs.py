"""What a model's work needs of an engine: of a generation read from its sampling, of a first load from the model's family."""

from __future__ import annotations

from llmos.engine.base import Feature
from llmos.types import Family, Sampling

FIRST_USE = {
    Family.CAUSAL: Feature.GENERATE,
    Family.SEQ2SEQ: Feature.GENERATE,
    Family.REMOTE: Feature.GENERATE,
    Family.MASKED: Feature.FILL_MASK,
    Family.ENCODER: Feature.EMBED,
    Family.CLASSIFIER: Feature.CLASSIFY,
    Family.TAGGER: Feature.TAG,
}


def needed_features(sampling: Sampling, *, adapter: bool = False) -> frozenset[Feature]:
    """What a generation with this sampling needs of an engine. Pure; the reason behind `unsupported feature` errors."""
    needs = {
        Feature.GENERATE: True,
        Feature.SEED: sampling.seed is not None and sampling.temperature > 0,
        Feature.LOGPROBS: sampling.logprobs is not None,
        Feature.TOP_LOGPROBS: bool(sampling.logprobs),
        Feature.LOGIT_BIAS: bool(sampling.logit_bias),
        Feature.MIN_P: sampling.min_p > 0,
        Feature.PENALTIES: bool(sampling.presence_penalty or sampling.frequency_penalty) or sampling.repetition_penalty != 1.0,
        Feature.IGNORE_EOS: sampling.ignore_eos,
        Feature.BEAMS: sampling.num_beams > 1,
        Feature.ADAPTERS: adapter,
    }
    kind = sampling.constraint.kind if sampling.constraint else None
    needs[Feature.JSON_SCHEMA] = kind in ("json_object", "json_schema")
    needs[Feature.REGEX] = kind == "regex"
    needs[Feature.GRAMMAR] = kind == "grammar"
    return frozenset(feature for feature, needed in needs.items() if needed)
