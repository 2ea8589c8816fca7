"""One model ready to use: the place where text becomes tokens and tokens become text again.

A Session is a light handle. It holds the tokenizer and asks its `EngineSource` (the Pool) for an engine whenever work comes, so
that an engine which was evicted, died or lacks a feature is loaded again or replaced without the caller noticing. Every
method may be called from any thread. Nothing is truncated: what does not fit raises ContextLengthExceeded with both numbers.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from llmos.engine.base import Adapter, Engine, Feature, Request, ScoreItem, ScoreResult
from llmos.engine.choice import Work
from llmos.engine.generation import Assembler, Generation, Meter, unmetered
from llmos.engine.limits import Limits
from llmos.engine.needs import needed_features
from llmos.engine.tooluse import ToolUse
from llmos.engine.turns import calling
from llmos.errors import InvalidValue, UnsupportedFeature
from llmos.library.base import ModelCard
from llmos.text.base import ChatTemplate, Encoded, Tokenizer
from llmos.text.shield import Shield
from llmos.types import Family, Message, Sampling, TokenIds, Tool, Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Lease(Protocol):
    """An engine that stays loaded until `release` (idempotent). A context manager giving the engine."""

    engine: Engine

    def release(self) -> None: ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc: object) -> None: ...


class EngineSource(Protocol):
    """Where a Session gets engines from: the pool, or FixedEngine in tests and scripts."""

    def lease(self, features: frozenset[Feature], work: Work, *, reads: int = 0, writes: int = 0) -> Lease:
        """An engine of this model with these features, good at this work; reads and writes (tokens of the prompt and of the
        longest answer) help where the work is "mixed". Loads one where needed; raises UnsupportedFeature, OverCapacity."""
        ...


class Session:
    """See the module's docstring. Attributes:

    card: of the model (of the adapter for a PEFT card; `base` is then the base model's card, otherwise the same).
    requested: the name that was asked for. notice: a sentence to show once when that name stands for something else, or "".
    tokenizer: None for a remote model. template: None when the model has none. context_length: tokens, prompt and answer;
    0 when not known (remote). meter: told of the tokens of each piece of work when it is over, from any thread. priority: of its
    work; what is not interactive stands back for what is (kernel/compute.py). cache_salt: of its requests (Request).
    """

    def __init__(
        self,
        *,
        card: ModelCard,
        engines: EngineSource,
        tokenizer: Tokenizer | None,
        template: ChatTemplate | None = None,
        requested: str = "",
        notice: str = "",
        context_length: int | None = None,
        base: ModelCard | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        self.card = card
        self.base = base or card
        self.requested = requested or card.name
        self.notice = notice
        self.tokenizer = tokenizer
        self.template = template
        self.context_length = context_length or self.base.context_length
        self.adapter = adapter
        self.meter: Meter = unmetered
        self.priority = "interactive"
        self.cache_salt = ""
        self._engines = engines
        self._limits = Limits(card=self.base, context_length=self.context_length)

    @property
    def family(self) -> Family:
        return self.base.family

    @property
    def chats(self) -> bool:
        """Whether it takes messages: its model has a chat template, or is remote, where that is not known."""
        return self.template is not None or self.family is Family.REMOTE

    def __repr__(self) -> str:
        return f"<Session {self.card.ref} ({self.family.value}, {self.context_length} tokens)>"

    # -- writing -----------------------------------------------------------------------------------------------------
    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        tools: Sequence[Tool] = (),
        tool_choice: str = "auto",
        deadline_s: float | None = None,
        extra: dict[str, Any] | None = None,
        work: Work = "mixed",
        stream: bool = True,
    ) -> Generation:
        """Answers a chat. tool_choice: auto, none, required, or the name of one tool. extra: variables for the template;
        `continue_final_message=True` continues the last assistant message instead of opening a new one. work: what the caller
        knows of it (one answer at a time, or one of many), for the choice of the engine; "mixed" leaves it to the pool.
        stream: False when nobody looks at the answer before its end, which spares handing it over token by token.

        Raises InvalidValue (bad messages or tool_choice), UnsupportedFeature (no chat template), ContextLengthExceeded.
        """
        if not messages:
            raise InvalidValue("messages is empty.", param="messages", hint="Give at least one message.")
        use = ToolUse.plan(self.template, tools, tool_choice, remote=self.tokenizer is None)
        sampling = use.constrain(sampling)
        if self.tokenizer is None:
            return self._generate((), sampling, deadline_s, work, stream, messages=tuple(messages), use=use)
        ids = self.chat_ids(messages, tools=use.tools, extra=extra, opening=use.opening)
        return self._generate(ids, sampling, deadline_s, work, stream, use=use)

    def chat_ids(
        self, messages: Sequence[Message], *, tools: Sequence[Tool] = (), extra: dict[str, Any] | None = None, opening: str = ""
    ) -> TokenIds:
        """The prompt of a chat as token ids; `opening` follows it. Control tokens come from the template alone: where a message
        spells one, it stays text. Raises as `render`."""
        shield = Shield(self._tokenizer())
        prompt = self.render(shield.messages(messages), tools=shield.tools(tools), extra=shield.value(extra))
        return shield.encode(prompt + opening)

    def render(self, messages: Sequence[Message], *, tools: Sequence[Tool] = (), extra: dict[str, Any] | None = None) -> str:
        """The prompt text of a chat, as the model's template writes it. Raises UnsupportedFeature without a template."""
        if self.template is None:
            raise UnsupportedFeature(
                f"{self.card.ref} has no chat template: it is a {self.family.value} model that was not made for chat.",
                param="messages",
                hint="Use a completion (generate_text, /v1/completions), or an instruct model.",
            )
        extra = dict(extra or {})
        going_on = bool(extra.pop("continue_final_message", False))
        return self.template.render(
            messages, tools=tools, add_generation_prompt=not going_on, continue_final=going_on, extra=extra or None
        )

    def complete(
        self,
        prompt: str | TokenIds,
        sampling: Sampling,
        *,
        deadline_s: float | None = None,
        work: Work = "mixed",
        stream: bool = True,
    ) -> Generation:
        """Continues a prompt (causal), or answers the text that the encoder reads (seq2seq). Token ids are taken as they are.
        work and stream: as for `chat`."""
        if self.tokenizer is None:
            if not isinstance(prompt, str):
                raise UnsupportedFeature(f"{self.card.ref} is remote and takes text, not token ids.", param="prompt")
            return self._generate((), sampling, deadline_s, work, stream, text=prompt)
        ids = self.encode(prompt, add_special=True) if isinstance(prompt, str) else self._checked(prompt)
        if not ids:
            bos = self.tokenizer.special.bos
            if bos is None:
                raise InvalidValue("The prompt is empty and the model has no start token.", param="prompt")
            ids = (bos,)
        return self._generate(ids, sampling, deadline_s, work, stream)

    def _generate(
        self,
        ids: TokenIds,
        sampling: Sampling,
        deadline_s: float | None,
        work: Work,
        stream: bool,
        *,
        text: str | None = None,
        messages: tuple[Message, ...] = (),
        use: ToolUse | None = None,
    ) -> Generation:
        self._need_family("generate text", Family.CAUSAL, Family.SEQ2SEQ, Family.REMOTE)
        sampling = self._limits.fit(sampling, num_prompt_tokens=len(ids), remote=self.tokenizer is None)
        request = Request(
            id=uuid.uuid4().hex,
            prompt=ids,
            sampling=sampling,
            deadline=None if deadline_s is None else time.monotonic() + deadline_s,
            priority=self.priority,
            cache_salt=self.cache_salt,
            stream=stream or bool(sampling.stop),  # a text that ends the answer must be seen when it comes
            adapter=self.adapter,
            text=text,
            messages=messages,
            tools=use.tools if use else (),
            tool_choice=use.choice if use else "auto",
        )
        features = needed_features(sampling, adapter=self.adapter is not None)
        lease = self._engines.lease(features, work, reads=len(ids), writes=sampling.n * (sampling.max_tokens or 0))
        try:
            handle = lease.engine.submit(request)
        except BaseException:
            lease.release()
            raise
        return Generation(
            handle,
            engine=f"{lease.engine.backend}/{lease.engine.variant}",
            assembler=lambda index: self._assembler(index, sampling, use),
            prompt_ids=ids,
            on_end=lease.release,
            meter=self.meter,
        )

    def _assembler(self, index: int, sampling: Sampling, use: ToolUse | None) -> Assembler:
        stream = self.tokenizer.stream() if self.tokenizer is not None else None
        return Assembler(index, stream, sampling.stop, use.parser() if use is not None else None)

    # -- reading -----------------------------------------------------------------------------------------------------
    def score(self, items: Sequence[ScoreItem], *, top: int = 0) -> list[ScoreResult]:
        """Log-probabilities of continuations; `top` alternatives at each place. See Engine.score for what is shared."""
        for item in items:
            longest = max(map(len, item.continuations), default=0)
            self._limits.check(len(item.prompt), longest, param="continuations")
        features = {Feature.SCORE} | ({Feature.TOP_SCORE} if top else set()) | ({Feature.ADAPTERS} if self.adapter else set())
        with self._reader(*features) as engine:
            scored = engine.score(items, top=top, adapter=self.adapter)
        self._read([item.prompt for item in items], [ids for item in items for ids in item.continuations])
        return scored

    def embed(self, texts: Sequence[str | TokenIds], *, long: Literal["error", "mean"] = "error") -> NDArray[np.float32]:
        """[N, D] vectors. long: what to do with a text past the context: an error, or the mean of its parts by length."""
        from llmos.engine.windows import mean_of_windows, windows

        if self.tokenizer is None:
            return self._embed_remotely(texts, long)
        tokenizer = self._tokenizer()
        special = len(tokenizer.encode("", add_special=True))
        texts = list(texts)
        encoded = [tokenizer.encode(text, add_special=True) if isinstance(text, str) else self._checked(text) for text in texts]
        groups: list[list[TokenIds]] = []
        for text, ids in zip(texts, encoded, strict=True):
            if len(ids) <= self.context_length or long == "error":
                self._limits.check(len(ids), 0, param="input")
                groups.append([ids])
            else:
                plain = tokenizer.encode(text) if isinstance(text, str) else ids
                groups.append(windows(plain, self.context_length - special, around=tokenizer.encode("", add_special=True)))
        with self._reader(Feature.EMBED) as engine:
            vectors = engine.embed([ids for group in groups for ids in group])
        self._read([ids for group in groups for ids in group])
        return mean_of_windows(vectors, groups)

    def _embed_remotely(self, texts: Sequence[str | TokenIds], long: str) -> NDArray[np.float32]:
        """By the endpoint, whose error says what it cannot."""
        if long != "error":
            raise UnsupportedFeature(f"The tokens of {self.card.ref} are not known here: it is remote.", param="long")
        given = [text for text in texts if isinstance(text, str)]
        if len(given) != len(texts):
            raise UnsupportedFeature(f"{self.card.ref} is remote and takes text, not token ids.", param="input")
        with self._reader(Feature.EMBED) as engine:
            return engine.embed_texts(given)

    def classify(self, inputs: Sequence[str | tuple[str, str]]) -> NDArray[np.float32]:
        """[N, L] logits of the classification head for texts or pairs of texts; columns as `card.labels`."""
        encoded = [self._encode_input(value) for value in inputs]
        for pair in encoded:
            self._limits.check(len(pair.ids), 0, param="input")
        with self._reader(Feature.CLASSIFY) as engine:
            found = engine.classify([(pair.ids, pair.type_ids) for pair in encoded])
        self._read([pair.ids for pair in encoded])
        return found

    def tag(self, texts: Sequence[str | TokenIds]) -> list[NDArray[np.float32]]:
        """For each text [T, L] logits, one row a token of `encode(text, add_special=True)`."""
        ids = [self.encode(text, add_special=True) if isinstance(text, str) else self._checked(text) for text in texts]
        for one in ids:
            self._limits.check(len(one), 0, param="input")
        with self._reader(Feature.TAG) as engine:
            found = engine.tag(ids)
        self._read(ids)
        return found

    def fill_mask(self, texts: Sequence[str | TokenIds], candidates: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """For each text with M mask tokens (`mask_token` in a str) [M, V] log-probabilities, or [M, len(candidates)]."""
        tokenizer = self._tokenizer()
        ids = [
            tokenizer.encode(text, add_special=True, parse_special=True) if isinstance(text, str) else self._checked(text)
            for text in texts
        ]
        for place, one in enumerate(ids):
            self._limits.check(len(one), 0, param="input")
            if tokenizer.special.mask not in one:
                raise InvalidValue(f"Text {place} has no mask token.", param="input", hint=f"Write {self.mask_token!r} in it.")
        with self._reader(Feature.FILL_MASK) as engine:
            found = engine.fill_mask(ids, candidates)
        self._read(ids)
        return found

    @contextmanager
    def _reader(self, *features: Feature) -> Iterator[Engine]:
        with self._engines.lease(frozenset(features), "prefill") as engine, calling(self.priority):
            yield engine

    def _read(self, *inputs: Sequence[TokenIds]) -> None:
        self.meter(Usage(prompt_tokens=sum(len(ids) for group in inputs for ids in group)))

    # -- tokens ------------------------------------------------------------------------------------------------------
    def encode(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> TokenIds:
        return self._tokenizer().encode(text, add_special=add_special, parse_special=parse_special)

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        return self._tokenizer().decode(self._checked(ids), skip_special=skip_special)

    def count_tokens(self, text: str) -> int:
        return len(self.encode(text))

    @property
    def mask_token(self) -> str:
        """How to write the mask in a text for `fill_mask`. Raises UnsupportedFeature when the model has none."""
        mask = self._tokenizer().special.mask
        if mask is None:
            raise UnsupportedFeature(f"{self.card.ref} has no mask token.", hint="Use a masked model such as bert-base-uncased.")
        return self._tokenizer().decode([mask], skip_special=False)

    # -- engines -----------------------------------------------------------------------------------------------------
    @property
    def engines(self) -> EngineSource:
        """Where its engines come from, for who hands requests on that were made elsewhere (engine/broker.py)."""
        return self._engines

    def engine_for(self, features: frozenset[Feature], work: Work = "prefill") -> Engine:
        """The engine that would serve these features now, to look at (its `features`, name, sizes). It is loaded when needed,
        but not kept: do work through the methods above. Raises UnsupportedFeature when there is none."""
        with self._engines.lease(features, work) as engine:
            return engine

    # -- checks ------------------------------------------------------------------------------------------------------
    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise UnsupportedFeature(
                f"The tokenizer of {self.card.ref} is not known here: the model is remote.", hint="Use a local model for this."
            )
        return self.tokenizer

    def _encode_input(self, value: str | tuple[str, str]) -> Encoded:
        if isinstance(value, str):
            ids = self.encode(value, add_special=True)
            return Encoded(ids, (0,) * len(ids))
        return self._tokenizer().encode_pair(*value)

    def _checked(self, ids: Sequence[int]) -> TokenIds:
        size = self._tokenizer().vocab_size
        for place, token in enumerate(ids):
            if not 0 <= token < size:
                raise InvalidValue(f"Token id {token} at {place} is outside the vocabulary of {size}.", param="prompt")
        return tuple(ids)

    def _need_family(self, what: str, *families: Family) -> None:
        if self.family not in families:
            wanted = " or ".join(family.value for family in families)
            raise UnsupportedFeature(
                f"{self.card.ref} is a {self.family.value} model and cannot {what}.", param="model", hint=f"Use a {wanted} model."
            )


class FixedEngine:
    """An EngineSource of one engine that the caller owns: for tests, benchmarks and the probe."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def lease(self, features: frozenset[Feature], work: Work, *, reads: int = 0, writes: int = 0) -> Lease:
        missing = features - self.engine.features
        if missing:
            names = ", ".join(sorted(feature.value for feature in missing))
            raise UnsupportedFeature(f"The engine {self.engine.backend} cannot do {names} for {self.engine.card.ref}.")
        return self

    def release(self) -> None:
        """Nothing to give back: the engine is the caller's."""

    def __enter__(self) -> Engine:
        return self.engine

    def __exit__(self, *exc: object) -> None:
        self.release()
