"""Texts that trip tokenizers: scripts, white space, digits, emoji, control characters, things that look like tokens."""

from __future__ import annotations

import random

FIXED = (
    "Hello world", "  leading", "trailing  ", "a\n\nb\r\n c\t d", "don't WE'LL I'm", "12345 67,890.5 1e10", "naïve café Ünïcödé",
    "你好，世界！这是一个测试。", "こんにちは世界", "Привет, мир", "مرحبا بالعالم", "हिन्दी में पाठ", "👩‍👩‍👧 emoji 😀🏽", "한국어 텍스트",
    "x = foo(bar)[0]; // comment\n\tif (a != b) { return; }", "a    b     c", "\u00a0nbsp\u2003em", "…—“quotes”", "", "   \n  \n",
    "a\u0301 decomposed", "ไทยภาษา", "𝕳𝖊𝖑𝖑𝖔 ½ ² Ⅳ ٣٤", "<|im_start|>user\nhi<|im_end|>", "[MASK] <s> <0x0A>", "a" * 300,
    "\x01 control", "ß ſ K ı İ",
)  # fmt: skip


def texts(number: int = 150, seed: int = 7) -> list[str]:
    """FIXED and random mixtures of ASCII, Latin, Cyrillic, Chinese, emoji and punctuation."""
    rng = random.Random(seed)
    ranges = ((32, 127), (32, 127), (32, 33), (10, 11), (0xA0, 0x600), (0x4E00, 0x9FFF), (0x1F300, 0x1F6FF), (0x2000, 0x2100))
    return [*FIXED, *("".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(40)) for _ in range(number))]
