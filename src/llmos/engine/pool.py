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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from llmos.engine.base import Adapter, Feature
from llmos.engine.choice import EngineChoice, Loaded, Work, kind_of, pick
from llmos.engine.choices import ChoiceTables
from llmos.engine.loading import Explanation, Loader, ModelSource, base_of
from llmos.engine.memory import estimate_bytes, plan_eviction
from llmos.engine.needs import FIRST_USE
from llmos.engine.session import Session
from llmos.engine.slots import NEVER, LoadedInfo, PoolLease, Slot, expires_in_s, idle_for, info, resident, restarts
from llmos.engine.texts import Texts
from llmos.errors import EngineError, NotFound, OverCapacity
from llmos.kernel.budget import MemoryBudget
from llmos.library.base import ModelCard, Progress, Resolved
from llmos.settings import Settings

__all__ = ["NEVER", "LoadedInfo", "ModelSource", "Pool", "PoolLease"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """The EngineSource of one session."""

    pool: Pool
    name: str
    resolved: Resolved
    engine: str | None
    keep_alive_s: float
    shared_by: str | None

    def lease(self, features: frozenset[Feature], work: Work, *, reads: int = 0, writes: int = 0) -> PoolLease:
        return self.pool._lease(self, features, work, reads, writes)


class Pool:
    """inline: engines run in this process (SDK, CLI); otherwise each in a supervised process of its own (server). The engines
    of a model are measured when it is first loaded on this machine (LLMOS_PROBE), but not for one_shot, a process that gives one
    answer: it uses a table that is there, else the rule, and loading time counts. notify: gets one sentence when something takes
    long or differs from what was asked."""

    def __init__(
        self,
        settings: Settings,
        library: ModelSource,
        *,
        inline: bool,
        notify: Callable[[str], None] = lambda _: None,
        one_shot: bool = False,
        budget: MemoryBudget | None = None,
    ) -> None:
        self.settings = settings
        self.library = library
        self.inline = inline
        self.notify = notify
        tables = ChoiceTables(library.database) if library.database is not None else None
        measure = settings.probe and not one_shot
        self.loader = Loader(settings, inline=inline, notify=notify, tables=tables, probe=measure)
        self.budget = budget or MemoryBudget(self.loader.budget_bytes)
        self._one_answer: Work = "once" if one_shot else "decode"
        self._slots: list[Slot] = []
        self._waiting: Counter[str] = Counter()  # requests of a model version that have no engine yet
        self._unloadable: set[tuple[str, str]] = set()  # (version, engine) that failed to load: not tried again for speed alone
        self._restarts: Counter[str] = Counter()  # of engines that are gone, by model
        self._texts = Texts()
        self._changed = threading.Condition()  # guards _slots, _waiting, _closed
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
        shared_by: str | None = None,
    ) -> Session:
        """A model ready to use; pulled when it is missing and `pull`. engine: "openvino" or "openvino/f32-group32" to overrule the choice.
        keep_alive_s: how long an idle engine stays loaded, -1 for as long as there is room; default: LLMOS_KEEP_ALIVE in
        a server, -1 inline. load=False: no engine is loaded until the first request (enough for tokenising). shared_by: whose batch
        it is for (a project): its texts are written by an engine that computes what the prompts of such sessions have in common
        once, even where that may turn the last bits of a greedy answer, if one fits beside all that is loaded.

        Raises NotFound, Unreachable and the like from the library; OverCapacity when it cannot fit; UnsupportedFeature when no
        installed engine runs it; EngineError when every one that should fails to load.
        """
        requested = self.library.ensure(name, progress=progress) if pull else self.library.resolve(name)
        adapter, base = None, requested
        if requested.card.format == "peft":
            base = base_of(self.library, requested.card)
            adapter = Adapter(name=requested.card.name, folder=requested.folder)
        if keep_alive_s is None:
            keep_alive_s = NEVER if self.inline else self.settings.keep_alive_s
        model = _Model(pool=self, name=name, resolved=base, engine=engine, keep_alive_s=keep_alive_s, shared_by=shared_by)
        context_length = self.loader.options(base.card).context_length
        text = self._texts.beside(base)
        if load:
            first_use = FIRST_USE.get(base.card.family)
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

    def restarts(self) -> Counter[str]:
        """How often engine processes died and came back, by model, since the pool was made."""
        with self._changed:
            return self._restarts + restarts(self._slots)

    @property
    def budget_bytes(self) -> int:
        return self.budget.total_bytes

    def explain(self, name: str, *, measure: bool = False) -> Explanation:
        """Which engines run a model, how fast each is here, which is chosen for what and why. measure: makes the table first,
        when there is none (about a minute, no model stays loaded)."""
        resolved = self.library.resolve(name)
        if resolved.card.format == "peft":
            resolved = base_of(self.library, resolved.card)
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
        self._end(going)

    def close(self) -> None:
        """Unloads everything, waits for the engines' end. Idempotent; sessions raise EngineError afterwards."""
        with self._changed:
            self._closed = True
            going = list(self._slots)
            self._remove(going)
            self._changed.notify_all()
        self._end(going)
        if self._reaper is not None and self._reaper is not threading.current_thread():
            self._reaper.join(timeout=10)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def make_room(self, size_bytes: int) -> None:
        """Unloads idle engines so that a job of that size fits; none when that would not be enough."""
        with self._changed:
            lacking_bytes = size_bytes - self.budget.free_bytes
            going = idle_for(lacking_bytes, self._slots)
            if sum(slot.engine.memory_bytes for slot in going) < lacking_bytes:
                return
            self._remove(going)
        self._end(going)

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
            slot = self._sharing(ranking[0], model) if Feature.GENERATE in features else None
            slot = slot or self._hold(ranking, model, demanding=demanding)
            if slot is None:
                with self._load_lock:
                    slot = self._hold(ranking, model, demanding=demanding) or self._load_or_make_do(model, ranking)
        finally:
            with self._changed:
                self._waiting[version] -= 1
        return PoolLease(self._give_back, slot)

    def _sharing(self, best: EngineChoice, model: _Model) -> Slot | None:
        """The engine for those whose batch it is. None: anybody's will do, or it does not fit beside what is loaded."""
        card, whose = model.resolved.card, model.shared_by
        if whose is None or not best.prefixes_on_request:
            return None
        if slot := self._hold([best], model, demanding=False, shared_by=whose):
            return slot
        if not self._fits_beside(card, best):  # asked for every item of a batch: it does not wait for the loads of others
            return None
        with self._load_lock:
            if slot := self._hold([best], model, demanding=False, shared_by=whose):
                return slot
            try:
                return self._load(model, [best], shared_by=whose) if self._fits_beside(card, best) else None
            except (EngineError, OverCapacity):
                return None

    def _fits_beside(self, card: ModelCard, choice: EngineChoice) -> bool:
        """Whether an engine that nobody must have may be loaded: nothing goes for it, and it did not fail to load."""
        known_bad = (card.version, choice.name) in self._unloadable
        return not known_bad and estimate_bytes(card, self.loader.options(card)) <= self.budget.free_bytes

    def _load_or_make_do(self, model: _Model, ranking: list[EngineChoice]) -> Slot:
        """Loads the best. Where a slower engine is loaded that can do the work too, the better one is wanted for its speed alone:
        it comes only when it fits beside all that is loaded, and when it does not load the slower one does the work."""
        spare = self._hold(ranking, model, demanding=False)
        if spare is None:
            return self._load(model, ranking)
        card, best = model.resolved.card, ranking[0]
        if not self._fits_beside(card, best):
            return spare
        try:
            slot = self._load(model, [best])
        except (EngineError, OverCapacity):
            return spare
        self._give_back(spare)
        return slot

    def _hold(self, ranking: list[EngineChoice], model: _Model, *, demanding: bool, shared_by: str | None = None) -> Slot | None:
        """The loaded engine that `pick` names, held once more; None when one must be loaded."""
        with self._changed:
            if self._closed:
                raise EngineError("The pool is closed.", hint="Make a new one.")
            dead = [slot for slot in self._slots if getattr(slot.engine, "failed", None) is not None]
            self._remove(dead)
            for slot in dead:
                self.budget.free(slot.owner)
            mine = {
                slot.choice.name: slot
                for slot in self._slots
                if slot.card.version == model.resolved.card.version and slot.shared_by == shared_by
            }
            loaded = [Loaded(name=name, users=slot.users) for name, slot in mine.items()]
            name = pick(loaded, ranking, demanding=demanding)
            if name is None:
                return None
            mine[name].users += 1
            mine[name].keep_alive_s = model.keep_alive_s
            return mine[name]

    def _load(self, model: _Model, ranking: list[EngineChoice], *, shared_by: str | None = None) -> Slot:
        """Loads the best of the ranking that loads; an engine that fails to is named, and the next one tried."""
        card, problems = model.resolved.card, []
        self.library.check(card)
        for choice in ranking:
            options = replace(self.loader.options(card), properties=choice.variant.properties, share_prefixes=shared_by is not None)
            owner = self._make_room(card, choice, estimate_bytes(card, options))
            others = [slot.choice.name for slot in self._slots if slot.card.version == card.version]
            beside = f", beside {', '.join(others)}" if others else ""
            self.notify(f"Loading {card.name} with {choice.name}{' for batches' if shared_by is not None else ''}{beside}.")
            try:
                engine = self.loader.load(card, model.resolved.folder, choice, options)
            except EngineError as problem:
                self.budget.free(owner)
                problems.append(problem)
                self._unloadable.add((card.version, choice.name))
                self.notify(f"{choice.name} could not load {card.name}: {problem.message}")
                continue
            except BaseException:
                self.budget.free(owner)
                raise
            slot = Slot(card=card, choice=choice, engine=engine, owner=owner, shared_by=shared_by, users=1)
            slot.keep_alive_s = model.keep_alive_s
            return self._admit(slot)
        raise problems[0]

    def _admit(self, slot: Slot) -> Slot:
        with self._changed:
            closed = self._closed
            if not closed:
                self._slots.append(slot)
                self._watch()
        if closed:
            self._end([slot])
            raise EngineError("The pool was closed while the model was loading.")
        over_bytes = self.budget.adjust(slot.owner, slot.engine.memory_bytes)
        if over_bytes:  # it takes more than was thought: what is idle makes room
            with self._changed:
                going = idle_for(over_bytes, self._slots)
                self._remove(going)
            self._unload_for(slot.card, going)
        return slot

    def _make_room(self, card: ModelCard, choice: EngineChoice, needed_bytes: int) -> object:
        """Unloads what must go and enters the model into the book of the memory; the owner of that entry. Raises OverCapacity."""
        with self._changed:
            residents = [resident(slot) for slot in self._slots]
            held_bytes = self.budget.used_bytes - sum(one.size_bytes for one in residents)
            keys = plan_eviction(
                residents, needed_bytes=needed_bytes, budget_bytes=self.budget_bytes, held_bytes=max(0, held_bytes), what=card.ref
            )
            going = [slot for slot in self._slots if id(slot) in keys]
            self._remove(going)
        self._unload_for(card, going)
        owner = object()
        self.budget.reserve(owner, needed_bytes, f"{card.name} ({choice.name})")
        return owner

    def _unload_for(self, card: ModelCard, going: list[Slot]) -> None:
        for slot in going:
            self.notify(f"Unloading {slot.card.name} ({slot.choice.name}) to make room for {card.name}.")
        self._end(going)

    def _end(self, going: list[Slot]) -> None:
        """Closes engines that were removed, all at once, and frees their memory in the book."""
        if len(going) > 1:
            with ThreadPoolExecutor(len(going), "llmos-close") as threads:
                list(threads.map(lambda slot: slot.engine.close(), going))
        else:
            for slot in going:
                slot.engine.close()
        for slot in going:
            self.budget.free(slot.owner)

    def _give_back(self, slot: Slot) -> bool:
        idle_bytes = slot.engine.measure() if slot.users == 1 else None  # its caches have grown while it worked
        with self._changed:
            slot.users -= 1
            slot.used_at = time.monotonic()
            self._changed.notify_all()
        if idle_bytes is not None:
            self.budget.adjust(slot.owner, idle_bytes)
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
            self._end(going)

    # -- parts ---------------------------------------------------------------------------------------------------------
    def _of(self, name: str) -> list[Slot]:
        version = self.library.resolve(name).card.version
        found = [slot for slot in self._slots if slot.card.version == version]
        if not found:
            raise NotFound(f"{name} is not loaded.", param="model", hint="llmos ps shows what is.")
        return found

    def _remove(self, going: list[Slot]) -> None:
        if going:
            self._restarts += restarts(going)
            self._slots = [slot for slot in self._slots if slot not in going]
            self._changed.notify_all()
