"""What a file is by its bytes, whatever its name says: the guard that no model file passes unseen (promise P19).

A name is a claim of the sender. Pickles run code when they are opened, and they come as PyTorch archives, joblib dumps and
renamed `.safetensors`; programs and web pages are sent as models too. `danger` looks at the first 64 KiB and at the end.
"""

from __future__ import annotations

import pickletools
import re
import stat
import struct
import warnings
import zlib
from pathlib import Path

from llmos.errors import CorruptFile, ModelFileError, NotFound, UnsafeFile
from llmos.library.formats.base import HEAD_BYTES

_TAIL_BYTES = (64 << 10) + 22  # the longest comment of a ZIP archive and its end record
_MAGICS = (
    (b"PK\x03\x04", "a ZIP archive (PyTorch checkpoints are archives of pickles)"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"\x7fELF", "a program or shared library (ELF)"),
    (b"\xcf\xfa\xed\xfe", "a program (Mach-O)"),
    (b"\xca\xfe\xba\xbe", "a program (Java or Mach-O)"),
    (b"\x1f\x8b\x08", "compressed with gzip, as joblib pickles are"),
    (b"BZh", "compressed with bzip2, as joblib pickles are"),
    (b"\xfd7zXZ\x00", "compressed with xz, as joblib pickles are"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"\x04\x22\x4d\x18", "compressed with lz4"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x89HDF\r\n", "an HDF5 file (Keras models in it can hold code)"),
    (b"\x93NUMPY", "a NumPy file (it can hold pickles)"),
    (b"#!", "a script"),
)
_WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*(<!doctype\s+html|<html|<script|<\?php|<svg)", re.IGNORECASE)
_CODE_SUFFIXES = frozenset({".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".jar", ".js"})
_HONEST_SUFFIXES = frozenset({
    ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".hdf5", ".keras",
    ".msgpack", ".ot", ".zip", ".tar", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".html", ".htm", ".svg", ".md",
})  # fmt: skip
_CALLS = frozenset({"INST", "OBJ", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD"})


def read_ends(path: Path) -> tuple[bytes, bytes]:
    """The first 64 KiB and the last 64 KiB (+ 22 bytes) of a regular file; they overlap in small ones. Raises NotFound for
    a missing one, UnsafeFile for a pipe, socket or device."""
    try:
        status = path.stat()
    except OSError as problem:
        raise NotFound(f"{path}: {problem.strerror}.", param="path") from None
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFile(f"{path.name} is not a regular file.", param="path")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, status.st_size - _TAIL_BYTES))
        return head, file.read(_TAIL_BYTES)


def danger(head: bytes, tail: bytes) -> str:
    """What is wrong with a file of these ends, as the end of the sentence "it is …", or ""."""
    findings = (
        next((what for magic, what in _MAGICS if head.startswith(magic)), ""),
        "a tar archive (old PyTorch checkpoints are archives of pickles)" if head[257:262] == b"ustar" else "",
        "a Windows program" if head.startswith(b"MZ") and _is_windows_program(head) else "",
        "a pickle, which runs code when it is opened" if is_pickle(head) else "",
        "a compressed pickle, which runs code when it is opened" if head[:1] == b"\x78" and is_pickle(_inflate(head)) else "",
        "a web page, not a model (perhaps the answer of a login or error page)" if _WEB_PAGE.match(head[:1024]) else "",
        "a ZIP archive behind other data (a polyglot)" if _ends_as_zip(tail) else "",
    )
    return next(filter(None, findings), "")


def check(path: Path) -> bytes:
    """Refuses a file that a model would use. Returns its head. Raises UnsafeFile, or CorruptFile for a Git LFS pointer."""
    head, tail = read_ends(path)
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        raise CorruptFile(f"{path.name} is a Git LFS pointer, not the file itself.", hint="Run: git lfs pull")
    if what := danger(head, tail):
        hint = "Use the safetensors or GGUF version of this model; pickles can be converted with the tools of their authors."
        raise UnsafeFile(f"{path.name} is {what}.", param="path", hint=hint)
    return head


def reason_to_ignore(path: Path) -> str:
    """For a file beside a model that the model does not need: why it is left out. Raises UnsafeFile where it shows that the
    folder is not what it says: code, or a pickle, archive or program under another kind of name."""
    if path.suffix.lower() in _CODE_SUFFIXES:
        hint = "LLMOS never runs code that comes with a model. Remove it, or use a version of the model without it."
        raise UnsafeFile(f"{path.name} is program code in a model folder.", param="path", hint=hint)
    what = danger(*read_ends(path))
    if not what:
        return "not needed by the model"
    if path.suffix.lower() in _HONEST_SUFFIXES and "program" not in what and "script" not in what:
        return what
    raise UnsafeFile(f"{path.name} is {what}, under a name that hides it.", param="path", hint="Do not use this folder.")


def check_text(path: Path, *, max_bytes: int = 64 << 20) -> None:
    """A text or tokenizer file that other parts will read: not dangerous, not absurdly large."""
    check(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise ModelFileError(f"{path.name} has {size} bytes; files of its kind may have {max_bytes}.", param="path")


def is_pickle(head: bytes) -> bool:
    """Whether these bytes are the start of a pickle, found by reading the opcodes without running any. Protocol 2 and newer
    announce themselves; older ones look like text, so there a complete program that calls something is asked for."""
    with warnings.catch_warnings():  # pickletools decodes escapes that Python has deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        return _is_pickle(head)


def _is_pickle(head: bytes) -> bool:
    announced = head[:1] == b"\x80" and head[1:2] <= b"\x05"
    seen, calls = 0, False
    try:
        for opcode, argument, _ in pickletools.genops(head):
            seen += 1
            calls = calls or opcode.name in _CALLS
            if opcode.name in ("GLOBAL", "INST") and not re.fullmatch(r"[\w.]+ [\w.<>]+", str(argument)):
                return False
            if opcode.name == "STOP":
                return announced or calls
    except (ValueError, IndexError, struct.error, OverflowError, MemoryError, KeyError):
        return announced and seen >= 4
    return False


def _inflate(head: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _is_windows_program(head: bytes) -> bool:
    place = int.from_bytes(head[60:64], "little")
    return head[place : place + 4] == b"PE\x00\x00" or b"This program cannot be run in DOS mode" in head[:512]


def _ends_as_zip(tail: bytes) -> bool:
    """Whether a ZIP reader, which looks for the archive's end record behind everything else, would find one. The record must
    be plausible or lead to a directory entry: four bytes of weights may be PK\\5\\6 by chance."""
    place = tail.rfind(b"PK\x05\x06")
    while place >= 0:
        if len(tail) >= place + 22:
            disks, here, in_all, size, _, comment = struct.unpack_from("<IHHIIH", tail, place + 4)
            directory = place - size
            leads = directory >= 0 and tail[directory : directory + 4] == b"PK\x01\x02"
            wide = tail[max(0, place - 20) : place].startswith(b"PK\x06\x07")
            if place + 22 + comment <= len(tail) and (leads or wide or (disks == 0 and here == in_all)):
                return True
        place = tail.rfind(b"PK\x05\x06", 0, place)
    return False
