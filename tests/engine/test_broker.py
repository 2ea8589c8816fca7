"""Engines lent through a socket: the same answers as at home, admission before every request, nothing left when a side goes."""

from __future__ import annotations

import socket
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from llmos.engine.base import Feature, ScoreItem
from llmos.engine.borrow import Lender, ServiceGone, borrow
from llmos.engine.broker import SOCKET, Broker, reachable
from llmos.engine.pool import Pool
from llmos.engine.session import Session
from llmos.errors import EngineError, OverCapacity, UnsupportedFeature
from llmos.settings import Settings
from llmos.types import Family, Message, Sampling, Usage
from tests.doubles import fake_card, fake_pool

HI = [Message(role="user", content="Hi")]
CARDS = (
    fake_card(),
    fake_card("endless", extra={"step_s": "0.01", "endless": "yes"}),
    fake_card("fails", extra={"fail_on": "fail"}),
    fake_card("encoder", Family.ENCODER),
    fake_card("sharing", extra={"prefixes": "on request"}),
)


@dataclass
class Books:
    """What the broker asked of the server. refuse: the next so many are not admitted."""

    admitted: list[int] = field(default_factory=list)
    given_back: list[int] = field(default_factory=list)
    used: list[tuple[str, str, Usage]] = field(default_factory=list)
    refuse: int = 0
    held: threading.Event = field(default_factory=threading.Event)

    def admit(self, tokens: int, whose: str) -> object:
        self.held.wait(20)
        if self.refuse:
            self.refuse -= 1
            raise OverCapacity("Full.", retry_after_s=2.0)
        self.admitted.append(tokens)
        return self.given_back.append

    @property
    def out(self) -> int:
        return len(self.admitted) - len(self.given_back)


@dataclass
class Shop:
    pool: Pool
    broker: Broker
    books: Books
    folder: Path

    def lender(self, whose: str = "job", *, shares: bool = False) -> Lender:
        found = borrow(self.folder, whose=whose, shares=shares)
        assert found is not None
        return found


@pytest.fixture
def shop(settings: Settings, tmp_path: Path) -> Iterator[Shop]:
    books, folder = Books(), tmp_path / ("deep" * 30) / "run"  # longer than the address of a socket may be
    books.held.set()
    with fake_pool(settings, tmp_path, cards=CARDS) as pool:
        broker = Broker(
            folder,
            lambda name, whose, shares: pool.session(name, load=False, shared_by=whose if shares else None),
            books.admit,  # type: ignore[arg-type]  # gives list.append back
            lambda whose, model, usage: books.used.append((whose, model, usage)),
        )
        assert broker.start()
        yield Shop(pool, broker, books, folder)
        books.held.set()
        broker.close()


def borrowed(shop: Shop, lender: Lender, name: str = "fake") -> Session:
    return lender.session(shop.pool.session(name, load=False))


