"""The loaded models of one process, under one memory budget.

    session(name) -> Session --lease(features, work)--> Slot (one loaded engine, held while a request runs) -> release

    a slot:   loading -> idle <-> held by requests -> unloaded (evicted for another, keep-alive over, unload, close)

An engine that a request holds is never unloaded under it, except by `unload` and `close`. Loads run one at a time: two would
fight for the same cores and the same memory.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from llmos.engine.base import Adapter, Feature
from llmos.engine.choice import EngineChoice, Loaded, Work, kind_of, pick
from llmos.engine.choices import ChoiceTables
from llmos.engine.loading import Explanation, Loader
from llmos.engine.memory import estimate_bytes, fits, plan_eviction
from llmos.engine.session import Session
from llmos.engine.slots import NEVER, LoadedInfo, PoolLease, Slot, expires_in_s, info, resident
from llmos.errors import EngineError, NotFound, OverCapacity
from llmos.infra.database import Database
from llmos.library.base import ModelCard, Progress, Resolved
from llmos.settings import Settings
from llmos.text.base import ChatTemplate, Tokenizer
from llmos.types import Family

__all__ = ["NEVER", "LoadedInfo", "ModelSource", "Pool", "PoolLease"]

MAX_TEXTS = 8  # tokenizers and templates kept for the next session of the same model

_FIRST_USE = {
    Family.CAUSAL: Feature.GENERATE,
    Family.SEQ2SEQ: Feature.GENERATE,
    Family.REMOTE: Feature.GENERATE,
    Family.MASKED: Feature.FILL_MASK,
    Family.ENCODER: Feature.EMBED,
    Family.CLASSIFIER: Feature.CLASSIFY,
    Family.TAGGER: Feature.TAG,
}


class ModelSource(Protocol):
    """What the pool needs of the library (llmos.library.library.Library)."""

    @property
    def database(self) -> Database | None: ...

    def ensure(self, name: str, *, progress: Callable[[Progress], None] | None = None) -> Resolved: ...

    def resolve(self, name: str) -> Resolved: ...

    def list(self) -> Iterable[ModelCard]: ...

    def check(self, card: ModelCard) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """The EngineSource of one session."""

    pool: Pool
    name: str
    resolved: Resolved
    engine: str | None
    keep_alive_s: float

    def lease(self, features: frozenset[Feature], work: Work, *, reads: int = 0, writes: int = 0) -> PoolLease:
        return self.pool._lease(self, features, work, reads, writes)


class Pool:
    """inline: engines run in this process (SDK, CLI); otherwise each in a supervised process of its own (server). The engines
    of a model are measured when it is first loaded on this machine (LLMOS_PROBE), but not for one_shot, a process that gives one
    answer: it uses a table that is there, else the rule, and loading time counts. notify: gets one
    sentence when something takes long or differs from what was asked."""

    def __init__(
        self,
        settings: Settings,
        library: ModelSource,
        *,
        inline: bool,
        notify: Callable[[str], None] = lambda _: None,
        one_shot: bool = False,
    ) -> None:
        self.settings = settings
        self.library = library
        self.inline = inline
        self.notify = notify
        tables = ChoiceTables(library.database) if library.database is not None else None
        self.loader = Loader(settings, inline=inline, notify=notify, tables=tables, probe=settings.probe and not one_shot)
        self._one_answer: Work = "once" if one_shot else "decode"
        self._slots: list[Slot] = []
        self._waiting: Counter[str] = Counter()  # requests of a model version that have no engine yet
        self._unloadable: set[tuple[str, str]] = set()  # (version, engine) that failed to load: not tried again for speed alone
        self._texts: dict[str, tuple[Tokenizer | None, ChatTemplate | None]] = {}
        self._changed = threading.Condition()  # guards _slots, _waiting, _texts, _closed
        self._load_lock = threading.Lock()
        self._reaper: threading.Thread | None = None
        self._closed = False

    # -- what callers use ----------------------------------------------------------------------------------------------
    def session(
        self,
        name: str,
        *,
        engine: str | None = None,
        progress: Callable[[Progress], None] | None = None,
        keep_alive_s: float | None = None,
        load: bool = True,
        pull: bool = True,
    ) -> Session:
        """A model ready to use; pulled when it is missing and `pull`. engine: "openvino" or "openvino/f32-group32" to overrule the choice.
        keep_alive_s: how long an idle engine stays loaded, -1 for as long as there is room; default: LLMOS_KEEP_ALIVE in
        a server, -1 inline. load=False: no engine is loaded until the first request (enough for tokenising).

        Raises NotFound, Unreachable and the like from the library; OverCapacity when it cannot fit; UnsupportedFeature when no
        installed engine runs it; EngineError when every one that should fails to load.
        """
        requested = self.library.ensure(name, progress=progress) if pull else self.library.resolve(name)
        adapter, base = None, requested
        if requested.card.format == "peft":
            base = self._base_of(requested.card)
            adapter = Adapter(name=requested.card.name, folder=requested.folder)
        if keep_alive_s is None:
            keep_alive_s = NEVER if self.inline else self.settings.keep_alive_s
        model = _Model(pool=self, name=name, resolved=base, engine=engine, keep_alive_s=keep_alive_s)
        context_length = self.loader.options(base.card).context_length
        text = self._text_beside(base)
        if load:
            first_use = _FIRST_USE.get(base.card.family)
            with model.lease(frozenset({first_use} if first_use else ()), "mixed") as first:
                context_length = min(first.context_length or context_length, context_length)
        tokenizer, template = text()
        return Session(
            card=requested.card,
            base=base.card,
            engines=model,
            tokenizer=tokenizer,
            template=template,
            requested=name,
            notice=requested.notice,
            context_length=context_length,
            adapter=adapter,
        )

    def loaded(self) -> list[LoadedInfo]:
        """What is in memory now, the longest idle last."""
        with self._changed:
            return sorted((info(slot) for slot in self._slots), key=lambda info: info.idle_s)

    @property
    def budget_bytes(self) -> int:
        return self.loader.budget_bytes

    def explain(self, name: str, *, measure: bool = False) -> Explanation:
        """Which engines run a model, how fast each is here, which is chosen for what and why. measure: makes the table first,
        when there is none (about a minute, no model stays loaded)."""
        resolved = self.library.resolve(name)
        if resolved.card.format == "peft":
            resolved = self._base_of(resolved.card)
        return self.loader.explain(resolved, measure=measure)

    def pin(self, name: str, *, pinned: bool = True) -> None:
        """A pinned model is not evicted for another and outlives its keep-alive. Raises NotFound when it is not loaded."""
        with self._changed:
            for slot in self._of(name):
                slot.pinned = pinned

    def unload(self, name: str) -> None:
        """Frees the model's engines at once; what they run ends with "cancelled". Raises NotFound when it is not loaded."""
        with self._changed:
            going = self._of(name)
            self._remove(going)
        _close(going)

    def close(self) -> None:
        """Unloads everything, waits for the engines' end. Idempotent; sessions raise EngineError afterwards."""
        with self._changed:
            self._closed = True
            going = list(self._slots)
            self._remove(going)
            self._changed.notify_all()
        _close(going)
        if self._reaper is not None and self._reaper is not threading.current_thread():
            self._reaper.join(timeout=10)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- leases --------------------------------------------------------------------------------------------------------
    def _lease(self, model: _Model, features: frozenset[Feature], work: Work, reads: int, writes: int) -> PoolLease:
        """An engine for one request; `pick` in choice.py says which. Only a request whose work its caller stated loads a second
        engine of a model for its speed; any other one takes what is loaded."""
        version, demanding = model.resolved.card.version, work != "mixed"
        with self._changed:
            others = self._waiting[version] + sum(slot.users for slot in self._slots if slot.card.version == version)
            self._waiting[version] += 1
        try:
            if not demanding:
                work = kind_of(reads=reads, writes=writes, others=others)
            if work == "decode" or (work == "mixed" and self.inline):  # one person waits for one answer
                work = self._one_answer
            ranking = self.loader.ranking(model.resolved, features, work, wanted=model.engine)
            slot = self._hold(ranking, model, demanding=demanding)
            if slot is None:
                with self._load_lock:
                    slot = self._hold(ranking, model, demanding=demanding) or self._load_or_make_do(model, ranking)
        finally:
            with self._changed:
                self._waiting[version] -= 1
        return PoolLease(self._give_back, slot)

    def _load_or_make_do(self, model: _Model, ranking: list[EngineChoice]) -> Slot:
        """Loads the best. Where a slower engine is loaded that can do the work too, the better one is wanted for its speed alone:
        it comes only when it fits beside all that is loaded, and when it does not load the slower one does the work."""
        spare = self._hold(ranking, model, demanding=False)
        if spare is None:
            return self._load(model, ranking)
        card, best = model.resolved.card, ranking[0]
        with self._changed:
            residents = [resident(slot) for slot in self._slots]
        needed_bytes = estimate_bytes(card, self.loader.options(card))
        known_bad = (card.version, best.name) in self._unloadable
        if known_bad or not fits(residents, needed_bytes=needed_bytes, budget_bytes=self.budget_bytes):
            return spare
        try:
            slot = self._load(model, [best])
        except (EngineError, OverCapacity):
            return spare
        self._give_back(spare)
        return slot

    def _hold(self, ranking: list[EngineChoice], model: _Model, *, demanding: bool) -> Slot | None:
        """The loaded engine that `pick` names, held once more; None when one must be loaded."""
        with self._changed:
            if self._closed:
                raise EngineError("The pool is closed.", hint="Make a new one.")
            self._remove([slot for slot in self._slots if getattr(slot.engine, "failed", None) is not None])
            mine = {slot.choice.name: slot for slot in self._slots if slot.card.version == model.resolved.card.version}
            loaded = [Loaded(name=name, users=slot.users) for name, slot in mine.items()]
            name = pick(loaded, ranking, demanding=demanding)
            if name is None:
                return None
            mine[name].users += 1
            mine[name].keep_alive_s = model.keep_alive_s
            return mine[name]

    def _load(self, model: _Model, ranking: list[EngineChoice]) -> Slot:
        """Loads the best of the ranking that loads; an engine that fails to is named, and the next one tried."""
        card, problems = model.resolved.card, []
        self.library.check(card)
        for choice in ranking:
            options = replace(self.loader.options(card), properties=choice.variant.properties)
            self._make_room(card, estimate_bytes(card, options))
            others = [slot.choice.name for slot in self._slots if slot.card.version == card.version]
            self.notify(f"Loading {card.name} with {choice.name}" + (f", beside {', '.join(others)}." if others else "."))
            try:
                engine = self.loader.load(card, model.resolved.folder, choice, options)
            except EngineError as problem:
                problems.append(problem)
                self._unloadable.add((card.version, choice.name))
                self.notify(f"{choice.name} could not load {card.name}: {problem.message}")
                continue
            slot = Slot(card=card, choice=choice, engine=engine, users=1, keep_alive_s=model.keep_alive_s)
            return self._admit(slot)
        raise problems[0]

    def _admit(self, slot: Slot) -> Slot:
        with self._changed:
            if not self._closed:
                self._slots.append(slot)
                self._watch()
                return slot
        slot.engine.close()
        raise EngineError("The pool was closed while the model was loading.")

    def _make_room(self, card: ModelCard, needed_bytes: int) -> None:
        with self._changed:
            residents = [resident(slot) for slot in self._slots]
            keys = plan_eviction(residents, needed_bytes=needed_bytes, budget_bytes=self.budget_bytes, what=card.ref)
            going = [slot for slot in self._slots if id(slot) in keys]
            self._remove(going)
        for slot in going:
            self.notify(f"Unloading {slot.card.name} ({slot.choice.name}) to make room for {card.name}.")
        _close(going)

    def _give_back(self, slot: Slot) -> bool:
        with self._changed:
            slot.users -= 1
            slot.used_at = time.monotonic()
            self._changed.notify_all()
        return True

    # -- keep-alive ----------------------------------------------------------------------------------------------------
    def _watch(self) -> None:
        """Starts the reaper with the first slot."""
        if self._reaper is None:
            self._reaper = threading.Thread(target=self._reap, name="llmos-pool", daemon=True)
            self._reaper.start()
        self._changed.notify_all()

    def _reap(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                due = [slot for slot in self._slots if expires_in_s(slot) is not None and not slot.users]
                going = [slot for slot in due if (expires_in_s(slot) or 0.0) <= 0]
                self._remove(going)
                if not going:
                    self._changed.wait(min((expires_in_s(slot) or 0.0 for slot in due), default=None))
                    continue
            _close(going)

    # -- parts ---------------------------------------------------------------------------------------------------------
    def _base_of(self, adapter: ModelCard) -> Resolved:
        """The base model of a PEFT card, by its version. Raises NotFound naming both."""
        for card in self.library.list():
            if card.version == adapter.base:
                return self.library.ensure(f"{card.name}:{card.version}")
        raise NotFound(
            f"{adapter.ref} is an adapter; its base model ({adapter.base or 'not stated'}) is not in the library.",
            param="model",
            hint="Pull the base model, then import the adapter again.",
        )

    def _text_beside(self, resolved: Resolved) -> Callable[[], tuple[Tokenizer | None, ChatTemplate | None]]:
        """Begins to read tokenizer and template while the engine loads; the result waits for them."""
        if resolved.card.version in self._texts:
            return lambda: self._text(resolved)
        thread = ThreadPoolExecutor(1, "llmos-text")
        reading = thread.submit(self._text, resolved)
        thread.shutdown(wait=False)
        return reading.result

    def _text(self, resolved: Resolved) -> tuple[Tokenizer | None, ChatTemplate | None]:
        version = resolved.card.version
        known = self._texts.get(version)
        if known is None:
            loaded = load_text(resolved.card, resolved.folder)
            with self._changed:
                self._texts[version] = loaded
                for old in [*self._texts][:-MAX_TEXTS]:
                    del self._texts[old]
            return loaded
        return known

    def _of(self, name: str) -> list[Slot]:
        version = self.library.resolve(name).card.version
        found = [slot for slot in self._slots if slot.card.version == version]
        if not found:
            raise NotFound(f"{name} is not loaded.", param="model", hint="llmos ps shows what is.")
        return found

    def _remove(self, going: list[Slot]) -> None:
        if going:
            self._slots = [slot for slot in self._slots if slot not in going]
            self._changed.notify_all()


def load_text(card: ModelCard, folder: Path) -> tuple[Tokenizer | None, ChatTemplate | None]:
    """Tokenizer and chat template of a local model; (None, None) for a remote one."""
    if card.format == "remote":
        return None, None
    from llmos.text.load import load_chat_template, load_tokenizer

    return load_tokenizer(folder), load_chat_template(folder)


def _close(slots: list[Slot]) -> None:
    for slot in slots:
        slot.engine.close()
