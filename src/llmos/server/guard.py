"""Who may pass the gate, and what is noted of it: key, scope, quotas before the route; usage, audit and rate-limit headers after.

Guard.visit(scope) -> Visit      which route it is for
Visit.enter(headers)             401 no or bad key, 403 wrong scope, 429 quota used up
Visit.tokens(request)            charges the tokens that the request may need; corrected when it is over
Visit.sending(message, send)     adds headers; of what changes something, the audit row is on disk before the answer leaves
Visit.leave(status)              settles, counts usage, notes a refusal
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import Message, Scope, Send

from llmos.access.base import LOCAL, Caller
from llmos.access.base import Scope as Scopes
from llmos.access.quotas import REQUESTS, TOKENS, Standing
from llmos.access.refusals import Refusal
from llmos.access.service import Access
from llmos.errors import LLMOSError, RateLimited
from llmos.infra.logs import get_logger
from llmos.server.problems import Refused, answer
from llmos.server.scopes import RouteTable, Rule
from llmos.server.track import Track, tracked
from llmos.types import Usage

MAX_TOKENS = 8192  # reserved for an answer whose request does not say how long it may get
TEMPLATE_TOKENS = 256  # of a chat template around messages, beyond what their JSON has
log = get_logger("server")
_MAX_ID_BYTES = 1 << 16  # of an answer in which the id of what was made is looked for
_ANSWER_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict")
_MOST = 1 << 31
_NO_ROUTE = Rule(path="(none)", scope=Scopes.INFERENCE)


def key_of(headers: Headers) -> str:
    """The key that a request shows, "" when none."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def audit_target(request: Request, target: str) -> None:
    """What the request changes, for its row in the audit log."""
    request.state.visit.target = target


class Guard:
    """One an app."""

    def __init__(self, access: Access, table: RouteTable) -> None:
        self.access = access
        self.table = table
        self.making: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by account: one new job or file at a time

    def visit(self, scope: Scope) -> Visit:
        """The visit of a request; `scope` has it in its state, and the caller, before anything is refused."""
        rule, params = self.table.find(scope["method"], scope["path"])
        visit = Visit(self, scope, rule or _NO_ROUTE, params)
        scope["state"].update(visit=visit, caller=LOCAL, key=None)
        return visit


class Visit:
    """One request on its way. caller: LOCAL until it is `known`. begun: whether its route was reached. target: what it changes, when
    a route says so."""

    def __init__(self, guard: Guard, scope: Scope, rule: Rule, params: dict[str, str]) -> None:
        self.guard, self.access, self.scope, self.rule = guard, guard.access, scope, rule
        self.caller: Caller = LOCAL
        self.target = "/".join(params.values())
        self.known = self.begun = False
        self.over_quota = False
        self._reserved = 0
        self._held: Message | None = None  # the start of an answer whose audit row is not written yet
        self._audited = not rule.action
        self._replaced = False

    async def enter(self, headers: Headers) -> None:
        """Finds out who calls. Raises PermissionDenied, Refused, RateLimited, StorageError."""
        if self.rule.scope is None:
            return
        ring = self.access.ring
        if ring.stale:
            await asyncio.to_thread(ring.refresh)
        self.caller = caller = ring.caller(key_of(headers))
        self.known = True
        self.scope["state"].update(caller=caller, key=caller.account or None)
        if self.rule is not _NO_ROUTE and not caller.may(self.rule.scope):
            has = ", ".join(sorted(one.value for one in caller.scopes))
            said = f"This route needs a key with the scope {self.rule.scope.value!r}; this one has {has}."
            raise Refused(403, "scope_missing", said)
        await self.charge(REQUESTS, 1)

    @property
    def logs_contents(self) -> bool:
        """Whether the project wants its requests and answers logged."""
        return self.known and self.access.ring.logs_contents(self.caller.project)

    # -- quotas ------------------------------------------------------------------------------------------------------
    async def charge(self, names: tuple[str, ...], amount: int) -> None:
        """Raises RateLimited. Waits for the database now and then, in a thread."""
        try:
            if not self.access.quotas.try_take(self.caller, names, amount):
                await asyncio.to_thread(self.access.quotas.take, self.caller, names, amount)
        except RateLimited:
            self.over_quota = True
            raise

    async def tokens(self, request: Request) -> None:
        """Charges the most tokens that the request can need: a prompt has fewer of them than its body has bytes."""
        if self.caller.quotas.tokens_per_minute is None and self.caller.quotas.tokens_per_day is None:
            return
        body = await request.body()
        most = len(body) + TEMPLATE_TOKENS + _answer_tokens(body)
        await self.charge(TOKENS, most)
        self._reserved += most

    @asynccontextmanager
    async def room(self, more_bytes: int) -> AsyncIterator[None]:
        """Held while the route runs: so that of two requests for the last job or the last bytes of a quota one gets it."""
        quotas, access = self.caller.quotas, self.access
        limited = (self.rule.makes == "job" and quotas.jobs is not None) or (
            self.rule.makes == "file" and quotas.disk_bytes is not None
        )
        if not limited:
            self.begun = True
            yield
            return
        async with self.guard.making.setdefault(self.caller.account, asyncio.Lock()):
            try:
                if self.rule.makes == "job":
                    await asyncio.to_thread(access.check_jobs, self.caller)
                else:
                    await asyncio.to_thread(access.check_disk, self.caller, more_bytes)
            except RateLimited:
                self.over_quota = True
                raise
            self.begun = True
            yield

    # -- the answer --------------------------------------------------------------------------------------------------
    async def sending(self, message: Message, send: Send) -> None:
        """Passes a message of the answer on. The start of one that changed something waits for its first bytes: a whole answer
        waits for the audit row, a stream for it with its last bytes."""
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            self._limits(MutableHeaders(scope=message))
            self.scope["state"]["status"] = message["status"]
            if self._audited:
                await send(message)
            else:
                self._held = message
            return
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and not self._audited:
            await self._record(message.get("body", b""), send)
        if self._held is not None and not self._replaced:
            start, self._held = self._held, None
            await send(start)
        if not self._replaced:
            await send(message)

    def _limits(self, headers: MutableHeaders) -> None:
        """OpenAI's headers, for the quotas that the key has."""
        for what, names in (("requests", REQUESTS), ("tokens", TOKENS)):
            standing = self.access.quotas.standing(self.caller, names)
            if standing is not None:
                for name, value in limit_headers(what, standing).items():
                    headers[name] = value

    async def _record(self, body: bytes, send: Send) -> None:
        """The audit row. When it cannot be written, the answer is that error."""
        self._audited = True
        status = int(self.scope["state"].get("status", 500))
        if 400 <= status < 500 or not self.begun:
            return  # nothing was changed; refusals are noted in `leave`
        outcome = "ok" if status < 400 else "failed"
        target = self.target or _made(body)
        try:
            await asyncio.to_thread(self._write_row, target, outcome, status)
        except LLMOSError as problem:
            if self._held is None:
                raise  # the answer is on its way: its end stays out
            self._replaced, self._held = True, None
            await answer(problem, self.scope["path"])(self.scope, _no_body, send)

    def _write_row(self, target: str, outcome: str, status: int) -> None:
        more = {"request_id": self.scope["state"]["request_id"], "status": status}
        self.access.audit.record(self.caller.actor, self.caller.project, self.rule.action, target, outcome, **more)

    async def leave(self, status: int) -> None:
        """The request is over, however it ended."""
        if self.begun and not self._audited:  # it broke on its way: something may have changed
            self._audited = True
            try:
                await asyncio.to_thread(self._write_row, self.target, "failed", status)
            except LLMOSError as problem:
                log.error("a broken request is not in the audit log", extra={"action": self.rule.action, "error": str(problem)})
        track = tracked(self.scope)
        used = _used(track) if track is not None else Usage()
        if self._reserved:
            self.access.quotas.settle(self.caller, TOKENS, used.total_tokens - self._reserved)
        if track is not None and track.model and used.total_tokens:
            self.access.usage.add(self.caller, track.model, used)
        if status in (401, 403) or self.over_quota:
            self._note_refusal(status)

    def _note_refusal(self, status: int) -> None:
        client = self.scope.get("client") or ("",)
        track = tracked(self.scope)
        reason = self.scope["state"].get("refusal") or (track.error if track is not None else "") or str(status)
        what = f"{self.scope['method'][:8]} {self.rule.path}"[:64]
        actor, project = (self.caller.actor, self.caller.project) if self.known else ("", "")
        self.access.refusals.note(Refusal(actor, project, what, reason, str(client[0])))


