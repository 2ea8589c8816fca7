"""The contract of access: who calls, and what they may do.

    key (a secret, kept as a digest) -> Caller (project, scopes, priority, quotas) -> every route, job, file and log line

Without any key the machine's own user is the caller: LOCAL, who may do everything. The key of LLMOS_API_KEY is ENV's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_PROJECT = "default"


class Scope(StrEnum):
    """What a key may be used for. A route needs exactly one of them; `admin` includes all."""

    INFERENCE = "inference"  # generate, chat, embed, predict, translate, tokenise, list models
    ANNOTATE = "annotate"  # label items of the own project's annotation projects
    JOBS = "jobs"  # submit and control jobs, batches, files, data sets and annotation projects of the own project
    LIBRARY = "library"  # pull, import and remove models of the own project
    METRICS = "metrics"  # read /metrics, which shows figures of all projects
    ADMIN = "admin"  # keys, quotas, projects, audit, aliases, other projects


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """Limits of one key; None is no limit. Windows are fixed minutes and days of UTC; jobs counts unfinished ones, disk_bytes what
    the key's files hold."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_day: int | None = None
    jobs: int | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a request. key_id: "" for the local user. account: whose quotas it uses up; a rotated key keeps that of the key
    it replaces. priority: the most urgent class its requests may have (kernel's Priority). everywhere: sees what belongs to
    all projects."""

    key_id: str = ""
    account: str = ""
    project: str = DEFAULT_PROJECT
    scopes: frozenset[Scope] = field(default_factory=lambda: frozenset(Scope))
    priority: str = "interactive"
    quotas: Quotas = field(default_factory=Quotas)

    @property
    def actor(self) -> str:
        """How the audit log names it."""
        return self.key_id or "local"

    @property
    def everywhere(self) -> bool:
        return Scope.ADMIN in self.scopes

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


LOCAL = Caller()
ENV = Caller(key_id="env", account="env")
