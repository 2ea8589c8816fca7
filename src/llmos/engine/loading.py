"""From a card to a loaded engine: which backends run it, in which order, with which options, in which process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmos.engine.base import Engine, Feature, LoadOptions, backends
from llmos.engine.choice import WORKS, Candidate, EngineChoice, Work, rank
from llmos.engine.choices import ChoiceTables, Table, key
from llmos.engine.memory import RESERVE
from llmos.engine.supervisor import ProcessEngine
from llmos.engine.trials import PATIENT_S, PROBE_S, measure_all
from llmos.errors import EngineDied, NotFound, UnsupportedFeature
from llmos.infra.database import Database
from llmos.library.base import ModelCard, Progress, Resolved
from llmos.plugins import load_plugins
from llmos.settings import Settings
from llmos.types import Family

DEFAULT_CONTEXT_LENGTH = 8192  # tokens a sequence, where the model has more: its memory is only spent when asked for
MAX_BATCH = 32  # sequences at once
FULL_CONTEXTS = 2  # the KV cache holds this many sequences of full length, or many more shorter ones
KV_SHARE = 0.25  # of the memory budget, at most (but one full context always)


class ModelSource(Protocol):
    """What the pool needs of the library (llmos.library.library.Library)."""

    @property
    def database(self) -> Database | None: ...

    def ensure(self, name: str, *, progress: Callable[[Progress], None] | None = None) -> Resolved: ...

    def resolve(self, name: str) -> Resolved: ...

    def list(self) -> Iterable[ModelCard]: ...

    def check(self, card: ModelCard) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a model is served as it is (`llmos show MODEL --engines`). choices: the best for each kind of work, with the reason.
    features: of each engine that runs it. others: the engines that do not, and why or what to install."""

    card: ModelCard
    table: Table | None
    choices: dict[Work, EngineChoice]
    features: dict[str, tuple[Feature, ...]]
    others: dict[str, str]


