"""`Model`: one model that is ready, with a method for each thing people do with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from llmos.engine.choice import Work
from llmos.errors import InvalidValue
from llmos.library.base import ModelCard
from llmos.sdk.base import Labels, LongInput, Opened, Ranked, Scored, Transport
from llmos.sdk.options import Options, sampling_from
from llmos.sdk.text import Answer, Text, TextStream, collect
from llmos.types import Message, Prediction, Tool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
Chat = str | Sequence[Message | Mapping[str, Any]]
Texts = list[str] | tuple[str, ...]
_MAX_PARALLEL = 32  # requests of one list in flight; the engine batches them


class Model:
    """Made by `LLMOS.load_model`. A text gives an answer; a list of texts gives a list of answers, computed as a batch."""

    def __init__(self, transport: Transport, opened: Opened) -> None:
        self._transport = transport
        self.card: ModelCard = opened.card
        self.name = opened.requested
        self.notice = opened.notice
        self.chats = opened.chats

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.card.ref}, {self.card.family})"

    # -- writing -----------------------------------------------------------------------------------------------------
    @overload
    def generate_text(self, prompt: str, *, timeout_s: float | None = None, **options: Unpack[Options]) -> Text: ...

    @overload
    def generate_text(self, prompt: Texts, *, timeout_s: float | None = None, **options: Unpack[Options]) -> list[Text]: ...

    def generate_text(
        self, prompt: str | Texts, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> Text | list[Text]:
        """Continues the prompt. Raises ContextLengthExceeded when it does not fit, DeadlineExceeded after timeout_s."""
        sampling = sampling_from(options)

        work: Work = "batch" if not isinstance(prompt, str) and len(prompt) > 1 else "decode"

        def start(text: str) -> Answer:
            return self._transport.complete(self.name, text, sampling, timeout_s=timeout_s, work=work, stream=False)

        if isinstance(prompt, str):
            return collect(start(prompt), self.card.name)
        with ThreadPoolExecutor(min(_MAX_PARALLEL, max(1, len(prompt)))) as threads:
            return list(threads.map(lambda text: collect(start(text), self.card.name), prompt))

    def chat(
        self, messages: Chat, *, tools: Sequence[Tool] = (), tool_choice: str = "auto", timeout_s: float | None = None,
        **options: Unpack[Options],
    ) -> Text:  # fmt: skip
        """Answers a chat. A string is one user message; dicts need `role` and `content`. `.tool_calls` of the answer holds
        calls the model wants made."""
        answer = self._transport.chat(
            self.name,
            as_messages(messages),
            sampling_from(options),
            tools=tools,
            tool_choice=tool_choice,
            timeout_s=timeout_s,
            stream=False,
        )
        return collect(answer, self.card.name)

    def stream(
        self, prompt: str | None = None, *, messages: Chat | None = None, tools: Sequence[Tool] = (),
        timeout_s: float | None = None, **options: Unpack[Options],
    ) -> TextStream:  # fmt: skip
        """The answer piece by piece: continues `prompt`, or answers `messages`. Exactly one of them."""
        if (prompt is None) == (messages is None):
            raise InvalidValue("stream takes either a prompt or messages.", param="prompt")
        sampling = sampling_from(options)
        if prompt is not None:
            answer = self._transport.complete(self.name, prompt, sampling, timeout_s=timeout_s)
        else:
            assert messages is not None
            answer = self._transport.chat(
                self.name, as_messages(messages), sampling, tools=tools, tool_choice="auto", timeout_s=timeout_s
            )
        return TextStream(answer, self.card.name)

    # -- understanding -----------------------------------------------------------------------------------------------
    @overload
    def predict(
        self, text: str, labels: Labels, *, multi_label: bool = False, threshold: float = 0.5, template: str | None = None
    ) -> Prediction: ...

    @overload
    def predict(
        self, text: Texts, labels: Labels, *, multi_label: bool = False, threshold: float = 0.5,
        template: str | None = None,
    ) -> list[Prediction]: ...  # fmt: skip

    def predict(
        self, text: str | Texts, labels: Labels, *, multi_label: bool = False, threshold: float = 0.5,
        template: str | None = None,
    ) -> Prediction | list[Prediction]:  # fmt: skip
        """Which of the labels fits the text, with a probability for each. Works on every family that runs here (not on remote
        models); the result's `strategy` and `why` say how. labels: names, or {name: description}. template: the sentence or
        instruction used."""
        found = self._transport.predict(
            self.name, _listed(text), labels, multi_label=multi_label, threshold=threshold, template=template
        )
        return found[0] if isinstance(text, str) else found

    @overload
    def embed(self, text: str, *, long: LongInput = "error") -> NDArray[np.float32]: ...

    @overload
    def embed(self, text: Texts, *, long: LongInput = "error") -> NDArray[np.float32]: ...

    def embed(self, text: str | Texts, *, long: LongInput = "error") -> NDArray[np.float32]:
        """[D] for a text, [N, D] for a list. A text beyond the context is an error, or with long="mean" the weighted mean of
        its parts."""
        vectors = self._transport.embed(self.name, _listed(text), long=long)
        first: NDArray[np.float32] = vectors[0]
        return first if isinstance(text, str) else vectors

    def rerank(self, query: str, documents: Sequence[str], *, top_n: int | None = None) -> list[Ranked]:
        """The documents by relevance to the query, best first."""
        return self._transport.rerank(self.name, query, documents, top_n)

    def score(self, prompt: str, continuations: Sequence[str]) -> list[Scored]:
        """The natural-log probability of each continuation after the prompt, in the order given."""
        return self._transport.score(self.name, prompt, continuations)

    # -- transforming ------------------------------------------------------------------------------------------------
    @overload
    def translate(self, text: str, target_language: str, source_language: str | None = None, **options: Unpack[Options]) -> str: ...

    @overload
    def translate(
        self, text: Texts, target_language: str, source_language: str | None = None, **options: Unpack[Options]
    ) -> list[str]: ...

    def translate(
        self, text: str | Texts, target_language: str, source_language: str | None = None, **options: Unpack[Options]
    ) -> str | list[str]:
        """Translates; languages by name or code ("fr", "French"). An unsupported language is an error that lists the supported
        ones. Long text is split at sentences and joined again."""
        options.setdefault("temperature", 0.0)
        sampling = sampling_from(options, default_max_tokens=None)
        found = self._transport.translate(self.name, _listed(text), target_language, source_language, sampling)
        return found[0] if isinstance(text, str) else found

    @overload
    def summarize(self, text: str, **options: Unpack[Options]) -> str: ...

    @overload
    def summarize(self, text: Texts, **options: Unpack[Options]) -> list[str]: ...

    def summarize(self, text: str | Texts, **options: Unpack[Options]) -> str | list[str]:
        """Summarises. Text beyond the context is summarised part by part, and the parts' summaries once more."""
        options.setdefault("temperature", 0.0)
        found = self._transport.summarize(self.name, _listed(text), sampling_from(options))
        return found[0] if isinstance(text, str) else found

    # -- tokens ------------------------------------------------------------------------------------------------------
    def tokenize(self, text: str) -> list[int]:
        return self._transport.tokenize(self.name, text)

    def detokenize(self, ids: Sequence[int]) -> str:
        return self._transport.detokenize(self.name, ids)


def _listed(text: str | Texts) -> Sequence[str]:
    return [text] if isinstance(text, str) else list(text)


def as_messages(messages: Chat) -> list[Message]:
    """A string or dicts as Message records. Raises InvalidValue naming the message that is wrong."""
    if isinstance(messages, str):
        return [Message(role="user", content=messages)]
    made = []
    for place, message in enumerate(messages):
        if isinstance(message, Message):
            made.append(message)
            continue
        try:
            made.append(Message(**message))
        except TypeError as problem:
            raise InvalidValue(f"messages[{place}]: {problem}", param=f"messages[{place}]") from None
    return made
