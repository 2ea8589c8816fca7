"""Which sequence computes what next, and whose tokens the key-value cache holds. Pure: no C, no threads, no clock.

    waiting -> running (owns a slot; prompt computed in pieces, then a token a step) -> finished: its tokens stay in the slot
               as a cached prefix, until another takes the slot or the cells are needed

A slot is a sequence id of the context, a cell holds one token. Every running sequence has the cells for its whole answer set
aside when it is admitted, so a step never finds the cache full.

An `exact` row (greedy or seeded) that runs alone gives the same bits each time. The last bits of a sum depend on how many
tokens a step computes together and on where their cells lie, and 8-bit activations make 0.1 nats of them; so such a row
computes its prompt in pieces of EXACT_PIECE counted from its start, in cells that begin at the first one, and reuses only whole
pieces of the prompt of the last such row. Without neighbours only: what runs beside a row changes its bits too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from llmos.engine.backends.native import common_prefix
from llmos.types import TokenIds

EXACT_PIECE = 64  # tokens: as fast as more, and a step of them stays short


@dataclass(slots=True, eq=False)
class Row:
    """One answer in the making. computed: how many of `tokens` are in the cache; the last one never is until the next step.
    exact: see the module's docstring. salt: only rows of the same one share prefixes."""

    prompt: TokenIds
    max_tokens: int
    exact: bool = False
    salt: str = ""
    tokens: list[int] = field(init=False)
    slot: int = -1
    computed: int = 0
    reused: int = 0

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)

    @property
    def cells(self) -> int:
        return len(self.prompt) + self.max_tokens

    @property
    def in_prompt(self) -> bool:
        return self.computed < len(self.prompt)


@dataclass(frozen=True, slots=True)
class Admission:
    """What to do to the cache to let a row start: empty `evict`, then fill `slot` with `length` tokens of `source` (they may be
    the same: the rest is cut)."""

    slot: int
    source: int
    length: int
    evict: tuple[int, ...] = ()


class Slots:
    """The book of the cache. num_cells bounds the tokens of all slots together."""

    def __init__(self, num_slots: int, num_cells: int) -> None:
        self.num_cells = num_cells
        self.reserved = 0  # cells that a scoring job works in
        self.running: dict[int, Row] = {}
        self.idle: dict[int, list[int]] = {}  # slot -> its tokens, least recently used first
        self.salts: dict[int, str] = {}  # slot -> of the row that last ran in it
        self.free = list(range(num_slots))[::-1]
        self.home: tuple[int, int] | None = None  # the slot in the first cells, and how many of its tokens are whole pieces

    def admit(self, row: Row) -> Admission | None:
        """Starts a row, or None while there is no room. The longest known prefix is reused, all but the prompt's last token."""
        admission = self._admit_exact(row) if row.exact and not self.running else self._admit(row)
        if admission:
            row.slot, row.computed, row.reused = admission.slot, admission.length, admission.length
            self.salts[row.slot] = row.salt
            self.running[admission.slot] = row
        return admission

    def _admit_exact(self, row: Row) -> Admission | None:
        """Empties the cache but for whole pieces of the prompt that the last such row left in the first cells."""
        if row.cells > self.num_cells - self.reserved:
            return None
        slot, length = -1, 0
        if self.home and self.home[0] in self.idle and self.salts[self.home[0]] == row.salt:
            slot, whole = self.home
            length = min(common_prefix(row.prompt, self.idle[slot][:whole]), len(row.prompt) - 1) // EXACT_PIECE * EXACT_PIECE
        victims = tuple(one for one in self.idle if one != slot or not length)
        self.free.extend(self.idle)
        self.idle.clear()
        slot = slot if length else self.free[-1]
        self.free.remove(slot)
        self.home = None if self.reserved else (slot, len(row.prompt) // EXACT_PIECE * EXACT_PIECE)
        return Admission(slot, slot, length, victims)

    def _admit(self, row: Row) -> Admission | None:
        source, length = self._longest_prefix(row)
        victims: list[int] = []
        cells = self.num_cells - self.reserved - sum(one.cells for one in self.running.values())
        if row.cells > cells:
            return None
        spare = [slot for slot in self.idle if slot != source]
        while sum(map(len, self.idle.values())) + row.cells - (len(self.idle.get(source, ()))) > cells and spare:
            victims.append(spare.pop(0))
            self.free.append(victims[-1])
            del self.idle[victims[-1]]
        slot = self._slot(source, length, spare, victims)
        if slot is None:
            return None
        self.idle.pop(slot, None)
        beside = self.home and self.home[0] in self.running and self.running[self.home[0]].in_prompt
        if beside or (self.home and self.home[0] in (slot, *victims)):
            self.home = None
        return Admission(slot, source if length else slot, length, tuple(victims))

    def _slot(self, source: int, length: int, spare: list[int], victims: list[int]) -> int | None:
        if length and source in self.idle:
            return source
        if self.free:
            return self.free.pop()
        if spare:
            victims.append(spare[0])
            return spare[0]
        return source if source in self.idle else None

    def _longest_prefix(self, row: Row) -> tuple[int, int]:
        best, length, prompt = -1, 0, row.prompt
        known: list[tuple[int, Sequence[int]]] = [(slot, one.tokens[: one.computed]) for slot, one in self.running.items()]
        for slot, tokens in [*known, *self.idle.items()]:
            if self.salts[slot] != row.salt:
                continue
            if (common := min(common_prefix(prompt, tokens), len(prompt) - 1)) > length:
                best, length = slot, common
        return best, length

    def finish(self, row: Row) -> None:
        """Ends a row; what it computed stays as a prefix for others."""
        del self.running[row.slot]
        if row.computed:
            self.idle[row.slot] = row.tokens[: row.computed]
        else:
            self.free.append(row.slot)

    def reserve(self, cells: int) -> list[int] | None:
        """Sets cells aside for a job, at the cost of all cached prefixes: the slots to clear. None while there is no room."""
        if self.reserved or cells > self.num_cells - sum(one.cells for one in self.running.values()):
            return None
        dropped = list(self.idle)
        self.free.extend(dropped)
        self.idle.clear()
        self.home = None
        self.reserved = cells
        return dropped


@dataclass(frozen=True, slots=True)
class Piece:
    """`count` tokens of a row from its `computed` on. last: its logits are needed, for they end what the row has."""

    row: Row
    count: int
    last: bool


def plan(rows: Iterable[Row], *, budget: int) -> list[Piece]:
    """The pieces of the next step, at most `budget` tokens: every decoding row first, then prompts in order of arrival.
    An exact row alone takes its own pieces."""
    rows = list(rows)
    if len(rows) == 1 and rows[0].exact and rows[0].in_prompt:
        row = rows[0]
        count = min(EXACT_PIECE - row.computed % EXACT_PIECE, len(row.tokens) - row.computed)
        return [Piece(row, count, last=row.computed + count == len(row.tokens))]
    pieces = [Piece(row, 1, last=True) for row in rows if not row.in_prompt][:budget]
    left = budget - len(pieces)
    for row in rows:
        if row.in_prompt and left > 0:
            count = min(left, len(row.tokens) - row.computed)
            pieces.append(Piece(row, count, last=row.computed + count == len(row.tokens)))
            left -= count
    return pieces
