"""Personal data and secrets: out of the text, or the row out of the data."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, StepContext, TextConfig, step
from llmos.errors import InvalidValue
from llmos.safety.pii.base import Finding, Options
from llmos.safety.pii.scan import Scanner, kinds
from llmos.safety.pii.vault import NAME, Vault

Action = Literal["mask", "hash", "drop", "keep"]


@step("redact")
class Redact(Mapper):
    """Finds personal data and secrets and masks them (`<EMAIL>`), gives them pseudonyms (`<EMAIL:3fa9…>`, the same for the same value),
    drops the row, or leaves them. The ledger has how many of which kind, never a value, and not the dropped row.

    It reads one column; rows that steps before it drop stand in the ledger as they were, so it comes first (or `keep_dropped: false`).
    Forms and checksums of each kind: llmos/safety/pii, one file a kind."""

    class Config(TextConfig):
        kinds: tuple[str, ...] = Field((), description="What to look for; empty is every kind there is.")
        action: Action = Field(
            "mask", description="What to do with a finding: mask, hash (pseudonym), drop (the row), keep (leave it)."
        )
        actions: dict[str, Action] = Field(
            default_factory=dict, description="Another action for single kinds: `{private_key: drop}`."
        )
        placeholder: str = Field("<{kind}>", description="What stands for a masked finding; {kind} is its kind in capitals.")
        key: str = Field(
            "default", pattern=NAME, description="Name of the key of the pseudonyms, made on first use in LLMOS_HOME/vault."
        )
        key_id: str = Field("", description="Which key that is; filled in when the run is planned.")
        reversible: bool = Field(False, description="Keep what pseudonyms stand for in LLMOS_HOME/vault, for `Vault.restore`.")
        phone_regions: tuple[str, ...] = Field(
            ("US", "CN"), description="Countries whose national phone numbers are known as such."
        )
        private_ips: bool = Field(False, description="Addresses of local networks, loopback and documentation too.")
        min_confidence: float = Field(0.5, ge=0, le=1, description="Findings that are less sure are left alone.")

    config: Config
    secret = True

    def prepare(self) -> None:
        config = self.config
        unknown = [kind for kind in config.actions if kind not in (config.kinds or kinds())]
        if unknown:
            raise InvalidValue(f"actions names {', '.join(unknown)}, which is not looked for.", param="actions")
        self._scanner = Scanner(config.kinds or None, Options(phone_regions=config.phone_regions, private_ips=config.private_ips))
        hashes = self.hashes(config)
        if config.reversible and not hashes:
            raise InvalidValue(
                "reversible is for pseudonyms, and no action is `hash`.", param="reversible", hint="Set action: hash."
            )
        self._vault = self.vault(config, self.context) if hashes else None

    @staticmethod
    def hashes(config: Config) -> bool:
        return "hash" in (config.action, *config.actions.values())

    @staticmethod
    def vault(config: Config, context: StepContext) -> Vault:
        return Vault(context.settings, config.key, context.project)

    @classmethod
    def pinned(cls, config: Config, context: StepContext) -> dict[str, str]:
        return {"key_id": cls.vault(config, context).key_id} if cls.hashes(config) else {}

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        found = [[one for one in each if one.confidence >= self.config.min_confidence] for each in self._scanner.find_all(texts)]
        drop = np.array([any(self._action(one.kind) == "drop" for one in each) for each in found], dtype=bool)
        touched = [row for row, each in enumerate(found) if each and not drop[row]]
        kept: dict[str, str] = {}
        new = [self._rewritten(text, found[row], kept) for row, text in zip(touched, texts.gather(touched).to_list(), strict=True)]
        if self._vault and self.config.reversible:
            self._vault.keep(kept)
        counts = np.array([len(each) for each in found], dtype=np.float64)
        return Mapped(
            columns={self.column: texts.clone().scatter(touched, new) if touched else rows.column(self.column)},
            measure=("findings", counts), drop=drop, reason="findings", drop_value=counts, threshold=0.0,
            detail=[_told(each) for each in found],
        )  # fmt: skip

    def _action(self, kind: str) -> Action:
        return self.config.actions.get(kind, self.config.action)

    def _rewritten(self, text: str, found: list[Finding], kept: dict[str, str]) -> str:
        parts, done = [], 0
        for one in found:
            action = self._action(one.kind)
            if action in ("mask", "hash"):
                parts += [text[done : one.start], self._stand_in(one.kind, text[one.start : one.end], action, kept)]
                done = one.end
        return "".join([*parts, text[done:]])

    def _stand_in(self, kind: str, value: str, action: Action, kept: dict[str, str]) -> str:
        if action == "mask":
            return self.config.placeholder.replace("{kind}", kind.upper())
        assert self._vault is not None
        pseudonym = self._vault.pseudonym(kind, self._scanner.canonical(kind, value))
        kept.setdefault(pseudonym, value)
        return pseudonym


def _told(found: list[Finding]) -> str:
    """ "2 email, 1 phone"."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(one.kind for one in found).items())) if found else ""
