"""GGUF blocks as OpenVINO's fastest kernels want them: int8 in groups of 32 with one scale, w = q * scale.

Q8_0 and Q4_0 are that already, exactly but for 11-bit scales. Of every other quantisation the weights are read (by the gguf
package) and rounded to 8 bits, which moves a weight by at most 1/254 of the largest of its group: a 4-bit file has lost ten
times that. Its own 4 bits would keep the weights exact too, but their zero points are fractions, and kernels for those are slower
than 8 bits at every size of batch (dev/LOG.md). F16, BF16 and F32 stay floats (as F16).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmos.errors import CorruptFile
from llmos.infra.gguf import GGUFTensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = 32
_ROWS_AT_ONCE = 128  # of a matrix that is rounded: its floats stay in the processor's cache
_FLOATS = ("F16", "F32", "BF16")


@dataclass(slots=True)
class Matrix:
    """[N, K] weights. `values`: int8 [N, G, 32] with `scale` float16 [N, G, 1], or float16 [N, K] with none."""

    values: NDArray[Any]
    scale: NDArray[np.float16] | None = None

    @classmethod
    def stacked(cls, matrices: Sequence[Matrix]) -> Matrix:
        """The rows of all, one below the other; all with scales or all without."""
        import numpy as np

        scales = [matrix.scale for matrix in matrices if matrix.scale is not None]
        return cls(np.concatenate([matrix.values for matrix in matrices]), np.concatenate(scales) if scales else None)

    def rows(self, order: NDArray[np.int64]) -> Matrix:
        """The same matrix with its rows in another order."""
        return Matrix(self.values[order], None if self.scale is None else self.scale[order])


def read_vector(data: NDArray[np.uint8], tensor: GGUFTensor) -> NDArray[np.float32]:
    """A tensor of any type and shape as float32, in PyTorch's order of dimensions."""
    return _dequantised(_bytes(data, tensor), tensor.type).reshape(tensor.shape[::-1])


def read_matrix(data: NDArray[np.uint8], tensor: GGUFTensor) -> Matrix:
    """A tensor [N, K] from the bytes of its file. Raises CorruptFile for a shape that is none."""
    import numpy as np

    if len(tensor.shape) != 2 or tensor.shape[0] % GROUP:
        raise CorruptFile(
            f"The tensor {tensor.name} has the shape {tensor.shape[::-1]}, wanted two dimensions in groups of {GROUP}."
        )
    num_columns, num_rows = tensor.shape
    raw = _bytes(data, tensor).reshape(num_rows, -1)
    if tensor.type in _FLOATS:
        return Matrix(_dequantised(raw, tensor.type).astype(np.float16))
    values = np.empty((num_rows, num_columns // GROUP, GROUP), np.int8)
    scale = np.empty((num_rows, num_columns // GROUP, 1), np.float16)
    read = {"Q8_0": _q8_0, "Q4_0": _q4_0}.get(tensor.type, _rounded)

    def fill(begin: int) -> None:
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        read(raw[rows], tensor.type, values[rows], scale[rows])

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # numpy lets go of Python's lock
        list(pool.map(fill, range(0, num_rows, _ROWS_AT_ONCE)))
    return Matrix(values, scale)


def _bytes(data: NDArray[np.uint8], tensor: GGUFTensor) -> NDArray[np.uint8]:
    return data[tensor.offset : tensor.offset + tensor.size_bytes]


def _q8_0(raw: NDArray[np.uint8], _: str, values: NDArray[np.int8], scale: NDArray[np.float16]) -> None:
    """Blocks of a float16 scale and 32 signed bytes."""
    import numpy as np

    blocks = raw.reshape(len(raw), -1, 34)
    values[:], scale[:] = blocks[:, :, 2:].view(np.int8), np.ascontiguousarray(blocks[:, :, :2]).view(np.float16)


def _q4_0(raw: NDArray[np.uint8], _: str, values: NDArray[np.int8], scale: NDArray[np.float16]) -> None:
    """Blocks of a float16 scale and 16 bytes: weight j in the low half of byte j, weight j+16 in the high one, both with 8 added."""
    import numpy as np

    blocks = raw.reshape(len(raw), -1, 18)
    values[..., :16], values[..., 16:] = (blocks[:, :, 2:] & 15).view(np.int8) - 8, (blocks[:, :, 2:] >> 4).view(np.int8) - 8
    scale[:] = np.ascontiguousarray(blocks[:, :, :2]).view(np.float16)


def _rounded(raw: NDArray[np.uint8], type_name: str, values: NDArray[np.int8], scale: NDArray[np.float16]) -> None:
    """Any other type: the largest weight of a group becomes 127 or -127."""
    import numpy as np

    floats = _dequantised(raw, type_name).reshape(values.shape)
    scale[:] = np.abs(floats).max(axis=-1, keepdims=True) / 127
    floats /= np.where(scale == 0, 1, scale).astype(np.float32)
    values[:] = np.clip(np.rint(floats, out=floats), -127, 127, out=floats)


def _dequantised(raw: NDArray[np.uint8], type_name: str) -> NDArray[np.float32]:
    """Rows of blocks as float32, an array of its own."""
    import gguf
    import numpy as np

    result: NDArray[np.float32] = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[type_name]).astype(np.float32)
    return result
