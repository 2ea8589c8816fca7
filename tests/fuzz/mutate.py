"""Damages bytes the way fuzzers do. One seeded generator: the seed and the number of a case give the case again."""

from __future__ import annotations

import random
import struct

_NUMBERS = (0, 1, 2, 7, 8, 31, 32, 127, 128, 255, 256, 65535, 1 << 16, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32)
_WIDE = (*_NUMBERS, 1 << 40, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_WORDS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"null",
    b"-1",
    b"1e999",
    b"9" * 400,
    b"\\ud800",
    b"<",
    b">",
    b"&a;",
    b"../",
    b"\x00",
)


def mutate(seed: bytes, number: int, sources: tuple[bytes, ...]) -> bytes:
    """Case `number` made from `seed`: one to six damages, now and then with a piece of another source."""
    chance = random.Random(f"{number}:{len(seed)}")
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        _damage(data, chance, sources)
    return bytes(data)


def _damage(data: bytearray, chance: random.Random, sources: tuple[bytes, ...]) -> None:
    place = chance.randrange(len(data) + 1)
    other = chance.choice(sources)
    start = chance.randrange(len(other) + 1)
    piece = other[start : start + chance.randrange(1, 64)]
    match chance.randrange(10):
        case 0 if place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        case 1 if place < len(data):
            data[place] = chance.randrange(256)
        case 2:
            data[place : place + 4] = struct.pack("<I", chance.choice(_NUMBERS) & 0xFFFFFFFF)
        case 3:
            data[place : place + 8] = struct.pack("<Q", chance.choice(_WIDE))
        case 4:
            del data[place:]
        case 5:
            del data[place : place + chance.randrange(1, 32)]
        case 6:
            data[place:place] = piece
        case 7:
            data[place : place + len(piece)] = piece
        case 8:
            data[place:place] = chance.choice(_WORDS)
        case _:
            data[place:place] = data[place : place + chance.randrange(1, 64)] * chance.randrange(1, 50)
