"""A loaded model and its context as an object: feed tokens, read logits, copy and drop parts of the key-value cache.

Not thread-safe: one thread at a time (engine.py owns it). A cache cell holds one token of one or more sequences; copying a
sequence shares cells and computes nothing, which is what makes shared prefixes free.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.engine.backends.llamacpp import binding
from llmos.errors import CorruptFile, EngineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
CACHE_TYPES = {"f16": 1, "q8_0": 8}  # ggml_type of the key-value cache


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """num_cells: tokens that the key-value cache holds for all sequences together. num_sequences: how many there may be.
    batch_tokens: tokens of one step. embeddings: pooled vectors instead of logits."""

    num_cells: int
    num_sequences: int
    num_threads: int
    batch_tokens: int = 512
    flash_attention: str = "auto"
    cache_type: str = "f16"
    embeddings: bool = False


class Context:
    """Raises CorruptFile when the file cannot be loaded, EngineError when the cache does not fit the memory."""

    def __init__(self, path: Path, options: ContextOptions) -> None:
        self._model = self._context = None
        self._lib = binding.library()
        self.options = options
        reasons = _Reasons(self._lib)
        with reasons:
            self._model = self._lib.llama_model_load_from_file(str(path).encode(), self._lib.llama_model_default_params())
        if not self._model:
            raise CorruptFile(f"llama.cpp cannot load {path.name}: {reasons}", hint="Run `llmos verify`, or use another engine.")
        self.vocab = self._lib.llama_model_get_vocab(self._model)
        self.vocab_size = int(self._lib.llama_vocab_n_tokens(self.vocab))
        self.trained_context = int(self._lib.llama_model_n_ctx_train(self._model))
        self.weights_bytes = int(self._lib.llama_model_size(self._model))
        self.embedding_dim = int(self._lib.llama_model_n_embd_out(self._model))
        with reasons:
            self._context = self._lib.llama_init_from_model(self._model, self._params())
        if not self._context:
            self.close()
            raise EngineError(f"llama.cpp cannot make a context of {options.num_cells} tokens: {reasons}")
        self._memory = self._lib.llama_get_memory(self._context)
        self._make_batch()

    def _params(self) -> binding.Params:
        options = self.options
        params: binding.Params = self._lib.llama_context_default_params()
        return params.set(
            binding.CONTEXT_FIELDS,
            n_ctx=options.num_cells,
            n_batch=options.batch_tokens,
            n_ubatch=options.batch_tokens,
            n_seq_max=options.num_sequences,
            n_threads=options.num_threads,
            n_threads_batch=options.num_threads,
            flash_attn_type=FLASH_ATTENTION[options.flash_attention],
            type_k=CACHE_TYPES[options.cache_type],
            type_v=CACHE_TYPES[options.cache_type],
            embeddings=int(options.embeddings),
            kv_unified=1,
        )

    def _make_batch(self) -> None:
        import numpy as np

        size = self.options.batch_tokens
        self._tokens, self._positions, self._sequences = (np.zeros(size, np.int32) for _ in range(3))
        self._counts, self._wanted = np.ones(size, np.int32), np.zeros(size, np.int8)
        place = self._sequences.ctypes.data
        self._sequence_pointers = (c.POINTER(c.c_int32) * size)(
            *(c.cast(place + 4 * i, c.POINTER(c.c_int32)) for i in range(size))
        )  # token i belongs to the one sequence _sequences[i]
        self._batch = binding.Batch(
            token=_pointer(self._tokens, c.c_int32),
            pos=_pointer(self._positions, c.c_int32),
            n_seq_id=_pointer(self._counts, c.c_int32),
            seq_id=c.cast(self._sequence_pointers, c.POINTER(c.POINTER(c.c_int32))),
            logits=_pointer(self._wanted, c.c_int8),
        )

    def decode(self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int], wanted: Sequence[bool]) -> None:
        """Computes one step; parallel lists of at most batch_tokens. wanted: whose logits will be read. Raises EngineError."""
        count = len(tokens)
        assert 0 < count <= self.options.batch_tokens
        self._tokens[:count], self._positions[:count] = tokens, positions
        self._sequences[:count], self._wanted[:count] = sequences, wanted
        self._batch.n_tokens = count
        code = self._lib.llama_decode(self._context, self._batch)
        if code:
            reason = {1: "no room in the key-value cache", 2: "aborted", -1: "invalid batch"}.get(code, "internal error")
            raise EngineError(f"llama.cpp could not compute a step of {count} tokens: {reason} (code {code}).")

    def logits(self, index: int) -> NDArray[np.float32]:
        """[V] of token `index` of the last step: a view that the next step overwrites."""
        import numpy as np

        pointer = self._lib.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(pointer, shape=(self.vocab_size,))

    def pooled(self, sequence: int) -> NDArray[np.float32]:
        """[D] the pooled vector of a sequence of the last step, copied."""
        import numpy as np

        pointer = self._lib.llama_get_embeddings_seq(self._context, sequence)
        return np.array(np.ctypeslib.as_array(pointer, shape=(self.embedding_dim,)))

    def is_end(self, token: int) -> bool:
        """Whether a token ends an answer."""
        return bool(self._lib.llama_vocab_is_eog(self.vocab, token))

    def share(self, source: int, target: int, length: int) -> bool:
        """Gives `target` the first `length` tokens of `source`. False where the architecture cannot cut there (recurrent
        states): target is then empty."""
        self.clear(target)
        self._lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        return self.cut(target, length)

    def cut(self, sequence: int, length: int) -> bool:
        """Keeps the first `length` tokens. False where that is not possible: the sequence is then empty."""
        if self._lib.llama_memory_seq_rm(self._memory, sequence, length, -1):
            return True
        self.clear(sequence)
        return False

    def clear(self, sequence: int) -> None:
        self._lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def close(self) -> None:
        if self._context:
            self._lib.llama_free(self._context)
        if self._model:
            self._lib.llama_model_free(self._model)
        self._context = self._model = None


class _Reasons:
    """Collects what the library logs as an error while it loads; a context manager, its str() is the text."""

    def __init__(self, lib: Any) -> None:
        self._lib, self._lines = lib, list[str]()
        self._callback = binding.LOG_CALLBACK(self._log)

    def _log(self, level: int, text: bytes, _data: object) -> None:
        if level >= 4:  # GGML_LOG_LEVEL_ERROR, and 5 for the rest of a line
            self._lines.append(text.decode(errors="replace").strip())

    def __enter__(self) -> None:
        self._lib.llama_log_set(c.cast(self._callback, c.c_void_p), None)

    def __exit__(self, *exc: object) -> None:
        binding.quiet(self._lib)

    def __str__(self) -> str:
        return " ".join(line for line in self._lines if line) or "no reason given"


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(c.POINTER(kind))