def until(what: object, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_borrowed_session_answers_as_its_own(shop: Shop) -> None:
    own = shop.pool.session("fake").chat(HI, Sampling(max_tokens=8)).result()
    with shop.lender() as lender:
        session = borrowed(shop, lender)
        generation = session.chat(HI, Sampling(max_tokens=8), stream=False)
        assert generation.result() == own and generation.engine == "fake/default"
        streamed = [delta.text for delta in session.chat(HI, Sampling(max_tokens=8))]
        assert "".join(streamed) == own[0].text and len(streamed) > 1
    until(lambda: shop.books.out == 0)
    read = len(generation.prompt_ids)
    assert shop.books.admitted == [read, read] and shop.books.given_back == [8, 8]
    assert shop.books.used[0] == ("job", "fake", Usage(prompt_tokens=read, completion_tokens=8))
    assert all(info.running == 0 for info in shop.pool.loaded())


def test_blocking_calls_cross_too(shop: Shop) -> None:
    with shop.lender() as lender:
        own, other = shop.pool.session("encoder"), borrowed(shop, lender, "encoder")
        assert np.array_equal(own.embed(["a", "bcd"]), other.embed(["a", "bcd"]))
        items = [ScoreItem(prompt=(1, 2), continuations=((3,), (4, 5)))]
        assert borrowed(shop, lender).score(items) == shop.pool.session("fake").score(items)


def test_errors_arrive_as_they_are(shop: Shop) -> None:
    with shop.lender() as lender:
        session = borrowed(shop, lender, "fails")
        with pytest.raises(EngineError, match="told to fail"):
            session.complete("fail", Sampling(max_tokens=2)).result()
        with pytest.raises(UnsupportedFeature):
            session.engine_for(frozenset({Feature.EMBED}))
        shop.books.refuse = 1
        with pytest.raises(OverCapacity, match="Full") as refused:
            session.complete("ok", Sampling(max_tokens=2)).result()
        assert refused.value.retry_after_s == 2.0
        assert session.complete("ok", Sampling(max_tokens=2)).result()[0].text == "He"
    until(lambda: shop.books.out == 0)


def test_cancelling_frees_the_engine(shop: Shop) -> None:
    with shop.lender() as lender:
        generation = borrowed(shop, lender, "endless").complete("x", Sampling(max_tokens=400))
        next(iter(generation))
        generation.cancel()
        until(lambda: shop.books.out == 0 and shop.pool.loaded()[0].running == 0)


def test_cancelling_before_admission_leaves_nothing(shop: Shop) -> None:
    shop.pool.session("fake")
    with shop.lender() as lender:
        session = borrowed(shop, lender)
        session.engine_for(frozenset({Feature.GENERATE}))
        shop.books.held.clear()
        generation = session.complete("x", Sampling(max_tokens=4))
        generation.cancel()
        time.sleep(0.1)
        shop.books.held.set()
        until(lambda: shop.books.admitted and shop.books.out == 0)
    assert shop.pool.loaded()[0].running == 0


def test_a_borrower_that_goes_takes_its_requests_with_it(shop: Shop) -> None:
    lender = shop.lender()
    running = [borrowed(shop, lender, "endless").complete("x", Sampling(max_tokens=400)) for _ in range(5)]
    until(lambda: shop.books.out == 5)
    lender.close()
    until(lambda: shop.books.out == 0 and shop.pool.loaded()[0].running == 0)
    for generation in running:
        with pytest.raises(ServiceGone):
            generation.result()


def test_a_broker_that_goes_fails_what_waits_and_what_comes(shop: Shop) -> None:
    lender = shop.lender()
    session = borrowed(shop, lender, "endless")
    generation = session.complete("x", Sampling(max_tokens=400))
    shop.broker.close()
    with pytest.raises(ServiceGone):
        generation.result()
    with pytest.raises(ServiceGone):
        session.complete("x", Sampling(max_tokens=4))
    with pytest.raises(ServiceGone):
        borrowed(shop, lender).embed(["x"])
    assert borrow(shop.folder) is None
    assert not (shop.folder / SOCKET).exists()


def test_a_second_server_of_the_home_does_not_take_over(shop: Shop) -> None:
    other = Broker(shop.folder, shop.broker.sessions, shop.broker.admit, shop.broker.meter)
    assert not other.start()
    other.close()
    with shop.lender() as lender:
        assert borrowed(shop, lender).complete("x", Sampling(max_tokens=2)).result()[0].text == "He"


@pytest.mark.parametrize("shares", [False, True])
def test_who_has_much_in_common_gets_an_engine_for_it(shop: Shop, shares: bool) -> None:
    with shop.lender(shares=shares) as lender:
        session = borrowed(shop, lender, "sharing")
        assert (Feature.PREFIX_CACHE in session.engine_for(frozenset({Feature.GENERATE})).features) is shares
        assert session.complete("Hi", Sampling()).result()[0].text == "Hello world."
    [loaded] = shop.pool.loaded()
    assert loaded.for_batches is shares


def nobody(name: str, whose: str, shares: bool) -> Session:
    raise AssertionError(f"{whose} asked for {name}")


def test_a_socket_that_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    with reachable(tmp_path) as address, socket.socket(socket.AF_UNIX) as dead:
        dead.bind(address)
    broker = Broker(tmp_path, nobody, lambda tokens, whose: lambda written: None, lambda *_: None)
    assert borrow(tmp_path) is None and broker.start()
    assert stat.S_IMODE((tmp_path / SOCKET).stat().st_mode) == 0o600
    broker.close()


def test_garbage_ends_the_connection_and_nothing_else(shop: Shop) -> None:
    with reachable(shop.folder) as address, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        sock.sendall(b"\x00\x00\x00\x05hello")
        sock.settimeout(20)
        assert sock.recv(1) == b""
    with shop.lender() as lender:
        assert borrowed(shop, lender).complete("x", Sampling(max_tokens=2)).result()[0].text == "He"


def test_nobody_there(tmp_path: Path) -> None:
    assert borrow(tmp_path / "run") is None
