"""Builds a tokenizer from the vocabulary inside a GGUF file, so that a single .gguf is a whole model.

Three kinds (tokenizer.ggml.model): "gpt2" byte-level BPE with merges; "llama" SentencePiece BPE, whose merges follow from the
scores; "bert" WordPiece, whose word starts are marked with ▁ instead of ## on the rest. Ids are those of llama.cpp, whose
format this is; the keys are described in ggml's docs/gguf.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmos.errors import CorruptFile, ModelFileError
from llmos.text import pretokenizers
from llmos.text.base import SpecialTokens
from llmos.text.fast import guarded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # tokenizer.ggml.token_type
_SPACE = "▁"
_PREFIX = "tokenizer.ggml."
# Control tokens that end an answer under whatever id; the list of llama.cpp.
_END_NAMES = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
    "<|eom_id|>", "< EOT >", "_<EOT>", "<EOT>", "<|END_OF_TURN_TOKEN|>", "<|end_of_turn|>", "<｜end▁of▁sentence｜>",
)  # fmt: skip


class Vocabulary:
    """The tokenizer keys of a GGUF file, checked for type and length."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self.kind = self._get("model", str, "")
        tokens = self._array("tokens", str)
        if not tokens:
            raise CorruptFile("The GGUF file has no vocabulary (tokenizer.ggml.tokens).", hint="Download it again.")
        self.types = self._array("token_type", int) or [NORMAL] * len(tokens)
        if len(self.types) != len(tokens):
            raise CorruptFile(f"The GGUF file has {len(tokens)} tokens but {len(self.types)} token types.")
        while len(tokens) > 1 and self.types[len(tokens) - 1] == UNUSED:  # padding to a round number
            tokens.pop()
        self.types = self.types[: len(tokens)]
        self.tokens = [self._readable(i, token) for i, token in enumerate(tokens)]
        self.ids = {token: i for i, token in enumerate(self.tokens)}

    @staticmethod
    def _readable(number: int, token: str) -> str:
        """Bytes that are not UTF-8 cannot be reached by any text; they get a name that is."""
        return token if token.isascii() or not any("\ud800" <= c <= "\udfff" for c in token) else f"<invalid {number}>"

    def _get(self, key: str, kind: type, default: Any) -> Any:
        value = self._metadata.get(_PREFIX + key, default)
        if value is not default and not isinstance(value, kind):
            raise CorruptFile(f"The GGUF key {_PREFIX}{key} is a {type(value).__name__}; it must be a {kind.__name__}.")
        return value

    def _array(self, key: str, kind: type) -> list[Any]:
        value = self._get(key, list, [])
        if value and not isinstance(value[0], kind):
            raise CorruptFile(f"The GGUF key {_PREFIX}{key} holds {type(value[0]).__name__}; it must hold {kind.__name__}.")
        return list(value)

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._get(key, bool, default))

    @property
    def pre(self) -> str:
        return str(self._get("pre", str, "default"))

    def merges(self) -> list[tuple[str, str]]:
        pairs = []
        for merge in self._array("merges", str):
            cut = merge.find(" ", 1)
            if cut < 0:
                raise CorruptFile(f"The merge {merge!r} in the GGUF file has no second part.")
            pairs.append((merge[:cut], merge[cut + 1 :]))
        return pairs

    def scores(self) -> list[float]:
        scores = self._array("scores", float)[: len(self.tokens)]
        if len(scores) != len(self.tokens):
            raise CorruptFile(f"The GGUF file has {len(self.tokens)} tokens but {len(scores)} scores.")
        return scores

    def id(self, key: str, *names: str) -> int | None:
        """The id under `<key>_token_id`, else that of the first name which is a token."""
        value = self._get(f"{key}_token_id", int, None)
        if value is not None:
            return int(value) if 0 <= value < len(self.tokens) else None
        return next((self.ids[name] for name in names if name in self.ids), None)

    def special(self) -> SpecialTokens:
        ends = [self.id("eos"), self.id("eot"), self.id("eom")]
        ends += [self.ids[name] for name in _END_NAMES if name in self.ids and self.types[self.ids[name]] == CONTROL]
        bert = self.kind == "bert"
        return SpecialTokens(
            bos=None if bert else self.id("bos"),
            eos=() if bert else tuple(dict.fromkeys(end for end in ends if end is not None)),
            pad=self.id("padding", "[PAD]"),
            unk=self.id("unknown", "[UNK]"),
            mask=self.id("mask", "[MASK]"),
            sep=self.id("seperator", "[SEP]") if bert else None,  # the format's own spelling
            cls=(self.id("cls", "[CLS]") or self.id("bos", "[CLS]")) if bert else None,
        )


