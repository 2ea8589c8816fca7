"""What a name means now. Reads rows, aliases and the catalogue; touches no network and changes nothing.

text -> parse -> aliases (user's, then the catalogue's stand-ins) -> Reference -> a card of this machine, or why there is none
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from llmos.errors import Conflict, CorruptFile, NotFound, did_you_mean
from llmos.library.aliases import Aliases
from llmos.library.base import ModelCard, Resolved
from llmos.library.cards import remote_card
from llmos.library.catalogue import Catalogue, StandIn
from llmos.library.names import Reference, parse
from llmos.library.rows import ModelRows
from llmos.library.store import ModelStore
from llmos.settings import Settings

_MAX_HOPS = 8
_MAX_KNOWN = 1024  # names whose card is remembered until the database changes


class Resolver:
    def __init__(self, settings: Settings, *, rows: ModelRows, aliases: Aliases, store: ModelStore, catalogue: Catalogue) -> None:
        self.settings = settings
        self.rows = rows
        self.aliases = aliases
        self.store = store
        self.catalogue = catalogue
        self._known: dict[str, tuple[int, tuple[ModelCard, str]]] = {}  # name -> version of the database, answer

    def meaning(self, text: str) -> tuple[Reference, str]:
        """The reference behind a name, and the sentence to say when it stands for another model. Raises InvalidValue, Conflict."""
        reference = parse(text)
        notices: list[str] = []
        for _ in range(_MAX_HOPS):
            if reference.scheme:
                return self._present_name(reference), " ".join(notices)
            name, target = reference.place, None if reference.revision else self.aliases.target(reference.place)
            if target is not None:
                if self.catalogue.find(name) or self.catalogue.stand_in(name):
                    notices.append(f"{name} is an alias here and means {target}.")
                reference = parse(target)
            elif self.rows.find(name):
                return reference, " ".join(notices)
            elif entry := self.catalogue.find(name):
                return replace(reference, place=entry.name), " ".join(notices)
            elif stand_in := self.catalogue.stand_in(name):
                target = self._stands_for(stand_in)
                notices.append(f"{stand_in.why} Here it means {target}.")
                reference = parse(target)
            else:
                return reference, " ".join(notices)
        raise Conflict(
            f"The alias {text!r} leads in a circle.", param="model", hint="Move one of its aliases: llmos alias NAME TARGET."
        )

    def _present_name(self, reference: Reference) -> Reference:
        """Old hub names without an organisation are those that the catalogue knows: hf:gpt2 is hf:openai-community/gpt2."""
        entry = self.catalogue.find(reference.place) if reference.scheme == "hf" and "/" not in reference.place else None
        return replace(reference, place=entry.reference.place) if entry and entry.reference.scheme == "hf" else reference

    def chain(self, text: str) -> list[str]:
        """The names that a name goes through, its own first."""
        names: list[str] = []
        target: str | None = text
        while target is not None and target not in names:
            names.append(parse(target).place)
            target = self.aliases.target(names[-1])
        return names

    def _stands_for(self, stand_in: StandIn) -> str:
        if stand_in.remote and self.remote_base_url():
            return f"remote:{stand_in.remote}"
        return self.settings.default_model if stand_in.target == "default" else stand_in.target

    def remote_base_url(self) -> str:
        """The configured OpenAI-compatible endpoint, or "". This machine's own server does not count: it would ask itself."""
        base_url = self.settings.openai_base_url or ""
        where = urlsplit(base_url)
        own = where.hostname in ("localhost", "127.0.0.1", "::1", self.settings.host) and where.port == self.settings.port
        return "" if own else base_url

    def resolve(self, text: str) -> Resolved:
        """Raises NotFound (with what to type), CorruptFile when files of the model are gone or damaged."""
        card, notice = self.card(text)
        self.check(card)
        return Resolved(requested=text, card=card, folder=self.store.folder(card.version), notice=notice)

    def card(self, text: str) -> tuple[ModelCard, str]:
        """The card that a name means, and the notice. Looks at no file. Raises NotFound."""
        version = self.rows.database.version()
        known = self._known.get(text)
        if known is not None and known[0] == version:
            return known[1]
        found = self._find(text)
        if version is not None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[text] = (version, found)
        return found

    def _find(self, text: str) -> tuple[ModelCard, str]:
        reference, notice = self.meaning(text)
        card = self.local(reference)
        if card is None:
            raise self._absent(text, reference)
        return card, notice

    def check(self, card: ModelCard) -> None:
        """Whether its files are there with the right bytes, which are read only when they changed since. Raises CorruptFile."""
        for file in card.files:
            if problem := self.store.problem(card.version, file):
                newest = next(iter(self.rows.find(card.name)), card)
                raise CorruptFile(
                    f"The file {file.path} of {card.ref} is damaged: {problem}.",
                    param="model",
                    hint=f"Fetch it again: llmos pull {card.name if newest.version == card.version else card.source}",
                )

    def local(self, reference: Reference) -> ModelCard | None:
        """The newest card of this machine that the reference means."""
        if reference.scheme == "remote":
            return self._remote(reference.place)
        if reference.scheme == "":
            return next(iter(self.rows.find(reference.place, reference.revision)), None)
        cards = [card for card in self.rows.all() if came_from(card, reference)]
        return max(cards, key=lambda card: card.created_at, default=None)

    def _remote(self, model: str) -> ModelCard:
        base_url = self.remote_base_url()
        if not base_url:
            raise NotFound(
                f"remote:{model} needs an endpoint, and none is configured.", param="model", hint="Set OPENAI_BASE_URL to one."
            )
        return remote_card(model, base_url)

    def _absent(self, text: str, reference: Reference) -> NotFound:
        local = sorted({card.name for card in self.rows.all()})
        here = f" On this machine: {', '.join(local)}." if local else ""
        if self.rows.project is not None and self.aliases.target(parse(text).place) is not None:
            return NotFound(f"There is no model {text!r}.", param="model")  # what the alias means is not for this project
        if reference.scheme or self.catalogue.find(reference.place):
            return NotFound(f"{text} is not on this machine.", param="model", hint=f"Get it with: llmos pull {reference}.{here}")
        if versions := [card.ref for card in self.rows.find(reference.place)]:
            return NotFound(
                f"There is no version {reference.revision} of {reference.place}.",
                param="model",
                hint=f"There are: {', '.join(versions)}.",
            )
        known = [*local, *(self.aliases.all() if self.rows.project is None else ()), *self.catalogue.names()]
        return NotFound(f"There is no model {text!r}.", param="model", hint=did_you_mean(text, list(dict.fromkeys(known))))


def came_from(card: ModelCard, reference: Reference) -> bool:
    """Whether the card's pinned source is what the reference, perhaps without a revision, names."""
    origin = parse(card.source)
    same = (origin.scheme, origin.place.lower(), origin.path) == (reference.scheme, reference.place.lower(), reference.path)
    return same and (not reference.revision or origin.revision == reference.revision)
