"""Bringing a model into the library: plan, download, inspect, publish, and only then the row that makes it exist."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llmos.errors import LicenceNotAccepted, ModelFileError, NotFound, PermissionDenied, SourceStatus, Unreachable
from llmos.infra.fetch import Fetcher
from llmos.library.base import ModelCard, ModelFile, Progress
from llmos.library.cards import build_card, version_of
from llmos.library.catalogue import Catalogue, CatalogueEntry
from llmos.library.download import Downloader, Report
from llmos.library.inspect import Inspection, inspect_model
from llmos.library.janitor import drop_unused, verify_model
from llmos.library.names import Reference, default_name, slug
from llmos.library.rows import ModelRows
from llmos.library.sources.base import Access, Plan, sources
from llmos.library.store import STORE_LOCK, ModelStore
from llmos.settings import Settings

_PINNED_COMMIT = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to bring: the reference, the name it gets, and the catalogue entry it belongs to."""

    reference: Reference
    name: str
    entry: CatalogueEntry | None = None

    @classmethod
    def of(cls, reference: Reference, catalogue: Catalogue, name: str | None = None) -> Order:
        entry = catalogue.find(reference.place) if reference.scheme in ("", "hf") and not reference.path else None
        if reference.scheme == "":
            assert entry is not None
            return cls(reference=entry.reference, name=name or entry.name, entry=entry)
        if entry is not None and entry.reference.scheme == reference.scheme and not name:
            return cls(reference=reference, name=entry.name, entry=entry)
        return cls(reference=reference, name=name or default_name(reference))


class Puller:
    """Executes orders. `base_of` finds (or brings) the model that an adapter belongs to."""

    def __init__(
        self, settings: Settings, *, fetcher: Fetcher, store: ModelStore, rows: ModelRows, base_of: Callable[[str], ModelCard]
    ) -> None:
        self.access = Access(settings, fetcher)
        self.store = store
        self.rows = rows
        self.base_of = base_of

    def run(self, order: Order, *, report: Report | None, accept_licence: bool, cancel: threading.Event | None) -> ModelCard:
        """The card, in the library. Two pulls of the same model at once become one."""
        self._check_licence(order, accept_licence)
        fetched: list[ModelFile] = []
        try:
            with (
                self.store.lock(STORE_LOCK, shared=True, cancel=cancel),
                self.store.lock(f"pull {order.reference}", cancel=cancel),
                explained(order),
            ):
                return self._bring(order, fetched, report, cancel)
        except ModelFileError:  # what was refused does not stay
            drop_unused(self.store, self.rows, [file.sha256 for file in fetched])
            raise

    def _known(self, order: Order, source: str) -> ModelCard | None:
        """The model of that name that came from there, if the library has it whole. Blobs found damaged are dropped, so that
        they are fetched again."""
        for card in self.rows.find(order.name):
            if card.source == source:
                damaged = [verdict for verdict in verify_model(self.store, card) if not verdict.ok]
                for verdict in damaged:
                    self.store.blobs.remove(verdict.sha256)
                return None if damaged else card
        return None

    def _check_licence(self, order: Order, accepted: bool) -> None:
        entry = order.entry
        if entry is None or not entry.accept or self.rows.has_accepted(entry.licence, entry.name):
            return
        if not accepted:
            raise LicenceNotAccepted(
                f"{entry.name} is under the {entry.licence} terms, which you must read and accept first: {entry.accept}",
                param="accept_licence",
                hint=f"Then: llmos pull {entry.name} --accept-licence",
            )
        self.rows.accept_licence(entry.licence, entry.name)

    def _bring(self, order: Order, fetched: list[ModelFile], report: Report | None, cancel: threading.Event | None) -> ModelCard:
        report = report or (lambda _: None)
        if _is_pinned(order.reference) and (known := self._known(order, str(order.reference))):
            return known
        report(Progress(stage="plan", message=str(order.reference)))
        plan = sources.get(order.reference.scheme).plan(order.reference, self.access)
        if order.reference.scheme != "file" and (known := self._known(order, plan.source)):
            return known
        pins = dict(order.entry.sha256) if order.entry else {}
        loader = Downloader(plan, fetcher=self.access.fetcher, blobs=self.store.blobs, pins=pins, report=report, cancel=cancel)
        fetched.extend(loader.run())
        report(Progress(stage="inspect", done_bytes=plan.download_bytes, total_bytes=plan.download_bytes))
        return self._publish(order, plan, tuple(fetched))

    def _publish(self, order: Order, plan: Plan, files: tuple[ModelFile, ...]) -> ModelCard:
        stage = self.store.stage(files, slug(order.name))
        try:
            found = inspect_model(stage)
            base = self.base_of(found.base_model).version if found.base_model else None
            self.store.publish(stage, version_of(files), files)
        except BaseException:
            self.store.discard(stage)
            raise
        return self.rows.add(self._card(order, plan, files, found, base))

    @staticmethod
    def _card(order: Order, plan: Plan, files: tuple[ModelFile, ...], found: Inspection, base: str | None) -> ModelCard:
        return build_card(
            name=order.name, files=files, source=plan.source, licence=plan.licence, found=found, entry=order.entry, base=base
        )


def _is_pinned(reference: Reference) -> bool:
    """Whether the reference can never mean other bytes, so that having it once is enough."""
    match reference.scheme:
        case "pypi":
            return True
        case "hf":
            return len(reference.revision) == _PINNED_COMMIT
        case "url":
            return bool(reference.revision)
        case _:
            return False


@contextmanager
def explained(order: Order) -> Iterator[None]:
    """Says of a source's failure which model it was about."""
    reference = order.reference
    try:
        yield
    except Unreachable as problem:
        if problem.param == "model":
            raise  # an adapter's base: explained already
        where = sources.get(reference.scheme).where
        raise Unreachable(
            f"{order.name} is not on this machine, and {where}, where it comes from, cannot be reached: {problem.message}",
            param="model",
            hint=problem.hint,
        ) from None
    except SourceStatus as problem:
        if problem.status not in (401, 403):
            raise
        raise PermissionDenied(
            f"{sources.get(reference.scheme).where} gives no access to {reference.place} (HTTP {problem.status}): "
            "it does not exist, is private, or its terms must be accepted there first.",
            param="model",
            hint="Check the name; else accept the terms on its page and set HF_TOKEN.",
        ) from None
    except NotFound as problem:
        if problem.param is not None:
            raise
        raise NotFound(f"{sources.get(reference.scheme).where} has no {reference}.", param="model", hint=problem.hint) from None