class Loader:
    """Knows the machine and the backends; holds no loaded engine. Thread-safe. probe: measure a model that has no table yet
    when it is first wanted; `table` does it on demand."""

    def __init__(
        self,
        settings: Settings,
        *,
        inline: bool,
        notify: Callable[[str], None],
        tables: ChoiceTables | None = None,
        probe: bool = False,
    ) -> None:
        load_plugins()
        self.settings = settings
        self.inline = inline
        self.notify = notify
        self.probe = probe
        self.num_threads = settings.num_threads or usable_cores()
        self.budget_bytes = settings.memory_budget_bytes or int(available_bytes() * RESERVE)
        self._tables = tables
        self._candidates: dict[str, list[Candidate]] = {}
        self._known: dict[str, Table | None] = {}
        self._measuring = threading.Lock()  # one probe at a time; who has a table does not wait for it
        self._machine = machine()

    def candidates(self, card: ModelCard) -> list[Candidate]:
        """The installed backends that run the card. Looked up once a version: it is asked for every request."""
        if card.version not in self._candidates:
            self._candidates[card.version] = list(_candidates(card))
        return self._candidates[card.version]

    def table(self, resolved: Resolved, *, measure: bool, limit_s: float = PROBE_S) -> Table | None:
        """The measured table of this card on this machine. Without one: measures when `measure`, else None. More time than
        PROBE_S also makes one anew in which something was skipped."""
        card, candidates = resolved.card, self.candidates(resolved.card)
        if self._tables is None or sum(len(one.support.variants) for one in candidates) < 2:
            return None  # nothing to choose from
        name = key(card, candidates, machine=self._machine, num_threads=self.num_threads)
        if name not in self._known:
            self._known[name] = self._tables.get(name)
        if measure and _incomplete(self._known[name], limit_s):
            with self._measuring:
                if _incomplete(self._known[name], limit_s):
                    table = self._measure(resolved, candidates, limit_s)
                    self._tables.put(name, table)
                    self._known[name] = table
        return self._known[name]

    def _measure(self, resolved: Resolved, candidates: Sequence[Candidate], limit_s: float) -> Table:
        return measure_all(
            resolved,
            candidates,
            self.options(resolved.card),
            budget_bytes=self.budget_bytes,
            limit_s=limit_s,
            notify=self.notify,
        )

    def explain(self, resolved: Resolved, *, measure: bool = False) -> Explanation:
        """The table and what follows from it, for people. measure: makes the table when there is none."""
        card, candidates = resolved.card, self.candidates(resolved.card)
        table = self.table(resolved, measure=measure, limit_s=PATIENT_S)
        rows = table.measurements if table else ()
        choices = {work: ways[0] for work in WORKS if (ways := rank(candidates, rows, work))}
        others = {}
        for name, backend in backends:
            available, support = backend.availability(), backend.supports(card)
            if not support.ok:
                others[name] = support.why
            elif not available.ok:
                others[name] = f"{available.why} {available.install}".strip()
        features = {one.backend: tuple(sorted(one.support.features)) for one in candidates}
        return Explanation(card=card, table=table, choices=choices, features=features, others=others)

    def ranking(
        self, resolved: Resolved, features: frozenset[Feature], work: Work, *, wanted: str | None = None
    ) -> list[EngineChoice]:
        """The ways to serve `features`, best first, at least one. Raises UnsupportedFeature saying what would help."""
        card, candidates = resolved.card, self.candidates(resolved.card)
        table = None if wanted else self.table(resolved, measure=self.probe)
        ways = rank(candidates, table.measurements if table else (), work, wanted=wanted)
        if wanted and not ways:
            raise NotFound(
                f"No installed engine {wanted!r} runs {card.ref}.",
                param="engine",
                hint=f"These do: {_names(rank(candidates, (), work)) or 'none'}.",
            )
        able = [way for way in ways if features <= way.features]
        if not able:
            raise self._unsupported(card, features, ways)
        return able

    def options(self, card: ModelCard) -> LoadOptions:
        """How every engine of this card is loaded: context and KV cache within the budget."""
        longest = card.context_length or (0 if card.family is Family.REMOTE else DEFAULT_CONTEXT_LENGTH)
        if card.family is Family.CAUSAL:
            longest = min(longest, self.settings.context_length or DEFAULT_CONTEXT_LENGTH)
        one = card.kv_bytes_per_token * longest
        return LoadOptions(
            num_threads=self.num_threads,
            context_length=longest,
            max_batch=MAX_BATCH,
            kv_bytes=max(one, min(one * FULL_CONTEXTS, int(self.budget_bytes * KV_SHARE))) or None,
            cache_folder=self.settings.home / "cache" / "engines",
            run_folder=self.settings.run_folder,
        )

    def load(self, card: ModelCard, folder: Path, choice: EngineChoice, options: LoadOptions) -> Engine:
        """Loads in this process, or in one of its own; one that ends over it may have been killed for another's sake and is tried
        once more. Raises EngineError or ModelFileError."""
        backend = backends.get(choice.backend)
        if self.inline or card.family is Family.REMOTE:
            return backend.load(card, folder, choice.variant, options)
        try:
            return ProcessEngine(backend, card, folder, choice.variant, options)
        except EngineDied as death:
            self.notify(f"{choice.name} ended while it loaded {card.name}: {death.message} It is tried once more.")
            return ProcessEngine(backend, card, folder, choice.variant, options)

    def _unsupported(self, card: ModelCard, features: frozenset[Feature], ways: Sequence[EngineChoice]) -> UnsupportedFeature:
        """The error that says who cannot, and what to install so that it can be."""
        lacking = features - frozenset().union(*(way.features for way in ways))
        names = ", ".join(sorted(feature.value for feature in (lacking or features)))
        helping = []
        for name, backend in backends:
            available, support = backend.availability(), backend.supports(card)
            if support.ok and features <= support.features and not available.ok:
                helping.append(f"the engine {name} can: {available.install}")
        tried = _names(ways)
        who = f"none of the installed engines for it ({tried}) can" if tried else "no installed engine runs it"
        reasons = "; ".join(f"{name}: {backend.supports(card).why}" for name, backend in backends if not backend.supports(card).ok)
        fallback = f"Why not: {reasons}." if reasons and not tried else "Use another model, or leave this option out."
        return UnsupportedFeature(
            f"{card.ref} ({card.family.value}, {card.format}) cannot be served with {names}: {who}.",
            param="model" if not tried else None,
            hint=("Install one: " + "; ".join(helping) + ".") if helping else fallback,
        )


def base_of(library: ModelSource, adapter: ModelCard) -> Resolved:
    """The base model of a PEFT card, by its version. Raises NotFound naming both."""
    for card in library.list():
        if card.version == adapter.base:
            return library.ensure(f"{card.name}:{card.version}")
    raise NotFound(
        f"{adapter.ref} is an adapter; its base model ({adapter.base or 'not stated'}) is not in the library.",
        param="model",
        hint="Pull the base model, then import the adapter again.",
    )


def _incomplete(table: Table | None, limit_s: float) -> bool:
    return table is None or (limit_s > PROBE_S and bool(table.skipped))


def _candidates(card: ModelCard) -> Iterator[Candidate]:
    for name, backend in backends:
        support = backend.supports(card)
        available = backend.availability() if support.ok else None
        if available is not None and available.ok:
            yield Candidate(backend=name, support=support, version=available.version)


def _names(ways: Sequence[EngineChoice]) -> str:
    return ", ".join(dict.fromkeys(way.backend for way in ways))


def usable_cores() -> int:
    """Cores this process may use: affinity and cgroup quota count."""
    from llmos.infra.hardware import detect

    return detect(gpu_query="").cores.value


def machine() -> str:
    """A stable id of this kind of machine."""
    from llmos.infra.hardware import fingerprint

    return fingerprint()


def available_bytes() -> int:
    """Memory that can be had without swapping, within the cgroup's limit."""
    from llmos.infra.hardware import detect

    return detect(gpu_query="").memory_available_bytes.value
