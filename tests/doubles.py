"""Hand-made doubles: a library without files and engines without a model, deterministic and at the level of tokens.

    pool = fake_pool(settings, tmp_path)                 # models "fake" (chat, tools), "fake-encoder", "fake-masked", …
    pool.session("fake").complete("Hi", Sampling(max_tokens=8)).result()[0].text

A FakeEngine does not think: it writes `card.extra["answer"]` ("Hello world." unless told otherwise) as tokens, whatever the prompt
says. More of `card.extra`:

    fake-rich.answer   the answer of that backend alone        step_s       seconds a token
    json_answer        written under a constraint              endless      writes until max_tokens
    crash_on           a prompt with this text kills the engine's process (only with inline=False)
    fail_on            a prompt with this text fails           load_error   the backend that shall not load it
    die_once           a path; the first load kills its process
    load_once          a path; a second load fails             memory_bytes what it says to take

Tokens are bytes of UTF-8 plus special ones, in a real tokenizer.json that `make_model` writes, so that the project's own loaders
read it.

Two backends: "fake" cannot give alternatives or score; "fake-rich" can, so that the fallback to a second engine is seen.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llmos.engine.base import (
    Adapter,
    Availability,
    Backend,
    Chunk,
    Engine,
    Feature,
    Handle,
    LoadOptions,
    Request,
    ScoreItem,
    ScoreResult,
    Support,
    Variant,
    backends,
)
from llmos.engine.pool import Pool
from llmos.errors import EngineError, NotFound, did_you_mean
from llmos.infra.database import Database
from llmos.library.base import ModelCard, ModelFile, Progress, Resolved
from llmos.settings import Settings
from llmos.types import Family, FinishReason, TokenIds, TokenLogprob, ToolCall, Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "[MASK]", "<|im_start|>", "<|im_end|>")  # ids 256 …
UNK, BOS, EOS, PAD, MASK, IM_START, IM_END = range(256, 256 + len(SPECIAL))
VOCAB_SIZE = 256 + len(SPECIAL)
DIM = 8

CHAT_TEMPLATE = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }} as <tool_call>{...}</tool_call><|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_TEXT = frozenset({Feature.GENERATE, Feature.BATCHING, Feature.SEED, Feature.LOGPROBS, Feature.JSON_SCHEMA, Feature.ADAPTERS})
_RICH = _TEXT | {Feature.TOP_LOGPROBS, Feature.SCORE, Feature.TOP_SCORE, Feature.REGEX, Feature.LOGIT_BIAS, Feature.IGNORE_EOS}
_BY_FAMILY = {
    Family.CAUSAL: _TEXT,
    Family.SEQ2SEQ: _TEXT,
    Family.REMOTE: _TEXT | {Feature.TEXT_ONLY},
    Family.ENCODER: frozenset({Feature.EMBED}),
    Family.MASKED: frozenset({Feature.FILL_MASK, Feature.EMBED}),
    Family.CLASSIFIER: frozenset({Feature.CLASSIFY}),
    Family.TAGGER: frozenset({Feature.TAG}),
}


class FakeEngine(Engine):
    """See the module's docstring. Each request runs in a thread of its own, one chunk a token."""

    def __init__(self, backend: str, card: ModelCard, variant: str, features: frozenset[Feature], options: LoadOptions) -> None:
        self.backend, self.variant, self.card, self.features = backend, variant, card, features
        self.memory_bytes = int(card.extra.get("memory_bytes", "1000000"))
        self.load_s = 0.01
        self.context_length = options.context_length
        self.options = options
        self.adapters: list[str] = []
        self._running: dict[str, Handle] = {}
        self._lock = threading.Lock()

    def submit(self, request: Request) -> Handle:
        handle = Handle(request)
        self._crash_on(request.prompt)
        if request.adapter:
            self.adapters.append(request.adapter.name)
        with self._lock:
            self._running[request.id] = handle
        threading.Thread(target=self._run, args=(handle,), daemon=True).start()
        return handle

    def _crash_on(self, prompt: TokenIds) -> None:
        crash_on = self.card.extra.get("crash_on")
        if crash_on and crash_on.encode() in _text(prompt):
            os.kill(os.getpid(), signal.SIGKILL)

    def _run(self, handle: Handle) -> None:
        request = handle.request
        try:
            answer = self._answer(request)
            if Feature.TEXT_ONLY in self.features:
                _write_as_remote(handle, answer)
                return
            for index in range(request.sampling.n):
                self._write(handle, index, answer)
            handle.close()
        except EngineError as problem:
            handle.fail(problem)
        finally:
            with self._lock:
                del self._running[request.id]

    def _answer(self, request: Request) -> bytes:
        if "fail_on" in self.card.extra and self.card.extra["fail_on"].encode() in _text(request.prompt):
            raise EngineError("The fake engine was told to fail on this prompt.")
        constrained = request.sampling.constraint is not None
        plain = self.card.extra.get(f"{self.backend}.answer", self.card.extra.get("answer", "Hello world."))
        return (self.card.extra.get("json_answer", '{"answer": 1}') if constrained else plain).encode()

    def _write(self, handle: Handle, index: int, answer: bytes) -> None:
        sampling = handle.request.sampling
        assert sampling.max_tokens is not None
        endless = sampling.ignore_eos or "endless" in self.card.extra
        num = sampling.max_tokens if endless else min(sampling.max_tokens, len(answer))
        reason: FinishReason = "stop" if num == len(answer) and not endless else "length"
        for place in range(num):
            time.sleep(float(self.card.extra.get("step_s", "0")))
            if handle.cancelled.is_set():
                handle.push(Chunk(index=index, finish_reason="cancelled"))
                return
            token = answer[place % len(answer)]
            logprobs = (self._logprob(token, sampling.logprobs),) if sampling.logprobs is not None else ()
            handle.push(Chunk(index=index, token_ids=(token,), logprobs=logprobs))
        handle.push(Chunk(index=index, finish_reason=reason))

    def _logprob(self, token: int, top: int) -> TokenLogprob:
        """-0.1 for what is written, then the next token ids, each 1 less likely."""
        others = tuple(((token + step) % 256, -0.1 - step) for step in range(top))
        return TokenLogprob(token, -0.1, others)

    def score(self, items: Sequence[ScoreItem], *, top: int = 0, adapter: Adapter | None = None) -> list[ScoreResult]:
        if Feature.SCORE not in self.features:
            return super().score(items, top=top, adapter=adapter)
        for item in items:
            self._crash_on(item.prompt)
        return [
            ScoreResult(continuations=tuple(tuple(self._scored(token, top) for token in ids) for ids in item.continuations))
            for item in items
        ]

    def _scored(self, token: int, top: int) -> TokenLogprob:
        """Words of earlier letters are likelier: log-probability -(token id) / 100."""
        return TokenLogprob(token, -token / 100, tuple((step, -step / 100) for step in range(top)))

    def embed(self, inputs: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Unit vectors: counts of the tokens, by their remainder."""
        import numpy as np

        if Feature.EMBED not in self.features:
            return super().embed(inputs)
        out = np.full((len(inputs), DIM), 0.01, dtype=np.float32)
        for row, ids in enumerate(inputs):
            for token in ids:
                out[row, token % DIM] += 1
        unit: NDArray[np.float32] = out / np.linalg.norm(out, axis=1, keepdims=True)
        return unit

    def classify(self, inputs: Sequence[tuple[TokenIds, TokenIds]]) -> NDArray[np.float32]:
        """Logits by the number of tokens: the label at place (count mod number of labels) gets 2.0, the others 0.0."""
        import numpy as np

        if Feature.CLASSIFY not in self.features:
            return super().classify(inputs)
        out = np.zeros((len(inputs), len(self.card.labels)), dtype=np.float32)
        for row, (ids, _) in enumerate(inputs):
            out[row, len(ids) % len(self.card.labels)] = 2.0
        return out

    def tag(self, inputs: Sequence[TokenIds]) -> list[NDArray[np.float32]]:
        import numpy as np

        if Feature.TAG not in self.features:
            return super().tag(inputs)
        num = len(self.card.labels)
        return [np.eye(num, dtype=np.float32)[[token % num for token in ids]] for ids in inputs]

    def fill_mask(self, inputs: Sequence[TokenIds], candidates: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """The same at every mask: the k-th token of the vocabulary has log-probability -log(V)."""
        import numpy as np

        if Feature.FILL_MASK not in self.features:
            return super().fill_mask(inputs, candidates)
        width = VOCAB_SIZE if candidates is None else len(candidates)
        return [np.full((ids.count(MASK), width), -np.log(VOCAB_SIZE), dtype=np.float32) for ids in inputs]

    def running(self) -> int:
        with self._lock:
            return len(self._running)

    def close(self) -> None:
        with self._lock:
            handles = list(self._running.values())
        for handle in handles:
            handle.cancel()


def _write_as_remote(handle: Handle, answer: bytes) -> None:
    """As an endpoint does: text instead of tokens, a whole tool call for each tool that was sent, its own count of tokens."""
    request = handle.request
    said = request.text if request.text is not None else request.messages[-1].content
    for piece in (f"To {said!r}: ", answer.decode()):
        handle.push(Chunk(text=piece))
    calls = tuple(ToolCall(id="1", name=tool.name, arguments="{}") for tool in request.tools)
    usage = Usage(prompt_tokens=len(said), completion_tokens=7)
    handle.push(Chunk(tool_calls=calls, finish_reason="stop", usage=usage))
    handle.close()


def _text(ids: TokenIds) -> bytes:
    return bytes(token for token in ids if token < 256)


class FakeBackend(Backend):
    """Runs every card of the architecture "fake", and no other."""

    name = "fake"
    more: ClassVar[frozenset[Feature]] = frozenset()

    def availability(self) -> Availability:
        return Availability(ok=True, version="1")

    def supports(self, card: ModelCard) -> Support:
        if card.architecture != "fake":
            return Support(ok=False, why=f"a double; does not run {card.architecture}")
        features = _BY_FAMILY[card.family]
        if Feature.GENERATE in features:
            features = features | self.more
        return Support(ok=True, why="a double", features=features, prefixes_on_request="prefixes" in card.extra)

    def load(self, card: ModelCard, folder: Path, variant: Variant, options: LoadOptions) -> Engine:
        if card.extra.get("load_error") == self.name:
            raise EngineError(f"{self.name} was told not to load {card.name}.")
        if "die_once" in card.extra and not Path(card.extra["die_once"]).exists():
            Path(card.extra["die_once"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "load_once" in card.extra:
            try:
                Path(card.extra["load_once"]).touch(exist_ok=False)
            except FileExistsError:
                raise EngineError(f"{card.name} was loaded once already.") from None
        support = self.supports(card)
        shared = {Feature.PREFIX_CACHE} if support.prefixes_on_request and options.share_prefixes else set()
        return FakeEngine(self.name, card, variant.name, support.features | shared, options)


class RichFakeBackend(FakeBackend):
    name = "fake-rich"
    more = _RICH


for _backend in (FakeBackend(), RichFakeBackend()):
    if _backend.name not in backends:
        backends.add(_backend.name, _backend)


class FakeLibrary:
    """A library in memory: `cards` by name, one folder with the tokenizer for all. Records what was asked in `asked`."""

    def __init__(self, folder: Path, cards: Sequence[ModelCard], database: Database | None = None) -> None:
        self.folder = make_model(folder)
        self.cards = {card.name: card for card in cards}
        self.asked: list[str] = []
        self.owners: dict[str, str] = {}
        self.database = database

    def ensure(self, name: str, *, progress: Callable[[Progress], None] | None = None) -> Resolved:
        self.asked.append(name)
        return self.resolve(name)

    def resolve(self, name: str) -> Resolved:
        card = self.cards.get(name.partition(":")[0])
        if card is None:
            raise NotFound(f"Model {name!r} is not in the library.", param="model", hint=did_you_mean(name, list(self.cards)))
        return Resolved(requested=name, card=card, folder=self.folder)

    def list(self) -> list[ModelCard]:
        return [*self.cards.values()]

    def check(self, card: ModelCard) -> None:
        """Its one file is never damaged."""

    def seen_by(self, project: str) -> FakeLibrary:
        """Cards are everybody's, unless `owners` names a project for them."""
        view = copy.copy(self)
        view.cards = {name: card for name, card in self.cards.items() if self.owners.get(name, project) == project}
        return view


def fake_card(
    name: str = "fake", family: Family = Family.CAUSAL, *, extra: dict[str, str] | None = None, **changes: Any
) -> ModelCard:
    """A card that FakeBackend runs."""
    card = ModelCard(
        name=name,
        version=hashlib.sha256(name.encode()).hexdigest(),
        family=family,
        format="marian",  # no built-in engine takes it
        architecture="fake",
        files=(ModelFile(path="tokenizer.json", sha256="0" * 64, size_bytes=1000),),
        source="test",
        licence="Apache-2.0",
        parameters=1000,
        context_length=512,
        memory_bytes=1000,
        embedding_dim=DIM if family in (Family.ENCODER, Family.MASKED) else 0,
        labels=("negative", "neutral", "positive") if family in (Family.CLASSIFIER, Family.TAGGER) else (),
        extra=extra or {},
    )
    return replace(card, **changes)


def fake_cards() -> list[ModelCard]:
    """One of each kind; "fake-tools" answers with a tool call, "fake-slow" writes 50 tokens/s without end."""
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    return [
        fake_card(),
        fake_card("fake-tools", extra={"answer": call, "json_answer": '{"name": "get_weather", "arguments": {"city": "Paris"}}'}),
        fake_card("fake-slow", extra={"step_s": "0.02", "endless": "yes"}),
        fake_card("fake-crash", extra={"crash_on": "die"}),
        fake_card("fake-fail", extra={"fail_on": "fail"}),
        fake_card("fake-seq2seq", Family.SEQ2SEQ),
        fake_card("fake-encoder", Family.ENCODER),
        fake_card("fake-masked", Family.MASKED),
        fake_card("fake-classifier", Family.CLASSIFIER),
        fake_card("fake-tagger", Family.TAGGER),
    ]


def fake_pool(
    settings: Settings,
    folder: Path,
    *,
    cards: Sequence[ModelCard] | None = None,
    inline: bool = True,
    database: Database | None = None,
    **options: Any,
) -> Pool:
    """A Pool over a FakeLibrary. Close it. With a database it keeps measured tables (and measures, unless inline)."""
    library = FakeLibrary(folder / "fake-model", fake_cards() if cards is None else cards, database)
    return Pool(settings, library, inline=inline, **options)


def make_model(folder: Path) -> Path:
    """Writes a byte-level tokenizer (id = byte, then SPECIAL) and a ChatML template with tools, in the layout of a hub model."""
    from tokenizers.pre_tokenizers import ByteLevel

    folder.mkdir(parents=True, exist_ok=True)
    letters = _byte_letters(sorted(ByteLevel.alphabet()))
    added = [
        {
            "id": 256 + place,
            "content": name,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for place, name in enumerate(SPECIAL)
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": {**letters, **{name: 256 + i for i, name in enumerate(SPECIAL)}}, "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "[MASK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": CHAT_TEMPLATE}))
    return folder


def _byte_letters(alphabet: list[str]) -> dict[str, int]:
    """GPT-2's letter for each byte: printable ones stand for themselves, the others follow from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {chr(byte): byte for byte in printable}
    letters |= {chr(256 + place): byte for place, byte in enumerate(sorted(set(range(256)) - set(printable)))}
    assert sorted(letters) == alphabet
    return letters
