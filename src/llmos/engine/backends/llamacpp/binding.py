"""The C functions of llama.cpp that LLMOS calls, from the shared library inside the xllamacpp wheel.

Two records pass by value, `llama_model_params` and `llama_context_params`. They grow from build to build, so they are not
declared: the library's own defaults are taken as bytes, and the few fields we change are found at offsets that `_check`
compares with the known defaults first. A build that lays them out differently is refused, it is never called.
"""

from __future__ import annotations

import ctypes as c
import importlib.metadata
import importlib.util
import struct
from functools import cache
from pathlib import Path
from typing import Any

from llmos.errors import EngineError

PACKAGE = "xllamacpp"

# field -> (offset, struct format, default). Offsets of build 11549; the defaults are what `_check` expects to find there.
CONTEXT_FIELDS: dict[str, tuple[int, str, int | float]] = {
    "n_ctx": (0, "I", 512),
    "n_batch": (4, "I", 2048),
    "n_ubatch": (8, "I", 512),
    "n_seq_max": (12, "I", 1),
    "n_outputs_max": (20, "I", 0),
    "n_threads": (28, "i", 4),
    "n_threads_batch": (32, "i", 4),
    "rope_scaling_type": (40, "i", -1),
    "pooling_type": (44, "i", -1),
    "attention_type": (48, "i", -1),
    "flash_attn_type": (52, "i", -1),
    "rope_freq_base": (56, "f", 0.0),
    "yarn_ext_factor": (64, "f", -1.0),
    "yarn_beta_slow": (76, "f", -1.0),
    "defrag_thold": (84, "f", -1.0),
    "type_k": (104, "i", 1),
    "type_v": (108, "i", 1),
    "embeddings": (136, "?", 0),
    "offload_kqv": (137, "?", 1),
    "no_perf": (138, "?", 1),
    "op_offload": (139, "?", 1),
    "swa_full": (140, "?", 1),
    "kv_unified": (141, "?", 0),
}
MODEL_FIELDS: dict[str, tuple[int, str, int | float]] = {
    "n_gpu_layers": (16, "i", -1),
    "split_mode": (20, "i", 1),
    "vocab_only": (72, "?", 0),
    "use_extra_bufts": (74, "?", 1),
}
_ROOM = 512  # more than either record takes; what is behind their end is copied along and not read


class Params(c.Structure):
    """A record of the library whose size we need not know: passed on the stack, it may be longer than what is read."""

    _fields_ = (("raw", c.c_ubyte * _ROOM),)

    def set(self, fields: dict[str, tuple[int, str, int | float]], **values: float) -> Params:
        for name, value in values.items():
            offset, layout, _ = fields[name]
            struct.pack_into(f"<{layout}", self.raw, offset, value)
        return self

    def get(self, offset: int, layout: str) -> int | float:
        found: int | float = struct.unpack_from(f"<{layout}", self.raw, offset)[0]
        return found


class Batch(c.Structure):
    """`llama_batch`: parallel arrays over the tokens of one step."""

    _fields_ = (
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.POINTER(c.c_float)),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    )


class TokenDataArray(c.Structure):
    """`llama_token_data_array`; data points at (id i32, logit f32, p f32) records."""

    _fields_ = (("data", c.c_void_p), ("size", c.c_size_t), ("selected", c.c_int64), ("sorted", c.c_bool))


LOG_CALLBACK = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)

_P, _I, _B, _U = c.c_void_p, c.c_int32, c.c_bool, c.c_uint32
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (_P, _P)),
    "llama_model_default_params": (Params, ()),
    "llama_context_default_params": (Params, ()),
    "llama_model_load_from_file": (_P, (c.c_char_p, Params)),
    "llama_model_free": (None, (_P,)),
    "llama_model_size": (c.c_uint64, (_P,)),
    "llama_model_get_vocab": (_P, (_P,)),
    "llama_model_n_ctx_train": (_I, (_P,)),
    "llama_model_n_embd_out": (_I, (_P,)),
    "llama_vocab_n_tokens": (_I, (_P,)),
    "llama_vocab_is_eog": (_B, (_P, _I)),
    "llama_init_from_model": (_P, (_P, Params)),
    "llama_free": (None, (_P,)),
    "llama_n_ctx": (_U, (_P,)),
    "llama_get_memory": (_P, (_P,)),
    "llama_memory_clear": (None, (_P, _B)),
    "llama_memory_seq_rm": (_B, (_P, _I, _I, _I)),
    "llama_memory_seq_cp": (None, (_P, _I, _I, _I, _I)),
    "llama_decode": (_I, (_P, Batch)),
    "llama_get_logits_ith": (c.POINTER(c.c_float), (_P, _I)),
    "llama_get_embeddings_seq": (c.POINTER(c.c_float), (_P, _I)),
    "llama_sampler_free": (None, (_P,)),
    "llama_sampler_apply": (None, (_P, c.POINTER(TokenDataArray))),
    "llama_sampler_accept": (None, (_P, _I)),
    "llama_sampler_init_grammar": (_P, (_P, c.c_char_p, c.c_char_p)),
    "_Z22llama_sampler_init_llgPK11llama_vocabPKcS3_": (_P, (_P, c.c_char_p, c.c_char_p)),  # (vocabulary, kind, text)
}


def version() -> str | None:
    """The installed version of the wheel, or None. Reads metadata only."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def library() -> Any:
    """The loaded and checked library (a ctypes.CDLL). Raises EngineError when this build is not one we know."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    found = [file for folder in folders for file in sorted(folder.glob(f"{PACKAGE}*.so"))]
    if not found:
        raise EngineError(
            "The shared library of xllamacpp is missing.", hint="Install it again: pip install --force-reinstall xllamacpp"
        )
    lib = c.CDLL(str(found[0]))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name, None)
        if function is None:
            raise _unknown_build(f"it has no {name}")
        function.restype, function.argtypes = result, arguments
    _check(lib.llama_context_default_params(), CONTEXT_FIELDS, "llama_context_params")
    _check(lib.llama_model_default_params(), MODEL_FIELDS, "llama_model_params")
    lib.llama_backend_init()
    quiet(lib)
    return lib


def quiet(lib: Any) -> None:
    """Drops the library's log. The callback is a C function that ignores its arguments, so no thread ever enters Python for it."""
    lib.llama_log_set(c.cast(lib.llama_max_devices, c.c_void_p), None)


def _check(found: Params, fields: dict[str, tuple[int, str, int | float]], record: str) -> None:
    for name, (offset, layout, expected) in fields.items():
        if (value := found.get(offset, layout)) != expected:
            raise _unknown_build(f"{record}.{name} is {value} where {expected} is the default")


def _unknown_build(why: str) -> EngineError:
    return EngineError(
        f"xllamacpp {version()} is laid out differently from the builds LLMOS knows: {why}.",
        hint="Install a known one: pip install xllamacpp==2026.10.11549",
    )
