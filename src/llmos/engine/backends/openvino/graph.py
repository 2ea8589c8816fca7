"""The network of a Llama, Qwen2 or Qwen3 model as an OpenVINO graph, from the weights in a GGUF file.

Inputs input_ids, attention_mask, position_ids [B, T] and beam_idx [B]; output logits [B, T, V]. Keys and values live in
variables [B, H, P, D], gathered by beam_idx at each call; the forms are those that OpenVINO recognises and fuses (rotary
embedding, attention with a cache, paged attention, compressed weights).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmos.engine.backends.openvino.weights import Matrix, read_matrix, read_vector
from llmos.errors import CorruptFile
from llmos.infra.gguf import GGUFHeader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


JOINED_WEIGHTS = 1 << 21  # products of at most so many weights together are one: 5 to 14 % faster with 8 and 32 requests at
# once for a model of 135M, but 15 % slower for one of 1.5B (dev/LOG.md)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a network, from the metadata of its file."""

    architecture: str
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_base: float
    rope_scale: float
    rms_epsilon: float

    @classmethod
    def read(cls, header: GGUFHeader) -> Shape:
        """Raises CorruptFile for a missing key, naming it."""
        architecture = str(header.metadata.get("general.architecture"))

        def get(key: str, default: Any = None) -> Any:
            value = header.metadata.get(f"{architecture}.{key}", default)
            if value is None:
                raise CorruptFile(f"The GGUF file has no {architecture}.{key}.")
            return value

        heads = int(get("attention.head_count"))
        scaling = str(get("rope.scaling.type", "none"))
        if scaling not in ("none", "linear"):
            raise CorruptFile(f"The rope scaling {scaling!r} is not known to this engine.", hint="Use --engine llamacpp.")
        return cls(
            architecture=architecture,
            num_layers=int(get("block_count")),
            num_heads=heads,
            num_kv_heads=int(get("attention.head_count_kv", heads)),
            head_dim=int(get("attention.key_length", int(get("embedding_length")) // heads)),
            rope_base=float(get("rope.freq_base", 10000.0)),
            rope_scale=float(get("rope.scaling.factor", 1.0)) if scaling == "linear" else 1.0,
            rms_epsilon=float(get("attention.layer_norm_rms_epsilon")),
        )


class Network:
    """Builds one graph. `data`: the bytes of the whole file, mapped."""

    def __init__(self, header: GGUFHeader, data: NDArray[np.uint8]) -> None:
        self._shape = Shape.read(header)
        self._tensors = {tensor.name: tensor for tensor in header.tensors}
        self._data = data
        self._sinks: list[Any] = []

    def build(self) -> Any:
        """The openvino.Model. Raises CorruptFile when a tensor is missing."""
        import openvino as ov
        from openvino import opset13 as op

        parameters = {
            name: op.parameter([-1, -1], ov.Type.i64, name=name) for name in ("input_ids", "attention_mask", "position_ids")
        }
        parameters["beam_idx"] = op.parameter([-1], ov.Type.i32, name="beam_idx")
        for name, parameter in parameters.items():
            parameter.output(0).set_names({name})
        self._inputs = parameters
        ids = parameters["input_ids"]
        self._batch = op.gather(op.shape_of(ids), _ints(0), _ints(0))
        embedding = self._weights(self._matrix("token_embd.weight"))
        hidden = op.gather(embedding, op.convert(ids, "i32"), _int(0))
        self._mask = self._causal_mask()
        self._cos, self._sin = self._rotation()
        for layer in range(self._shape.num_layers):
            hidden = self._layer(hidden, layer)
        hidden = self._norm(hidden, "output_norm.weight")
        head = self._weights(self._matrix("output.weight")) if "output.weight" in self._tensors else embedding
        logits = op.result(op.matmul(hidden, head, False, True))
        logits.set_friendly_name("logits")
        logits.output(0).set_names({"logits"})
        model = ov.Model([logits], self._sinks, list(parameters.values()), "llmos")
        model.set_rt_info(8.0, ["runtime_options", "ACTIVATIONS_SCALE_FACTOR"])  # for float16 devices, as OpenVINO GenAI sets it
        return model

    # -- weights -----------------------------------------------------------------------------------------------------
    def _matrix(self, name: str) -> Matrix:
        return read_matrix(self._data, self._tensor(name))

    def _vector(self, name: str) -> NDArray[np.float32]:
        return read_vector(self._data, self._tensor(name))

    def _tensor(self, name: str) -> Any:
        if name not in self._tensors:
            raise CorruptFile(f"The GGUF file has no tensor {name}.")
        return self._tensors[name]

    def _weights(self, matrix: Matrix) -> Any:
        """Constants and the arithmetic that turns them into float32 [N, K]; OpenVINO keeps them compressed and fuses it."""
        from openvino import opset13 as op

        if matrix.scale is None:
            return op.convert(op.constant(matrix.values), "f32")
        rows, groups, size = matrix.values.shape
        scaled = op.multiply(op.convert(op.constant(matrix.values), "f16"), op.constant(matrix.scale))
        return op.convert(op.reshape(scaled, _ints(rows, groups * size), False), "f32")

    def _linear(self, hidden: Any, layer: int, *parts: str, heads: tuple[int, ...] = ()) -> list[Any]:
        """hidden @ W^T (+ bias) for each part of a layer; small ones as one product that is split. heads, of each part: undo the row
        order that llama.cpp gives to Llama's queries and keys, in which the two halves of a head are interleaved; 0 leaves it."""
        import numpy as np
        from openvino import opset13 as op

        matrices, biases = [], []
        for place, part in enumerate(parts):
            order = self._halves_order(heads[place]) if heads and heads[place] and self._shape.architecture == "llama" else None
            matrix = self._matrix(f"blk.{layer}.{part}.weight")
            matrices.append(matrix if order is None else matrix.rows(order))
            if f"blk.{layer}.{part}.bias" in self._tensors:
                bias = self._vector(f"blk.{layer}.{part}.bias")
                biases.append(bias if order is None else bias[order])
        alike = len({matrix.scale is None for matrix in matrices}) == 1 and len(biases) in (0, len(parts))
        if len(parts) > 1 and not (alike and sum(matrix.values.size for matrix in matrices) <= JOINED_WEIGHTS):
            return [self._linear(hidden, layer, part, heads=heads[n : n + 1])[0] for n, part in enumerate(parts)]
        node = op.matmul(hidden, self._weights(Matrix.stacked(matrices)), False, True)
        if biases:
            node = op.add(node, op.constant(np.concatenate(biases)))
        if len(parts) == 1:
            return [node]
        return list(op.variadic_split(node, _int(-1), _ints(*[len(matrix.values) for matrix in matrices])).outputs())

    def _halves_order(self, heads: int) -> NDArray[np.int64]:
        import numpy as np

        size = self._shape.head_dim
        return np.arange(heads * size).reshape(heads, size // 2, 2).transpose(0, 2, 1).reshape(-1)

    # -- layers ------------------------------------------------------------------------------------------------------
    def _layer(self, hidden: Any, layer: int) -> Any:
        from openvino import opset13 as op

        normed = self._norm(hidden, f"blk.{layer}.attn_norm.weight")
        attended = self._attention(normed, layer)
        hidden = op.add(hidden, *self._linear(attended, layer, "attn_output"))
        normed = self._norm(hidden, f"blk.{layer}.ffn_norm.weight")
        gate, up = self._linear(normed, layer, "ffn_gate", "ffn_up")
        return op.add(hidden, *self._linear(op.multiply(op.swish(gate), up), layer, "ffn_down"))

    def _norm(self, hidden: Any, name: str, *, rank: int = 3) -> Any:
        """Root-mean-square norm over the last axis (Zhang & Sennrich 2019)."""
        from openvino import opset13 as op

        square = op.power(hidden, _float(2, rank))
        mean = op.reduce_mean(square, _ints(-1), True)
        root = op.sqrt(op.add(mean, _float(self._shape.rms_epsilon, rank)))
        normed = op.multiply(op.divide(_float(1, rank), root), hidden)
        return op.multiply(normed, op.constant(self._vector(name).reshape(*[1] * (rank - 1), -1)))

    def _attention(self, hidden: Any, layer: int) -> Any:
        from openvino import opset13 as op

        shape = self._shape
        sizes = (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads)
        parts = self._linear(hidden, layer, "attn_q", "attn_k", "attn_v", heads=(*sizes[:2], 0))
        query, key, value = (self._heads(part, size) for part, size in zip(parts, sizes, strict=True))
        if f"blk.{layer}.attn_q_norm.weight" in self._tensors:
            query = self._norm(query, f"blk.{layer}.attn_q_norm.weight", rank=4)
            key = self._norm(key, f"blk.{layer}.attn_k_norm.weight", rank=4)
        query, key, value = (op.transpose(one, _ints(0, 2, 1, 3)) for one in (query, key, value))
        key = self._cached(self._rotated(key), f"past_key_values.{layer}.keypresent.{layer}.key")
        value = self._cached(value, f"past_key_values.{layer}.valuepresent.{layer}.key")
        attended = op.scaled_dot_product_attention(self._rotated(query), self._repeated(key), self._repeated(value), self._mask)
        merged = op.transpose(attended, _ints(0, 2, 1, 3))
        return op.reshape(merged, _ints(0, 0, shape.num_heads * shape.head_dim), True)

    def _heads(self, hidden: Any, heads: int) -> Any:
        from openvino import opset13 as op

        return op.reshape(hidden, _ints(0, 0, heads, self._shape.head_dim), True)

    def _rotation(self) -> tuple[Any, Any]:
        """cos and sin [B, 1, T, D] of the rotary embedding (Su et al. 2021), with Llama 3's frequency factors where given."""
        import numpy as np
        from openvino import opset13 as op

        size = self._shape.head_dim
        frequencies = self._shape.rope_base ** -(np.arange(0, size, 2, dtype=np.float64) / size) / self._shape.rope_scale
        if "rope_freqs.weight" in self._tensors:
            frequencies /= self._vector("rope_freqs.weight")
        positions = op.convert(op.unsqueeze(self._inputs["position_ids"], _int(1)), "f32")
        target = op.concat([self._batch, _ints(1), _ints(1)], 0)
        constant = op.constant(frequencies.astype(np.float32).reshape(1, -1, 1))
        products = op.matmul(op.broadcast(constant, target, broadcast_spec="BIDIRECTIONAL"), positions, False, False)
        angles = op.transpose(products, _ints(0, 2, 1))
        both = op.concat([angles, angles], -1)
        return op.unsqueeze(op.cos(both), _int(1)), op.unsqueeze(op.sin(both), _int(1))

    def _rotated(self, heads: Any) -> Any:
        from openvino import opset13 as op

        half, axis, one = _ints(self._shape.head_dim // 2), _ints(3), _ints(1)
        first = op.slice(heads, _ints(0), half, one, axis)
        second = op.slice(heads, half, _ints(2**63 - 1), one, axis)
        turned = op.concat([op.multiply(second, _float(-1, 4)), first], -1)
        return op.add(op.multiply(heads, self._cos), op.multiply(turned, self._sin))

    def _cached(self, new: Any, name: str) -> Any:
        """What the variable holds for each beam, and `new` behind it."""
        import openvino as ov
        from openvino import opset13 as op

        shape = self._shape
        info = ov.op.util.VariableInfo()
        info.data_shape = ov.PartialShape([-1, shape.num_kv_heads, -1, shape.head_dim])
        info.data_type, info.variable_id = ov.Type.f32, name
        variable = ov.op.util.Variable(info)
        sizes = [self._batch, _ints(shape.num_kv_heads), _ints(0), _ints(shape.head_dim)]
        empty = op.broadcast(_float(0), op.concat(sizes, 0))
        past = op.gather(ov.op.read_value(empty, variable), self._inputs["beam_idx"], _int(0))
        whole = op.concat([past, new], 2)
        self._sinks.append(ov.op.assign(whole, variable))
        return whole

    def _repeated(self, heads: Any) -> Any:
        """Keys or values once for every query head that shares them."""
        from openvino import opset13 as op

        shape = self._shape
        times = shape.num_heads // shape.num_kv_heads
        if times == 1:
            return heads
        sizes = [self._batch, _ints(shape.num_kv_heads), _ints(times), _ints(0), _ints(shape.head_dim)]
        spread = op.broadcast(op.unsqueeze(heads, _int(2)), op.concat(sizes, 0), broadcast_spec="BIDIRECTIONAL")
        return op.reshape(spread, _ints(0, shape.num_heads, -1, shape.head_dim), True)

    def _causal_mask(self) -> Any:
        """[B, 1, T, P+T] float32: 0 where a token may look (itself and what is before it, without padding), else -65504."""
        from openvino import opset13 as op

        one, zero = _int(1), _int(0)
        num_new = op.gather(op.shape_of(self._inputs["input_ids"]), one, zero)
        num_all = op.gather(op.shape_of(self._inputs["attention_mask"]), one, zero)
        columns = op.range(zero, num_all, one, "i64")
        rows = op.unsqueeze(op.range(op.subtract(num_all, num_new), num_all, one, "i64"), one)
        seen = op.less_equal(op.unsqueeze(columns, zero), rows)
        real = op.unsqueeze(op.not_equal(self._inputs["attention_mask"], zero), _ints(1, 2))
        allowed = op.logical_and(op.unsqueeze(seen, _ints(0, 1)), real)
        return op.select(allowed, _float(0), _float(-65504))


def _ints(*values: int) -> Any:
    """A constant of one dimension: a shape, a permutation, a list of axes."""
    import numpy as np
    from openvino import opset13 as op

    return op.constant(np.array(values, np.int64))


def _int(value: int) -> Any:
    """A scalar constant: an axis, an index."""
    import numpy as np
    from openvino import opset13 as op

    return op.constant(np.int64(value))


def _float(value: float, rank: int = 0) -> Any:
    """A float32 constant with `rank` dimensions of 1."""
    import numpy as np
    from openvino import opset13 as op

    return op.constant(np.full([1] * rank, value, np.float32))