def build(metadata: Mapping[str, Any]) -> tuple[Tokenizer, SpecialTokens]:
    """The tokenizer of a GGUF file from its metadata. Raises CorruptFile, or ModelFileError for an unknown kind."""
    vocabulary = Vocabulary(metadata)
    builders = {"gpt2": _byte_level, "llama": _sentencepiece, "bert": _wordpiece}
    if vocabulary.kind not in builders:
        raise ModelFileError(
            f"The GGUF file has a vocabulary of kind {vocabulary.kind!r}; LLMOS reads {', '.join(builders)}.",
            hint="Put the model's tokenizer.json beside the file.",
        )
    special = vocabulary.special()
    with guarded("The vocabulary in the GGUF file"):
        tokenizer = builders[vocabulary.kind](vocabulary)
        _add_tokens(tokenizer, vocabulary)
        _add_template(tokenizer, vocabulary, special)
    return tokenizer, special


def _byte_level(vocabulary: Vocabulary) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models

    rule = pretokenizers.rule(vocabulary.pre)
    tokenizer = Tokenizer(models.BPE(vocabulary.ids, vocabulary.merges(), ignore_merges=rule.whole_words))
    tokenizer.pre_tokenizer = pretokenizers.build(rule)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(vocabulary: Vocabulary) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers

    prefix = vocabulary.flag("add_space_prefix", True)
    unknown = vocabulary.id("unknown", "<unk>")
    model = models.BPE(
        vocabulary.ids,
        merges_from_scores(vocabulary.tokens, vocabulary.scores(), vocabulary.types),
        unk_token=None if unknown is None else vocabulary.tokens[unknown],
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    spaces: list[Any] = [normalizers.Replace(" ", _SPACE)]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), *spaces] if prefix else spaces)
    steps: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return tokenizer


def merges_from_scores(tokens: Sequence[str], scores: Sequence[float], types: Sequence[int]) -> list[tuple[str, str]]:
    """SentencePiece merges the pair whose union scores best; the same order as a list of merges. Only normal tokens take
    part, so no text can become a control token."""
    known = {token for token, kind in zip(tokens, types, strict=True) if kind == NORMAL}
    merges = []
    for token, score, kind in zip(tokens, scores, types, strict=True):
        if kind != NORMAL:
            continue
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in known and right in known:
                merges.append((-score, left, right))
    merges.sort(key=lambda merge: merge[0])
    return [(left, right) for _, left, right in merges]


def _wordpiece(vocabulary: Vocabulary) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    def original(token: str, kind: int) -> str:
        if kind != NORMAL or (token.startswith("[") and token.endswith("]") and len(token) > 2):
            return token
        return token[1:] if token.startswith(_SPACE) else "##" + token

    vocabulary.tokens = [original(token, kind) for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True)]
    vocabulary.ids = {token: i for i, token in enumerate(vocabulary.tokens)}
    lowercase = not any(token.isalpha() and token != token.lower() for token in vocabulary.tokens)
    tokenizer = Tokenizer(models.WordPiece(vocabulary.ids, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _add_tokens(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    from tokenizers import AddedToken

    named = [
        (token, kind) for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True) if kind in (CONTROL, USER_DEFINED)
    ]
    if vocabulary.kind == "bert":
        names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
        named = [(name, CONTROL) for name in names if name in vocabulary.ids]
    if vocabulary.kind == "llama":
        named += [(vocabulary.tokens[i], CONTROL) for i, kind in enumerate(vocabulary.types) if kind == UNKNOWN]
    tokenizer.add_tokens([AddedToken(token, special=kind == CONTROL, normalized=False) for token, kind in named if token])


def _add_template(tokenizer: Tokenizer, vocabulary: Vocabulary, special: SpecialTokens) -> None:
    """What stands around a text: [CLS] … [SEP], or BOS and EOS where the file or its kind asks for them."""
    from tokenizers.processors import TemplateProcessing

    if vocabulary.kind == "bert":
        first, last = special.cls, special.sep
    else:
        bos = vocabulary.kind == "llama" or pretokenizers.rule(vocabulary.pre).add_bos
        first = special.bos if vocabulary.flag("add_bos_token", bos) else None
        last = vocabulary.id("eos") if vocabulary.flag("add_eos_token", False) else None
    around = {i: vocabulary.tokens[i] for i in (first, last) if i is not None}
    if not around:
        return
    before = [around[first]] if first is not None else []
    after = [around[last]] if last is not None else []
    again = [] if vocabulary.kind == "bert" else before
    single = " ".join([*(f"{name}:0" for name in before), "$A:0", *(f"{name}:0" for name in after)])
    pair = " ".join([single, *(f"{name}:1" for name in again), "$B:1", *(f"{name}:1" for name in after)])
    tokenizer.post_processor = TemplateProcessing(
        single=single, pair=pair, special_tokens=[(name, i) for i, name in around.items()]
    )
