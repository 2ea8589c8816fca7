"""The `openvino` backend: what is installed, which models it runs, how a model is loaded."""

from __future__ import annotations

import importlib.metadata
import tempfile
import time
from pathlib import Path
from typing import Any

from llmos.engine.backends.native import resident_bytes
from llmos.engine.base import Availability, Backend, Engine, Feature, LoadOptions, Support, Variant, backends
from llmos.errors import EngineError
from llmos.library.base import ModelCard
from llmos.types import Family

ARCHITECTURES = ("llama", "qwen2", "qwen3")
UNREADABLE = ("IQ", "TQ", "MXFP", "NVFP", "Q1_0")  # quantisations of GGUF that weights.py does not take
STEP_TOKENS = 512  # of one step: `step` holds Python's lock, so it must be short; 256 costs 6 % more CPU time of a prompt
SMALL_STEP_TOKENS = 1024  # of models under SMALL_BYTES, whose steps are short anyway
SMALL_BYTES = 400_000_000
SHARED_CONTEXTS = 2  # the cache holds this many full contexts for all sequences together, unless kv_bytes says otherwise
BLOCK = 32  # tokens in a block of the paged cache on a CPU
INSTALL = "pip install openvino-genai openvino-tokenizers"

_FEATURES = frozenset(
    {
        Feature.GENERATE, Feature.BATCHING, Feature.SEED, Feature.LOGPROBS, Feature.JSON_SCHEMA,
        Feature.REGEX, Feature.GRAMMAR, Feature.MIN_P, Feature.PENALTIES, Feature.IGNORE_EOS, Feature.SCORE, Feature.TOP_SCORE,
    }
)  # fmt: skip
_VARIANTS = (
    Variant(name="default", why="OpenVINO decides: bf16 and 8-bit activations where the CPU makes them fast"),
    Variant(
        name="f32-group32",
        properties={"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 32},
        why="float32 with activations quantised in the groups of the weights: fast writing of single answers and batches",
    ),
    Variant(
        name="dynquant32",
        properties={"DYNAMIC_QUANTIZATION_GROUP_SIZE": 32},
        why="activations quantised in the groups of the weights: fast reading of prompts",
    ),
    Variant(
        name="nodynquant",
        properties={"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0},
        why="activations not quantised: closest to the model, and faster on CPUs with bf16 but without AMX",
    ),
)


@backends.register("openvino")
class OpenVINOBackend(Backend):
    """Reads prompts and writes batches fast; loads in a few seconds."""

    name = "openvino"

    def availability(self) -> Availability:
        try:
            version = importlib.metadata.version("openvino-genai")
            importlib.metadata.version("openvino-tokenizers")
        except importlib.metadata.PackageNotFoundError as problem:
            return Availability(ok=False, why=f"{problem.name} is not installed.", install=INSTALL)
        return Availability(ok=True, version=version, install=INSTALL)

    def supports(self, card: ModelCard) -> Support:
        if why := _obstacle(card):
            return Support(ok=False, why=why)
        why = "OpenVINO's own format." if card.format == "openvino" else "A graph is built from the GGUF file."
        return Support(ok=True, why=why, features=_FEATURES, variants=_VARIANTS, prefixes_on_request=True)

    def load(self, card: ModelCard, folder: Path, variant: Variant, options: LoadOptions) -> Engine:
        import openvino_genai as genai

        from llmos.engine.backends.openvino import convert
        from llmos.engine.backends.openvino.constraints import last_line
        from llmos.engine.backends.openvino.engine import OpenVINOEngine, Settings

        started, before = time.monotonic(), resident_bytes()
        scratch = None
        if card.format == "gguf":
            if options.cache_folder is None:
                scratch = tempfile.TemporaryDirectory(prefix="llmos-openvino-")  # lives as long as the engine
            folder = convert.prepare(card, folder, options.cache_folder or Path(scratch.name if scratch else ""))
        context_length = min(options.context_length, card.context_length or options.context_length)
        properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": options.num_threads, **variant.properties, **options.properties}
        scheduler = genai.SchedulerConfig()
        # What a cached prefix leaves to compute takes other kernels: the same seed, another text. So only where that is asked for.
        scheduler.enable_prefix_caching = options.share_prefixes
        step_tokens = SMALL_STEP_TOKENS if card.size_bytes < SMALL_BYTES else STEP_TOKENS
        scheduler.max_num_batched_tokens = max(step_tokens, options.max_batch)
        scheduler.max_num_seqs = options.max_batch
        scheduler.num_kv_blocks = self._num_blocks(card, context_length, options)
        try:
            pipeline = genai.ContinuousBatchingPipeline(
                str(folder), scheduler, "CPU", {**properties, "sampler_num_threads": options.num_threads}, {}
            )
        except RuntimeError as problem:
            raise EngineError(f"OpenVINO GenAI cannot load {card.ref}: {last_line(problem)}") from None
        settings = Settings(
            folder=folder,
            ends=convert.end_tokens(folder),
            properties=properties,
            variant=variant.name,
            features=_FEATURES | {Feature.PREFIX_CACHE} if options.share_prefixes else _FEATURES,
            context_length=context_length,
            run_folder=options.run_folder,
        )
        engine = OpenVINOEngine(card, pipeline, settings)
        engine.scratch = scratch
        engine.memory_bytes = max(resident_bytes() - before, card.size_bytes)
        engine.load_s = time.monotonic() - started
        return engine

    def _num_blocks(self, card: ModelCard, context_length: int, options: LoadOptions) -> int:
        tokens = context_length * min(SHARED_CONTEXTS, options.max_batch)
        if options.kv_bytes is not None and card.kv_bytes_per_token:
            tokens = options.kv_bytes // card.kv_bytes_per_token
            if tokens < context_length:
                raise EngineError(
                    f"A cache of {options.kv_bytes} bytes holds {tokens} tokens, less than one context of {context_length}.",
                    hint="Set a smaller LLMOS_CONTEXT_LENGTH or allow more memory.",
                )
        return -(-tokens // BLOCK) + 1


def _obstacle(card: ModelCard) -> str:
    """Why this engine does not run a model, or ""."""
    if card.family is not Family.CAUSAL or card.format not in ("gguf", "openvino"):
        return f"This engine runs causal models in GGUF and OpenVINO files; this is a {card.family.value} model in {card.format}."
    if card.format == "openvino":
        return ""
    if card.architecture not in ARCHITECTURES:
        return f"This engine knows {', '.join(ARCHITECTURES)}; the model is {card.architecture}."
    if card.quantization.upper().startswith(UNREADABLE):
        return f"This engine does not take the quantisation {card.quantization}."
    if sum(file.path.lower().endswith(".gguf") for file in card.files) > 1:
        return "This engine takes GGUF models of one file."
    return ""
