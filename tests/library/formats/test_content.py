"""Dangerous files are known by their bytes; harmless ones are not taken for them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from llmos.errors import CorruptFile, NotFound, UnsafeFile
from llmos.library.formats.content import check, danger, is_pickle, reason_to_ignore
from tests.library.formats.builders import PICKLES, gguf, onnx, safetensors, zip_archive


class Runs:
    """What an attacker's object looks like to pickle."""

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, ("true",)


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    return out.getvalue()


DANGEROUS = {f"pickle, {name}": data for name, data in PICKLES.items()} | {
    "torch archive": zip_archive(),
    "old torch archive": tar(),
    "joblib, zlib": zlib.compress(PICKLES["protocol 4"]),
    "joblib, gzip": gzip.compress(PICKLES["protocol 4"]),
    "joblib, bz2": bz2.compress(PICKLES["protocol 4"]),
    "joblib, xz": lzma.compress(PICKLES["protocol 4"]),
    "ELF": b"\x7fELF\x02\x01\x01" + b"\x00" * 60,
    "Windows": b"MZ\x90\x00" + b"\x00" * 56 + struct.pack("<I", 64) + b"PE\x00\x00",
    "numpy": b"\x93NUMPY\x01\x00",
    "script": b"#!/bin/sh\ntrue\n",
    "web page": b"\n <!DOCTYPE html><html>login</html>",
    "HDF5": b"\x89HDF\r\n\x1a\n" + b"\x00" * 20,
    "zip behind weights": safetensors(data=b"\x00" * 24) + zip_archive(),
    "zip with a comment": b"\x00" * 100 + zip_archive()[:-2] + struct.pack("<H", 300) + b"c" * 300,
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_known(protocol: int) -> None:
    assert is_pickle(pickle.dumps(Runs(), protocol))
    assert is_pickle(pickle.dumps({"state": [Runs()] * 3, "weights": bytes(100_000)}, protocol)[: 64 << 10]) is (protocol >= 2)


@pytest.mark.parametrize("name", DANGEROUS)
@pytest.mark.parametrize("suffix", [".safetensors", ".gguf", ".json", ".txt", ""])
def test_dangerous_content_is_refused_under_any_name(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(DANGEROUS[name])
    with pytest.raises(UnsafeFile, match="model"):
        check(path)
    with pytest.raises(UnsafeFile):
        reason_to_ignore(path)


HARMLESS = {
    "safetensors": safetensors(),
    "a header of 640 bytes starts like a pickle": safetensors(
        b'{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'.ljust(640), b""
    ),
    "gguf": gguf(),
    "onnx": onnx(),
    "text": b"Hello. (a) N.\n",
    "vocabulary": b"c\na\nb\n.\nR\n",
    "vocabulary of words": b"config\nsystem\n.\n(\nR\n",
    "merges": b"#version: 0.2\n\xc4\xa0 t\n",
    "json": b'{"architectures": ["X"]}',
    "empty": b"",
    "four bytes of weights": b"\x11" * 5000 + b"PK\x05\x06" + b"\x99" * 500,
    "readme": b"<div align=center>Model</div>",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_content_passes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(HARMLESS[name])
    assert check(path) == HARMLESS[name]
    assert reason_to_ignore(path) == "not needed by the model"


def test_random_weights_are_not_taken_for_danger() -> None:
    noise = random.Random(1)
    found = [danger(data, data) for data in (noise.randbytes(4096) for _ in range(2000))]
    assert set(found) == {""}


def test_every_real_file_passes(asset: Callable[[str], Path]) -> None:
    for path in (*asset("minilm").iterdir(), *asset("smollm2").iterdir()):
        if path.is_file():
            check(path)


def test_code_beside_a_model_is_refused(tmp_path: Path) -> None:
    for name in ("modeling_x.py", "kernel.so", "run.sh", "x.PYC"):
        (tmp_path / name).write_bytes(b"print(1)\n")
        with pytest.raises(UnsafeFile, match="program code"):
            reason_to_ignore(tmp_path / name)


def test_an_honest_pickle_beside_a_model_is_left_out_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(zip_archive())
    (tmp_path / "training_args.bin").write_bytes(PICKLES["protocol 4"])
    assert "archives of pickles" in reason_to_ignore(tmp_path / "pytorch_model.bin")
    assert "runs code" in reason_to_ignore(tmp_path / "training_args.bin")


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(UnsafeFile, match="not a regular file"):
        check(tmp_path / "model.safetensors")
    with pytest.raises(NotFound):
        check(tmp_path / "absent")


def test_a_git_lfs_pointer_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CorruptFile, match="git lfs pull"):
        check(path)
