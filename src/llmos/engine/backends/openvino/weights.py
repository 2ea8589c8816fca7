"""GGUF blocks as OpenVINO wants them: integers in groups, a scale and a zero point a group. w = (q - zero) * scale.

Q4_0, Q4_1 and Q4_K keep their 4 bits and Q8_0 its 8, exactly but for 11-bit scales (block layouts: ggml's ggml-quants.h).
Every other quantisation is held in 8 bits, groups of 32: its own steps are coarser, so at most 1/254 of a group's largest
weight is added to what the file already lost. F16, BF16 and F32 stay floats (F32 matrices become F16).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmos.errors import CorruptFile
from llmos.infra.gguf import GGUFTensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = 32
_ROWS_AT_ONCE = 8192  # of a matrix that is dequantised on the way, to bound the memory


@dataclass(slots=True)
class Matrix:
    """[N, K] weights. bits 4: `values` is uint8 [N, G, 16], the even column of a pair in the low half; bits 8: int8 [N, G, 32];
    bits 16: float16 [N, K]. scale and zero: float16 [N, G, 1]; zero is None where it is 0 everywhere."""

    bits: int
    values: NDArray[Any]
    scale: NDArray[np.float16] | None = None
    zero: NDArray[np.float16] | None = None

    def rows(self, order: NDArray[np.int64]) -> Matrix:
        """The same matrix with its rows in another order."""
        scale = None if self.scale is None else self.scale[order]
        zero = None if self.zero is None else self.zero[order]
        return Matrix(self.bits, self.values[order], scale, zero)


def read_vector(data: NDArray[np.uint8], tensor: GGUFTensor) -> NDArray[np.float32]:
    """A tensor of any type and shape as float32, in PyTorch's order of dimensions."""
    import numpy as np

    if tensor.type == "F32":
        return np.array(_bytes(data, tensor).view(np.float32).reshape(tensor.shape[::-1]))
    return _dequantised(data, tensor).reshape(tensor.shape[::-1])


def read_matrix(data: NDArray[np.uint8], tensor: GGUFTensor) -> Matrix:
    """A tensor [N, K] from the bytes of its file. Raises CorruptFile for a shape that is none."""
    import numpy as np

    if len(tensor.shape) != 2 or tensor.shape[0] % GROUP:
        raise CorruptFile(
            f"The tensor {tensor.name} has the shape {tensor.shape[::-1]}, wanted two dimensions in groups of {GROUP}."
        )
    num_rows = tensor.shape[1]
    raw = _bytes(data, tensor).reshape(num_rows, -1)
    if tensor.type in ("F16", "F32"):
        floats = raw.view(np.float16 if tensor.type == "F16" else np.float32)
        return Matrix(16, floats.astype(np.float16))
    reader = {"Q4_0": _q4_0, "Q4_1": _q4_1, "Q4_K": _q4_k, "Q8_0": _q8_0}.get(tensor.type)
    if reader:
        return reader(raw)
    return _eight_bits(data, tensor)


def _bytes(data: NDArray[np.uint8], tensor: GGUFTensor) -> NDArray[np.uint8]:
    return data[tensor.offset : tensor.offset + tensor.size_bytes]


def _halves(raw: NDArray[np.uint8], start: int) -> NDArray[np.float32]:
    """The float16 at byte `start` of each block: [N, G]."""
    import numpy as np

    return np.ascontiguousarray(raw[:, :, start : start + 2]).view(np.float16)[..., 0].astype(np.float32)


def _packed(low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.uint8]:
    """ggml keeps weight j in the low and weight j+16 in the high half of byte j; OpenVINO wants neighbours in one byte.
    low, high: [N, G, 16] weights 0-15 and 16-31 -> [N, G, 16] bytes."""
    import numpy as np

    both = np.concatenate([low, high], axis=-1)
    packed: NDArray[np.uint8] = both[..., 0::2] | (both[..., 1::2] << 4)
    return packed


