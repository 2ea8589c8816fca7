"""GGUF blocks -> int8 in groups: what the gguf package dequantises, for every type the engine takes."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from llmos.engine.backends.openvino.weights import GROUP, Matrix, read_matrix, read_vector
from llmos.errors import CorruptFile
from llmos.infra.gguf import TENSOR_TYPES, GGUFTensor

ROWS, COLUMNS = 6, 512


def blocks(name: str) -> NDArray[np.uint8]:
    """Random blocks of a type, with scales that are small finite numbers."""
    _, weights, size = next(one for one in TENSOR_TYPES.values() if one[0] == name)
    random = np.random.default_rng(5)
    raw = random.integers(0, 256, (ROWS, COLUMNS // weights, size), np.uint8)
    scales = random.uniform(0.01, 0.1, (ROWS, COLUMNS // weights, 2)).astype(np.float16).view(np.uint8)
    where = {"Q6_K": slice(size - 2, size), "Q4_1": slice(0, 4), "Q5_1": slice(0, 4), "Q4_K": slice(0, 4), "Q5_K": slice(0, 4)}
    place = where.get(name, slice(0, 2))
    raw[:, :, place] = scales[:, :, : place.stop - place.start]
    return raw.reshape(-1)


def tensor(name: str, raw: NDArray[np.uint8]) -> GGUFTensor:
    return GGUFTensor(name="t", shape=(COLUMNS, ROWS), type=name, offset=0, size_bytes=raw.nbytes)


def floats(matrix: Matrix) -> NDArray[np.float32]:
    if matrix.scale is None:
        return np.asarray(matrix.values, np.float32)
    return np.asarray(matrix.values.astype(np.float32) * matrix.scale.astype(np.float32)).reshape(ROWS, COLUMNS)


def in_groups(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(ROWS, COLUMNS // GROUP, GROUP)


@pytest.mark.parametrize(
    ("name", "largest_error"),
    [("Q4_0", 1e-6), ("Q8_0", 1e-6), *((name, 1 / 250) for name in ("Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K"))],
)
def test_weights_are_those_of_the_file(name: str, largest_error: float) -> None:
    """No weight is further from the file's than this share of the largest of its group."""
    raw = blocks(name)
    wanted = gguf.quants.dequantize(raw.reshape(ROWS, -1), gguf.GGMLQuantizationType[name])
    errors = in_groups(np.abs(floats(read_matrix(raw, tensor(name, raw))) - wanted))
    assert (errors <= largest_error * np.abs(in_groups(wanted)).max(axis=-1, keepdims=True)).all()


def test_a_group_of_zeros_stays_zero() -> None:
    raw = blocks("Q4_1").reshape(ROWS, -1, 20)
    raw[2, 3, 0:4] = 0  # scale and minimum of one group
    matrix = read_matrix(raw.reshape(-1), tensor("Q4_1", raw.reshape(-1)))
    assert (in_groups(floats(matrix))[2, 3] == 0).all()


def test_floats_and_vectors() -> None:
    values = np.random.default_rng(1).normal(size=(ROWS, COLUMNS)).astype(np.float32)
    raw = values.view(np.uint8).reshape(-1)
    assert floats(read_matrix(raw, tensor("F32", raw))) == pytest.approx(values, rel=1e-3, abs=1e-6)
    vector = GGUFTensor(name="v", shape=(COLUMNS,), type="F32", offset=4 * COLUMNS, size_bytes=4 * COLUMNS)
    assert (read_vector(raw, vector) == values[1]).all()


def test_rows_can_be_put_in_another_order() -> None:
    raw = blocks("Q4_K")
    matrix, order = read_matrix(raw, tensor("Q4_K", raw)), np.array([3, 1, 0, 2, 5, 4])
    assert (floats(matrix.rows(order)) == floats(matrix)[order]).all()


def test_a_shape_without_whole_groups_is_refused() -> None:
    with pytest.raises(CorruptFile, match="groups of 32"):
        read_matrix(np.zeros(80, np.uint8), GGUFTensor(name="t", shape=(20, 2), type="F16", offset=0, size_bytes=80))
