"""Records that more than one layer needs. Plain data, no behaviour beyond derived values, no I/O.

Engines speak in token ids; text becomes ids in `text/` and ids become text again in `engine/session.py`, once, for every backend.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

TokenIds = tuple[int, ...]
FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


class Family(StrEnum):
    """What a model is, by how it is called (design: ModelCard.family)."""

    CAUSAL = "causal"  # GPT-type: continues a text
    MASKED = "masked"  # BERT-type with a language-model head: fills [MASK]
    SEQ2SEQ = "seq2seq"  # T5- and Marian-type: reads one text, writes another
    ENCODER = "encoder"  # BERT-type without head: texts to vectors
    CLASSIFIER = "classifier"  # an encoder with a sequence-classification head (entailment and rerank heads included)
    TAGGER = "tagger"  # an encoder with a token-classification head
    SPEECH = "speech"
    REMOTE = "remote"  # somebody else's endpoint; what is behind it is not known


class Task(StrEnum):
    """What a user can ask of a model."""

    GENERATE = "generate"
    CHAT = "chat"
    PREDICT = "predict"
    TRANSLATE = "translate"
    SUMMARIZE = "summarize"
    EMBED = "embed"
    RERANK = "rerank"
    FILL_MASK = "fill-mask"
    TAG = "tag"
    SCORE = "score"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call the model wants made. `arguments` is the JSON text the model wrote, checked to be an object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call. `parameters` is its JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat. role: system, developer, user, assistant or tool."""

    role: str
    content: str = ""
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """What the output must match. `value` is a JSON schema as a dict for json_schema, a pattern for regex, a grammar in Lark
    or GBNF syntax for grammar, None for json_object (any JSON object)."""

    kind: Literal["json_object", "json_schema", "regex", "grammar"]
    value: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. Names and meaning are those of the OpenAI API and of Hugging Face's generation config.

    max_tokens: tokens to write per answer; None means what is left of the context.
    temperature: 0 is greedy. top_k: 0 is off. top_p, min_p: 1 and 0 are off.
    stop: texts that end the answer and are not part of it.
    logprobs: None for none; k >= 0 for the chosen token's log-probability and k alternatives.
    n: answers drawn independently; chunk.index tells them apart. seed makes a request repeatable on one engine;
    answer i of n uses seed + i.
    ignore_eos: an end-of-sequence token that is drawn is a token like any other (but never part of the text). A
    constraint that is complete ends the answer all the same.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    n: int = 1
    ignore_eos: bool = False
    constraint: Constraint | None = None
    num_beams: int = 1


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token with its natural-log probability, and alternatives at the same place, best first.

    texts is set only by engines that speak text (Feature.TEXT_ONLY), whose ids are all -1: the token's text, then one for each
    alternative."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of a request. cached_tokens is the part of the prompt that an engine did not need to compute again."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer of `predict`. `probabilities` has every label, best first. For one label of many they sum to 1; with
    multi_label each stands for itself. `strategy` is the way taken and `why` the reason for it."""

    label: str
    probabilities: dict[str, float]
    strategy: str
    why: str
    model: str
    labels: tuple[str, ...] = ()  # with multi_label: those at or over the threshold

    @property
    def probability(self) -> float:
        return self.probabilities[self.label]

    def __str__(self) -> str:
        return f"{self.label} ({self.probability:.2f})"