def _q4_0(raw: NDArray[np.uint8]) -> Matrix:
    import numpy as np

    blocks = raw.reshape(len(raw), -1, 18)
    quants = blocks[:, :, 2:]
    scale = _halves(blocks, 0)
    return Matrix(4, _packed(quants & 15, quants >> 4), _f16(scale), np.full((*scale.shape, 1), 8, np.float16))


def _q4_1(raw: NDArray[np.uint8]) -> Matrix:
    blocks = raw.reshape(len(raw), -1, 20)
    quants = blocks[:, :, 4:]
    return _affine(_packed(quants & 15, quants >> 4), _halves(blocks, 0), _halves(blocks, 2))


def _q4_k(raw: NDArray[np.uint8]) -> Matrix:
    """Super-blocks of 256: d, dmin, 8 scales and 8 minima of 6 bits in 12 bytes, 128 bytes of quants."""
    import numpy as np

    blocks = raw.reshape(len(raw), -1, 144)
    low, mid, high = (blocks[:, :, start : start + 4] for start in (4, 8, 12))
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=-1).astype(np.float32) * _halves(blocks, 0)[..., None]
    minima = np.concatenate([mid & 63, (high >> 4) | ((mid >> 6) << 4)], axis=-1).astype(np.float32) * _halves(blocks, 2)[..., None]
    quants = blocks[:, :, 16:].reshape(*blocks.shape[:2], 4, 32)
    eight = np.stack([quants & 15, quants >> 4], axis=-2).reshape(len(raw), -1, 32)  # [N, G, 32]: low halves, then high halves
    packed = eight[..., 0::2] | (eight[..., 1::2] << 4)
    return _affine(packed, scales.reshape(len(raw), -1), -minima.reshape(len(raw), -1))


def _affine(packed: NDArray[np.uint8], scale: NDArray[np.float32], minimum: NDArray[np.float32]) -> Matrix:
    """w = q * scale + minimum as (q - zero) * scale with a fractional zero point. A group whose scale is 0 is the constant
    `minimum`: written as q = 0 with scale 1."""
    import numpy as np

    constant = scale == 0
    packed = np.where(constant[..., None], 0, packed).astype(np.uint8) if constant.any() else packed
    scale = np.where(constant, 1, scale)
    return Matrix(4, packed, _f16(scale), _f16(-minimum / scale))


def _q8_0(raw: NDArray[np.uint8]) -> Matrix:
    import numpy as np

    blocks = raw.reshape(len(raw), -1, 34)
    return Matrix(8, np.ascontiguousarray(blocks[:, :, 2:]).view(np.int8), _f16(_halves(blocks, 0)))


def _eight_bits(data: NDArray[np.uint8], tensor: GGUFTensor) -> Matrix:
    """Any other type: dequantised by the gguf package, then rounded to int8 in groups of 32."""
    import numpy as np

    num_rows, columns = tensor.shape[1], tensor.shape[0]
    values = np.empty((num_rows, columns // GROUP, GROUP), np.int8)
    scales = np.empty((num_rows, columns // GROUP, 1), np.float16)
    for begin in range(0, num_rows, _ROWS_AT_ONCE):
        floats = _dequantised(data, tensor, begin, begin + _ROWS_AT_ONCE).reshape(-1, columns // GROUP, GROUP)
        scale = (np.abs(floats).max(axis=-1, keepdims=True) / 127).astype(np.float16)
        values[begin : begin + len(floats)] = np.clip(np.rint(floats / np.where(scale == 0, 1, scale)), -127, 127)
        scales[begin : begin + len(floats)] = scale
    return Matrix(8, values, scales)


def _dequantised(data: NDArray[np.uint8], tensor: GGUFTensor, begin: int = 0, end: int | None = None) -> NDArray[np.float32]:
    import gguf
    import numpy as np

    raw = _bytes(data, tensor)
    if len(tensor.shape) == 2:
        raw = raw.reshape(tensor.shape[1], -1)[begin:end]
    result: NDArray[np.float32] = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[tensor.type]).astype(np.float32)
    return result


def _f16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    import numpy as np

    return values[..., None].astype(np.float16)
