"""Whether OpenVINO GenAI can compile a constraint, found out before the request meets others.

A constraint that does not compile makes a step of the pipeline fail half-way, and with it every request in that step. The
library offers no check of its own, so each constraint first draws one token from a model that has no weights: all its logits
are zero. That takes about a millisecond and uses the very compiler that the request will use.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

from llmos.errors import InvalidValue
from llmos.types import Constraint


class ConstraintCheck:
    """Thread-safe. Made on first use, for the tokenizer of a model."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pipeline: Any = None
        self._lock = threading.Lock()

    def check(self, constraint: Constraint, config: Any) -> None:
        """config: the request's GenerationConfig. Raises InvalidValue with the compiler's reason."""
        import numpy as np
        import openvino as ov
        import openvino_genai as genai

        probe = genai.GenerationConfig()
        probe.max_new_tokens, probe.apply_chat_template = 1, False
        probe.eos_token_id, probe.stop_token_ids = config.eos_token_id, config.stop_token_ids
        probe.structured_output_config = config.structured_output_config
        with self._lock:
            try:
                if self._pipeline is None:
                    self._pipeline = self._make()
                self._pipeline.generate(ov.Tensor(np.zeros((1, 1), np.int64)), probe)
            except RuntimeError as problem:
                reason = last_line(problem)
                raise InvalidValue(f"The {constraint.kind} cannot be compiled: {reason}", param="response_format") from None

    def _make(self) -> Any:
        import openvino as ov
        import openvino_genai as genai

        size = max(self._tokenizer.get_vocab().values()) + 1
        with tempfile.TemporaryDirectory(prefix="llmos-openvino-") as folder:
            ov.save_model(_weightless(size), Path(folder) / "openvino_model.xml")
            return genai.LLMPipeline(folder, self._tokenizer, "CPU", ATTENTION_BACKEND="SDPA", INFERENCE_NUM_THREADS=1)


def _weightless(vocab_size: int) -> Any:
    """A model with the inputs, the output and the one state that the library asks for: logits [B, T, V] of zeros."""
    import numpy as np
    import openvino as ov
    from openvino import opset13 as op

    ids, mask = (op.parameter([-1, -1], ov.Type.i64, name=name) for name in ("input_ids", "attention_mask"))
    beams = op.parameter([-1], ov.Type.i32, name="beam_idx")
    for name, parameter in (("input_ids", ids), ("attention_mask", mask), ("beam_idx", beams)):
        parameter.output(0).set_names({name})
    info = ov.op.util.VariableInfo()
    info.data_shape, info.data_type, info.variable_id = ov.PartialShape([-1, 1]), ov.Type.f32, "past_key_values.0.keypresent.0.key"
    state = ov.op.util.Variable(info)
    zero, axis = op.constant(np.float32(0)), op.constant(np.array([0], np.int64))
    batch = op.gather(op.shape_of(ids), axis, op.constant(np.int64(0)))
    start = op.broadcast(zero, op.concat([batch, op.constant(np.array([1], np.int64))], 0))
    past = op.gather(ov.op.read_value(start, state), beams, op.constant(np.int64(0)))
    zeros = op.broadcast(zero, op.concat([op.shape_of(ids), op.constant(np.array([vocab_size], np.int64))], 0))
    logits = op.result(op.add(zeros, op.unsqueeze(past, op.constant(np.int64(2)))))
    logits.output(0).set_names({"logits"})
    return ov.Model([logits], [ov.op.assign(past, state)], [ids, mask, beams], "weightless")


def last_line(problem: Exception) -> str:
    """The library's messages begin with the path of its source file and end with what happened."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[-1].rsplit(".cc:", 1)[-1].rsplit(".cpp:", 1)[-1].lstrip("0123456789: ") if lines else type(problem).__name__
