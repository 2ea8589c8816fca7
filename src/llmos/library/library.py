"""The model library: names in, models out. Everything above it asks here; nothing above it knows where files lie.

resolve   what a name means now, from this machine alone
ensure    the same, bringing the model first when it is not here
pull, import_path, import_ollama, remove, verify, gc     change or check what is here
alias, unalias, aliases, alias_history, rollback_alias   move names
seen_by   the same library as one project sees it
"""

from __future__ import annotations

import copy
import getpass
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from llmos.access.service import record_local
from llmos.errors import Conflict, CorruptFile, InvalidValue, LLMOSError, NotFound, SourceError, Unreachable, did_you_mean
from llmos.infra.database import Database, open_database
from llmos.infra.fetch import Fetcher
from llmos.library.aliases import Aliases, AliasMove
from llmos.library.base import ModelCard, Resolved
from llmos.library.catalogue import Catalogue, CatalogueEntry, catalogue
from llmos.library.download import Report
from llmos.library.janitor import FileVerdict, GcReport, collect_garbage, drop_model, verify_model
from llmos.library.names import Reference, checked_name, parse
from llmos.library.pull import Order, Puller
from llmos.library.resolve import Resolver
from llmos.library.rows import ModelRows
from llmos.library.store import ModelStore
from llmos.plugins import load_plugins
from llmos.settings import Settings

MAX_VIEWS = 256

# `list` is a method below; inside the class its name means that.
Cards = list[ModelCard]
Verdicts = list[FileVerdict]
Moves = list[AliasMove]


