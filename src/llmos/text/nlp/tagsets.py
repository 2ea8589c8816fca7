"""From the tags that analysers and corpora have to Universal POS, so that a step can say NOUN for Chinese and English alike.

A table maps a tag to one UPOS tag; where the word decides (punctuation or symbol), `upos_of_mark` looks at its characters.
Sources: the twelve universal tags and their mappings (Petrov, Das and McDonald 2012, "A Universal Part-of-Speech Tagset", tables
en-brown and zh-*), refined to the seventeen tags of Universal Dependencies v2 (https://universaldependencies.org/u/pos/). The
PKU tags are those of Yu et al. 2003 ("Specification for corpus processing at Peking University"), which LAC and jieba use with
additions of their own.

What a table from tag to tag cannot tell stays coarse, and the same for all analysers: do and have are VERB also where they
help another verb, PKU's r is PRON also before a noun (UD: DET), and idioms (i, l) are X.
"""

from __future__ import annotations

import unicodedata

UPOS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X",
)  # fmt: skip

PKU = {
    "a": "ADJ", "ad": "ADV", "an": "NOUN", "ag": "ADJ", "b": "ADJ", "c": "CCONJ", "d": "ADV", "dg": "ADV", "e": "INTJ",
    "f": "ADP", "g": "X", "h": "PART", "i": "X", "j": "NOUN", "k": "PART", "l": "X", "m": "NUM", "mg": "NUM", "n": "NOUN",
    "ng": "NOUN", "nr": "PROPN", "ns": "PROPN", "nt": "PROPN", "nx": "X", "nz": "PROPN", "o": "INTJ", "p": "ADP", "q": "NOUN",
    "qg": "NOUN", "r": "PRON", "rg": "PRON", "s": "NOUN", "t": "NOUN", "tg": "NOUN", "u": "PART", "ug": "PART", "v": "VERB",
    "vd": "ADV", "vg": "VERB", "vn": "NOUN", "w": "PUNCT", "x": "X", "y": "PART", "yg": "PART", "z": "ADJ",
}  # fmt: skip
LAC = PKU | {"nw": "PROPN", "xc": "PART", "PER": "PROPN", "LOC": "PROPN", "ORG": "PROPN", "TIME": "NOUN", "O": "X"}
JIEBA = PKU | {
    "nrt": "PROPN", "nrfg": "PROPN", "df": "ADV", "eng": "X", "mq": "NUM", "rr": "PRON", "rz": "PRON", "ud": "PART",
    "uj": "PART", "ul": "PART", "uv": "PART", "uz": "PART", "vi": "VERB", "vq": "VERB", "zg": "ADJ", "in": "X",
}  # fmt: skip

BROWN = {
    ".": "PUNCT", ",": "PUNCT", ":": "PUNCT", "(": "PUNCT", ")": "PUNCT", "--": "PUNCT", "``": "PUNCT", "''": "PUNCT",
    "'": "PUNCT", "*": "PART", "$": "PART", "abl": "DET", "abn": "DET", "abx": "DET", "ap": "ADJ", "ap$": "ADJ", "at": "DET",
    "be": "AUX", "bed": "AUX", "bedz": "AUX", "beg": "AUX", "bem": "AUX", "ben": "AUX", "ber": "AUX", "bez": "AUX",
    "cc": "CCONJ", "cd": "NUM", "cs": "SCONJ", "do": "VERB", "dod": "VERB", "doz": "VERB", "dt": "DET", "dti": "DET",
    "dts": "DET", "dtx": "DET", "ex": "PRON", "hv": "VERB", "hvd": "VERB", "hvg": "VERB", "hvn": "VERB", "hvz": "VERB",
    "in": "ADP", "jj": "ADJ", "jjr": "ADJ", "jjs": "ADJ", "jjt": "ADJ", "md": "AUX", "nn": "NOUN", "nns": "NOUN",
    "np": "PROPN", "nps": "PROPN", "nr": "NOUN", "nrs": "NOUN", "od": "ADJ", "pn": "PRON", "pp$": "PRON", "pp$$": "PRON",
    "ppl": "PRON", "ppls": "PRON", "ppo": "PRON", "pps": "PRON", "ppss": "PRON", "ql": "ADV", "qlp": "ADV", "rb": "ADV",
    "rbr": "ADV", "rbt": "ADV", "rn": "ADV", "rp": "ADP", "to": "PART", "uh": "INTJ", "vb": "VERB", "vbd": "VERB",
    "vbg": "VERB", "vbn": "VERB", "vbz": "VERB", "wdt": "DET", "wp$": "PRON", "wpo": "PRON", "wps": "PRON", "wql": "ADV",
    "wrb": "ADV", "nil": "X", "fw": "X",
}  # fmt: skip


def upos_of_mark(word: str) -> str:
    """PUNCT or SYM for a word of nothing but marks (Unicode categories P and S), "" for any other."""
    kinds = {unicodedata.category(sign)[0] for sign in word}
    return "" if kinds - {"P", "S"} else "SYM" if "S" in kinds else "PUNCT"


def brown_upos(native: str, word: str) -> str:
    """UPOS of an English word with a tag of the Brown corpus, which has none for signs such as & or %."""
    known = BROWN.get(native, "X")
    return known if word[:1].isalnum() or known in ("PART", "CCONJ") else upos_of_mark(word) or known


def pku_upos(table: dict[str, str], native: str, word: str) -> str:
    """UPOS of a word with a tag of the PKU family. Tags are known in any case (Vg, vg); an unknown one counts by its first
    letter, as that family builds its tags. Marks are told apart by their characters: jieba calls them all x, LAC w."""
    if native in ("x", "w", "O"):
        return upos_of_mark(word) or table.get(native, "X")
    return table.get(native) or table.get(native.lower()) or table.get(native[:1].lower(), "X")
