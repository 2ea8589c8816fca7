"""One remote model: each request is a streamed HTTP call on a thread of its own; cancelling closes its connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmos.engine.backends.remote import body
from llmos.engine.backends.remote.events import Events
from llmos.engine.base import Chunk, Engine, Feature, Handle, Request
from llmos.errors import EngineError, InvalidValue, LLMOSError, NotFound, OverCapacity, RateLimited, SourceError, SourceStatus
from llmos.infra.fetch import Fetcher
from llmos.library.base import ModelCard
from llmos.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmos.infra.lines import LineStream

SILENCE_S = 300.0  # the longest an endpoint may say nothing


class RemoteEngine(Engine):
    """Thread-safe. The key of the settings goes to the endpoint of the settings and to no other."""

    backend, variant = "remote", "default"
    memory_bytes, load_s, context_length = 0, 0.0, 0

    def __init__(
        self,
        card: ModelCard,
        settings: Settings,
        *,
        features: frozenset[Feature],
        max_running: int,
        fetcher: Fetcher | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.card, self.features, self._max_running = card, features, max_running
        self._base_url, self._model = card.extra["base_url"].rstrip("/"), card.extra["model"]
        self._fetcher = fetcher or Fetcher(settings)
        self._headers = _own_key(settings, self._base_url) if headers is None else dict(headers)
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()
        self._closed = False

    def body(self, request: Request) -> tuple[str, dict[str, Any]]:
        """(path below the base URL, JSON body). Raises UnsupportedFeature for what the endpoint has no word for."""
        return body.build(request, self._model, self._base_url)

    def translated(self, problem: LLMOSError) -> LLMOSError:
        """What an error of the endpoint means for the one who asked."""
        return _translated(problem, self._model)

    def submit(self, request: Request) -> Handle:
        call = _Call(request)
        try:
            path, content = self.body(request)
            if not request.messages and request.text is None:
                raise InvalidValue("A remote model reads text or messages, not token ids.", param="prompt")
            with self._lock:
                if self._closed:
                    raise EngineError("The engine is closed.", hint="Load the model again.")
                if len(self._calls) >= self._max_running:
                    raise OverCapacity(f"{self._max_running} requests to {self.card.ref} are running.", retry_after_s=1)
                self._calls.add(call)
        except LLMOSError as problem:
            call.handle.fail(problem)
            return call.handle
        threading.Thread(target=self._serve, args=(call, path, content), name=f"remote {self._model}", daemon=True).start()
        return call.handle

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N, D], as the endpoint's /embeddings gives them. It takes texts, because the endpoint's tokens are not known here."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.card.embedding_dim), np.float32)
        try:
            answer = self._fetcher.post_json(
                f"{self._base_url}/embeddings", {"model": self._model, "input": list(texts)}, self._headers, SILENCE_S
            )
        except LLMOSError as problem:
            raise self.translated(problem) from problem
        rows = sorted(answer.get("data") or (), key=lambda row: row["index"]) if isinstance(answer, dict) else []
        if len(rows) != len(texts):
            raise SourceError(f"The endpoint answers {len(texts)} texts with {len(rows)} vectors.")
        return np.array([row["embedding"] for row in rows], dtype=np.float32)

    def running(self) -> int:
        with self._lock:
            return len(self._calls)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            calls = list(self._calls)
        for call in calls:
            call.handle.cancel()
        self._fetcher.close()

    def _serve(self, call: _Call, path: str, content: dict[str, Any]) -> None:
        request = call.handle.request
        left_s = SILENCE_S if request.deadline is None else min(SILENCE_S, max(request.deadline - time.monotonic(), 0.001))
        try:
            with self._fetcher.stream_lines("POST", self._base_url + path, content, self._headers, timeout_s=left_s) as lines:
                call.attach(lines)
                for chunk in Events(request.sampling.n).chunks(lines):
                    call.push(chunk)
            call.end(None)
        except LLMOSError as problem:
            call.end(self.translated(problem))
        except Exception as problem:  # noqa: BLE001 - an answer of a strange shape ends this request, never silently
            call.end(SourceError(f"The endpoint's answer cannot be understood: {type(problem).__name__}: {problem}"))
        finally:
            with self._lock:
                self._calls.discard(call)


class _Call:
    """A request on its way. A cancel ends it for the caller at once, and for the endpoint as soon as there is a connection."""

    def __init__(self, request: Request) -> None:
        self.handle = Handle(request, on_cancel=self._cancel)
        self._lock = threading.Lock()
        self._lines: LineStream | None = None
        self._open = set(range(request.sampling.n))
        self._ended = False

    def attach(self, lines: LineStream) -> None:
        with self._lock:
            self._lines = lines
            cancelled = self._ended
        if cancelled:
            lines.close()

    def push(self, chunk: Chunk) -> None:
        with self._lock:
            if self._ended:
                return
            if chunk.finish_reason:
                self._open.discard(chunk.index)
            self.handle.push(chunk)

    def end(self, error: LLMOSError | None) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            if error is None:
                self.handle.close()
            else:
                self.handle.fail(error)

    def _cancel(self) -> None:
        with self._lock:
            lines, ended, self._ended = self._lines, self._ended, True
            if not ended:
                for index in sorted(self._open):
                    self.handle.push(Chunk(index=index, finish_reason="cancelled"))
                self.handle.close()
        if lines is not None:
            lines.close()


def _own_key(settings: Settings, base_url: str) -> dict[str, str]:
    own = settings.openai_base_url is not None and _origin(settings.openai_base_url) == _origin(base_url)
    return {"authorization": f"Bearer {settings.openai_api_key}"} if own and settings.openai_api_key else {}


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _translated(problem: LLMOSError, model: str) -> LLMOSError:
    """What a status of the endpoint means for the one who asked."""
    if isinstance(problem, NotFound):
        hint = f"It may not know the model {model!r}, or not serve this kind of request: try a chat instead of a completion."
        return NotFound(problem.message, param="model", hint=hint)
    if not isinstance(problem, SourceStatus):
        return problem
    if problem.status in (400, 413, 422):
        return InvalidValue(problem.message)
    if problem.status == 429:
        return RateLimited(problem.message, retry_after_s=problem.retry_after_s)
    if problem.status in (401, 403):
        return SourceError(problem.message, hint="Check OPENAI_API_KEY and OPENAI_BASE_URL.")
    return problem