class Library:
    """All models of one LLMOS_HOME. Thread-safe; several processes may use the same home at once.

    A name in a request from the network must not reach `pull` or `ensure` when `parse(name).is_local_disk`. on_change(action,
    target) is told of every change that was made.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database | None = None,
        fetcher: Fetcher | None = None,
        on_change: Callable[[str, str], None] = lambda action, target: None,
    ) -> None:
        load_plugins()
        self.settings = settings
        self._changed = on_change
        self._views: dict[str, Library] = {}
        self.database = database or open_database(settings)
        self.fetcher = fetcher or Fetcher(settings)
        self.catalogue: Catalogue = catalogue()
        self.store = ModelStore(settings.home)
        self._aliases = Aliases(self.database)
        self._look_with(ModelRows(self.database))

    @classmethod
    def open(cls, settings: Settings) -> Library:
        """For who works on this machine: what they change goes into the audit log under their name."""
        library = cls(settings)
        library._changed = lambda action, target: record_local(settings, library.database, action, target)
        return library

    def _look_with(self, rows: ModelRows) -> None:
        self._rows = rows
        self._resolver = Resolver(self.settings, rows=rows, aliases=self._aliases, store=self.store, catalogue=self.catalogue)
        self._puller = Puller(
            self.settings, fetcher=self.fetcher, store=self.store, rows=rows, base_of=lambda name: self.ensure(name).card
        )

    def seen_by(self, project: str) -> Library:
        """The same library as a project sees it: what is everybody's, and its own. What it pulls becomes its own."""
        view = self._views.get(project)
        if view is None:
            view = copy.copy(self)
            view._look_with(ModelRows(self.database, project))
            if len(self._views) >= MAX_VIEWS:
                self._views.clear()
            self._views[project] = view
        return view

    # -- names to models ---------------------------------------------------------------------------------------------
    def resolve(self, name: str) -> Resolved:
        """From this machine alone. Raises NotFound saying how to get it, CorruptFile when files of it are gone or damaged."""
        return self._resolver.resolve(name)

    def check(self, card: ModelCard) -> None:
        """For who is about to load a model that was resolved a while ago. Costs a stat a file, unless one changed on disk, which
        is then hashed. Raises CorruptFile naming the file and what mends it."""
        self._resolver.check(card)

    def ensure(self, name: str, *, progress: Report | None = None) -> Resolved:
        """Resolves, and pulls first what is not here or damaged. Raises what both raise; CorruptFile when what is damaged
        cannot be had again now."""
        try:
            return self.resolve(name)
        except (NotFound, CorruptFile) as problem:
            reference, notice = self._resolver.meaning(name)
            if reference.scheme == "remote":
                raise
            try:
                card = self._pull(reference, progress)
            except (SourceError, NotFound) as cause:
                if isinstance(problem, NotFound):
                    raise
                text = f"{problem.message} It could not be mended: {cause.message}"
                raise CorruptFile(text, param="model", hint=problem.hint) from None
        return Resolved(requested=name, card=card, folder=self.store.folder(card.version), notice=notice)

    def list(self) -> Cards:
        """Every model here, by name, newest version first."""
        return self._rows.all()

    def show(self, name: str) -> ModelCard:
        """Its card, also when files of it are damaged. Raises NotFound."""
        return self._resolver.card(name)[0]

    # -- bringing and removing ---------------------------------------------------------------------------------------
    def pull(
        self,
        name: str,
        *,
        progress: Report | None = None,
        accept_licence: bool = False,
        cancel: threading.Event | None = None,
    ) -> ModelCard:
        """Brings the newest state of what the name means; fetches only what is missing or damaged.

        Raises NotFound, Unreachable (with what can be had instead), LicenceNotAccepted, PermissionDenied, ModelFileError,
        StorageError, Cancelled.
        """
        reference, _ = self._resolver.meaning(name)
        return self._pull(reference, progress, accept_licence=accept_licence, cancel=cancel)

    def import_path(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        progress: Report | None = None,
        cancel: threading.Event | None = None,
    ) -> ModelCard:
        """Copies a model file or folder of this disk into the library. Without a name it gets that of the file."""
        place = Path(path).expanduser().absolute()
        return self._pull(parse(f"file:/{str(place).lstrip('/')}"), progress, name=name, cancel=cancel)

    def import_ollama(self, name: str, *, as_name: str | None = None) -> ModelCard:
        """Takes over a model that Ollama has here, without copying it. `name` is Ollama's: qwen3:0.6b."""
        return self._pull(parse(f"ollama:{name.removeprefix('ollama:')}"), None, name=as_name)

    def _pull(
        self,
        reference: Reference,
        report: Report | None,
        *,
        name: str | None = None,
        accept_licence: bool = False,
        cancel: threading.Event | None = None,
    ) -> ModelCard:
        order = self._order(reference, checked_name(name) if name else None)
        try:
            card = self._puller.run(order, report=report, accept_licence=accept_licence, cancel=cancel)
        except Unreachable as problem:
            raise self._with_alternatives(problem, order) from None
        self._changed("library.import" if reference.is_local_disk else "library.pull", card.ref)
        return card

    def _order(self, reference: Reference, name: str | None) -> Order:
        if reference.scheme == "remote":
            raise InvalidValue(f"{reference} is a remote model; there is nothing to fetch.", param="model")
        if reference.scheme:
            return Order.of(reference, self.catalogue, name)
        if self.catalogue.find(reference.place):
            if reference.revision:
                raise NotFound(
                    f"{reference} is not on this machine.", param="model", hint=f"Get the present one: llmos pull {reference.place}"
                )
            return Order.of(reference, self.catalogue, name)
        known = next(iter(self._rows.find(reference.place, reference.revision)), None)
        if known is not None:  # bring the newest state of what it came from, under its own name
            return Order(reference=_floating(parse(known.source)), name=known.name)
        if reference.place.count("/") == 1:
            return Order.of(Reference(scheme="hf", place=reference.place), self.catalogue, name)
        names = [*self.catalogue.names(), *self.aliases()]
        raise NotFound(f"There is no model {str(reference)!r}.", param="model", hint=did_you_mean(reference.place, names))

    def _with_alternatives(self, problem: Unreachable, order: Order) -> LLMOSError:
        tasks = set(order.entry.tasks) if order.entry else set()
        local = [card.name for card in self.list() if not tasks or tasks & set(card.tasks)]
        packaged = [entry.name for entry in self.catalogue if not entry.needs_hub and not entry.accept and tasks & set(entry.tasks)]
        hints = [
            f"On this machine for the same tasks: {', '.join(dict.fromkeys(local))}." if local else "",
            f"To be had without a hub: {_listed(set(packaged) - set(local))}." if set(packaged) - set(local) else "",
            "With a mirror of the hub: set HF_ENDPOINT." if order.reference.scheme == "hf" else "",
            f"With the files on another medium: llmos import FOLDER --name {order.name}.",
        ]
        return Unreachable(problem.message, param="model", hint=" ".join(hint for hint in hints if hint))

    def remove(self, name: str) -> int:
        """Removes one version (the newest, unless the name says another) and the files no other model needs. Returns the bytes
        freed. Raises Conflict while an alias or an adapter needs it."""
        card = self.show(name)
        if not card.files:
            raise InvalidValue(f"{name} is a remote model; there is nothing to remove.", param="model")
        if self._rows.project is not None and (owners := self._rows.owners(card)) != {self._rows.project}:
            return self._leave_to(card, owners)
        last = len(self._rows.find(card.name)) == 1
        users = [alias for alias, target in self._aliases.all().items() if self._points_to(target, card, last=last)]
        if users:
            raise Conflict(
                f"The alias {', '.join(users)} needs {card.ref}.",
                param="model",
                hint=f"Move it first, or: llmos alias --remove {users[0]}",
            )
        everything = self._rows.of_all.all()
        adapters = [other.ref for other in everything if other.base == card.version]
        if adapters and not any(other.version == card.version and other.name != card.name for other in everything):
            raise Conflict(
                f"The adapter {', '.join(adapters)} needs {card.ref}.", param="model", hint=f"First: llmos rm {adapters[0]}"
            )
        freed_bytes = drop_model(self.store, self._rows, card)
        self._changed("library.remove", card.ref)
        return freed_bytes

    def _leave_to(self, card: ModelCard, owners: frozenset[str]) -> int:
        """A model of several projects stays for the others; one that is everybody's cannot be removed for one of them."""
        if self._rows.project not in owners:
            raise Conflict(f"{card.ref} is everybody's; a key with the scope admin can remove it.", param="model")
        self._rows.disown(card)
        self._changed("library.remove", card.ref)
        return 0

    def _points_to(self, target: str, card: ModelCard, *, last: bool) -> bool:
        reference, _ = self._resolver.meaning(target)
        found = self._resolver.local(reference) if reference.scheme != "remote" else None
        return found is not None and found.name == card.name and (found.version == card.version if reference.revision else last)

    def verify(self, name: str) -> Verdicts:
        """Reads every file of the model and compares its SHA-256."""
        return verify_model(self.store, self.show(name))

    def gc(self, dry_run: bool = False) -> GcReport:
        """Removes blobs and folders of no model, and unfinished downloads. Raises Conflict while a pull is running."""
        report = collect_garbage(self.store, self._rows, dry_run=dry_run)
        if not dry_run:
            self._changed("library.gc", f"{report.freed_bytes} bytes")
        return report

    def accept_licence(self, name: str) -> CatalogueEntry:
        """Remembers that the user accepts the terms of a catalogue model."""
        reference, _ = self._resolver.meaning(name)
        entry = self.catalogue.get(reference.place)
        self._rows.accept_licence(entry.licence, entry.name)
        return entry

    # -- aliases -----------------------------------------------------------------------------------------------------
    def alias(self, name: str, target: str, reason: str = "", *, actor: str = "") -> None:
        """Points `name` at `target`, which must be a model here, in the catalogue, or remote. Raises Conflict when a model has
        the name or when it would lead in a circle."""
        name = checked_name(name)
        if self._rows.find(name):
            raise Conflict(f"A model is called {name!r}; an alias cannot have its name.", param="alias")
        reference, _ = self._resolver.meaning(target)
        if name in self._resolver.chain(target):
            raise Conflict(f"The alias {name!r} would lead to itself through {target!r}.", param="alias")
        if reference.scheme or not self.catalogue.find(reference.place) or reference.revision:
            self.resolve(target)
        self._aliases.move(name, target, actor=actor or _user(), reason=reason)
        self._changed("alias.set", f"{name} -> {target}")

    def unalias(self, name: str, reason: str = "", *, actor: str = "") -> None:
        self._aliases.remove(name, actor=actor or _user(), reason=reason)
        self._changed("alias.remove", name)

    def aliases(self) -> dict[str, str]:
        """Name to target, as set by users. The catalogue's own are in `catalogue.stand_ins`."""
        found = self._aliases.all()
        return found if self._rows.project is None else {name: target for name, target in found.items() if self._sees(target)}

    def _sees(self, target: str) -> bool:
        try:
            self._resolver.card(target)
        except NotFound:
            return False
        return True

    def alias_history(self, name: str) -> Moves:
        return self._aliases.history(name)

    def rollback_alias(self, name: str, *, actor: str = "") -> str:
        target = self._aliases.rollback(name, actor=actor or _user())
        self._changed("alias.rollback", f"{name} -> {target}")
        return target


def _floating(reference: Reference) -> Reference:
    """A hub source without its pinned commit, so that a pull brings what is newest."""
    if reference.scheme == "hf":
        return Reference(scheme="hf", place=reference.place, path=reference.path)
    return reference


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name} (llmos pull {name})" for name in sorted(names))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no entry for this uid, as in some containers
        return "unknown"
