"""Log-probabilities of given continuations by an own compiled copy of the graph, whose key-value state we steer.

    1. what all prompts of the call begin with        one sequence           computed once a call, its state kept
    2. the rest of each prompt                        a batch of prompts     from that state, spread over the batch by beam_idx
    3. all continuations but their last tokens        a batch of (prompt, continuation) pairs, spread again by beam_idx

Only the rows whose log-probabilities are wanted reach the vocabulary: they are gathered before the last matrix. Batches are
padded on the right; padding is masked and never looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.engine.backends.native import resident_bytes, shared_prefix, token_logprob
from llmos.engine.backends.openvino.convert import MODEL
from llmos.engine.base import ScoreItem, ScoreResult
from llmos.engine.turns import Turns
from llmos.types import TokenIds, TokenLogprob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CELLS = 16_384  # tokens of state that one batch may take, which bounds the memory
PIECE = 512  # tokens of a shared prefix computed at once
ROWS = 256  # rows of logits at once


class Scorer:
    """Not thread-safe (engine.py holds a lock). memory_bytes: what the copy took, measured."""

    def __init__(self, folder: Path, properties: dict[str, Any], turns: Turns) -> None:
        import openvino as ov

        before, self._turns = resident_bytes(), turns
        core = ov.Core()
        model = core.read_model(folder / MODEL)
        _gather_rows(model)
        self._request = core.compile_model(model, "CPU", {**properties, "KV_CACHE_PRECISION": "f32"}).create_infer_request()
        self.memory_bytes = max(resident_bytes() - before, 0)

    def score(self, items: Sequence[ScoreItem], top: int) -> list[ScoreResult]:
        if not items:
            return []
        prefix = items[0].prompt[: shared_prefix([item.prompt for item in items])]
        kept = self._compute_prefix(prefix) if prefix else None
        results: list[ScoreResult] = []
        for batch in _batches(items):
            results += self._batch(batch, prefix, kept, top)
        self._request.reset_state()
        return results

    def _compute_prefix(self, prefix: TokenIds) -> list[Any]:
        """The state after the shared prefix: one copied tensor a variable."""
        import numpy as np
        import openvino as ov

        self._request.reset_state()
        for begin in range(0, len(prefix), PIECE):
            piece = np.array([prefix[begin : begin + PIECE]], np.int64)
            mask = np.ones((1, begin + piece.shape[1]), np.int64)
            self._infer(piece, mask, begin + np.arange(piece.shape[1])[None], np.zeros(1, np.int32), np.zeros(0, np.int64))
        return [ov.Tensor(np.array(state.state.data)) for state in self._request.query_state()]

    def _batch(self, items: Sequence[ScoreItem], prefix: TokenIds, kept: list[Any] | None, top: int) -> list[ScoreResult]:
        import numpy as np

        self._request.reset_state()
        if kept is not None:
            for state, tensor in zip(self._request.query_state(), kept, strict=True):
                state.state = tensor
        rests = [item.prompt[len(prefix) :] for item in items]
        ids, real = _padded(rests)
        mask = np.concatenate([np.ones((len(items), len(prefix)), np.int64), real], axis=1)
        positions = len(prefix) + np.arange(ids.shape[1])[None].repeat(len(items), axis=0)
        ends = np.array([index * ids.shape[1] + len(rest) - 1 for index, rest in enumerate(rests)])
        beams = np.zeros(len(items), np.int32) if kept is not None else np.arange(len(items), dtype=np.int32)
        firsts = self._infer(ids, mask, positions, beams, ends)
        pairs = [(index, one) for index, item in enumerate(items) for one in item.continuations]
        scores = [[token_logprob(firsts[index], one[0], top)] if one else [] for index, one in pairs]
        longer = [place for place, (_, one) in enumerate(pairs) if len(one) > 1]
        if longer:
            self._continue(items, mask, [(*pairs[place], scores[place]) for place in longer], top)
        found = iter(scores)
        return [ScoreResult(continuations=tuple(tuple(next(found)) for _ in item.continuations)) for item in items]

    def _continue(
        self, items: Sequence[ScoreItem], mask: NDArray[Any], longer: list[tuple[int, TokenIds, list[TokenLogprob]]], top: int
    ) -> None:
        """Computes all but the last token of each continuation behind its prompt and fills in the rest of its scores."""
        import numpy as np

        ids, real = _padded([one[:-1] for _, one, _ in longer])
        owners = np.array([index for index, _, _ in longer], np.int32)
        starts = np.array([len(items[index].prompt) for index in owners])
        positions = starts[:, None] + np.arange(ids.shape[1])[None]
        whole = np.concatenate([mask[owners], real], axis=1)
        rows = np.flatnonzero(real.reshape(-1))
        logprobs = self._infer(ids, whole, positions, owners, rows)
        row = 0
        for _, one, scores in longer:
            for token in one[1:]:
                scores.append(token_logprob(logprobs[row], token, top))
                row += 1

    def _infer(
        self, ids: NDArray[Any], mask: NDArray[Any], positions: NDArray[Any], beams: NDArray[Any], rows: NDArray[Any]
    ) -> NDArray[np.float32]:
        """[R, V] logits of the wanted rows of the flattened [B, T] tokens."""
        import numpy as np

        inputs = {
            "input_ids": np.ascontiguousarray(ids, np.int64),
            "attention_mask": np.ascontiguousarray(mask, np.int64),
            "position_ids": np.ascontiguousarray(positions, np.int64),
            "beam_idx": np.ascontiguousarray(beams, np.int32),
            "rows": np.ascontiguousarray(rows if len(rows) else [0], np.int64),
        }
        with self._turns.call():
            result: NDArray[np.float32] = np.array(next(iter(self._request.infer(inputs).values())))
        return result[: len(rows)]


def _gather_rows(model: Any) -> None:
    """Adds the input `rows` and lets only those rows of the hidden states [B, T, H] reach the last matrix."""
    import numpy as np
    import openvino as ov
    from openvino import opset13 as op

    last = model.outputs[0].get_node().input_value(0).get_node()
    while last.get_type_name() != "MatMul":
        last = last.input_value(0).get_node()
    rows = op.parameter([-1], ov.Type.i64, name="rows")
    rows.output(0).set_names({"rows"})
    hidden = last.input_value(0)
    width = hidden.get_partial_shape()[2].get_length()
    flat = op.reshape(hidden, op.constant(np.array([-1, width], np.int64)), False)
    last.input(0).replace_source_output(op.gather(flat, rows, op.constant(np.int64(0))).output(0))
    model.add_parameters([rows])
    model.validate_nodes_and_infer_types()


def _batches(items: Sequence[ScoreItem]) -> Iterator[list[ScoreItem]]:
    """Neighbouring items whose states together stay within CELLS (at least one), and whose rows of logits within ROWS."""
    batch: list[ScoreItem] = []
    for item in items:
        trial = [*batch, item]
        longest = max(len(one.prompt) + max(map(len, one.continuations), default=0) for one in trial)
        sequences = sum(1 + len(one.continuations) for one in trial)
        rows = sum(1 + sum(map(len, one.continuations)) for one in trial)
        if batch and (sequences * longest > CELLS or rows > ROWS):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _padded(sequences: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """ids and mask [B, T], padded on the right with 0."""
    import numpy as np

    width = max(map(len, sequences))
    ids, mask = np.zeros((2, len(sequences), width), np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
    return ids, mask