def _used(track: Track) -> Usage:
    """What its work took. The meter hears of what is over; a generation that is being cancelled says itself how far it came."""
    live = [group.usage for group in track.groups]
    counted, running = track.usage, sum(one.total_tokens for one in live)
    if counted.total_tokens >= running:
        return counted
    return Usage(
        prompt_tokens=sum(one.prompt_tokens for one in live),
        completion_tokens=sum(one.completion_tokens for one in live),
        cached_tokens=sum(one.cached_tokens for one in live),
    )


async def _no_body() -> Message:
    return {"type": "http.disconnect"}


def _made(body: bytes) -> str:
    """The id or name that the answer gives to what was made."""
    if len(body) > _MAX_ID_BYTES:
        return ""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(found, dict):
        return ""
    named = [found.get(name) for name in ("id", "name")]
    return next((value for value in named if isinstance(value, str)), "")


def _answer_tokens(body: bytes) -> int:
    """How long the answers may get together, by what the request says."""
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        return MAX_TOKENS
    if not isinstance(asked, dict):
        return MAX_TOKENS
    options = asked.get("options")
    places = [asked, options] if isinstance(options, dict) else [asked]
    given = [place.get(name) for place in places for name in _ANSWER_FIELDS]
    most = next((value for value in given if isinstance(value, int) and value > 0), MAX_TOKENS)
    num_answers = max([1, *(value for name in ("n", "best_of") if isinstance(value := asked.get(name), int))])
    prompt = asked.get("prompt", asked.get("input"))
    num_prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int | dict) else 1
    return min(most * num_answers * max(1, num_prompts), _MOST)


def limit_headers(what: str, standing: Standing) -> dict[str, str]:
    """x-ratelimit-… of requests or tokens, as OpenAI has them."""
    return {
        f"x-ratelimit-limit-{what}": str(standing.limit),
        f"x-ratelimit-remaining-{what}": str(standing.remaining),
        f"x-ratelimit-reset-{what}": duration(standing.reset_s),
    }


def duration(seconds: float) -> str:
    """90.5 -> "1m30.5s", 0.012 -> "12ms": how OpenAI, and Go, write one."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    whole, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(whole), 60)
    parts = [f"{hours}h"] if hours else []
    parts += [f"{minutes}m"] if hours or minutes else []
    return "".join([*parts, f"{round(rest, 3):g}s"])
