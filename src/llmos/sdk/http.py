"""The transport to a server: the same methods through the server's documented routes, errors included.

Generation goes through the remote engine and a Session without a tokenizer, exactly as a model behind any OpenAI-compatible endpoint
does; what LLMOS adds to that API (top_k, regex, …) is added to the body here. Everything else is one request, one answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from llmos import errors
from llmos.engine.base import Engine, Feature, Request
from llmos.engine.choice import Work
from llmos.engine.session import FixedEngine, Session
from llmos.errors import LLMOSError, Unreachable
from llmos.library.aliases import AliasMove
from llmos.library.base import ModelCard, Progress
from llmos.library.janitor import FileVerdict, GcReport
from llmos.sdk.annotations_http import HTTPAnnotations
from llmos.sdk.base import Labels, LongInput, Opened, Ranked, Scored, Transport
from llmos.sdk.data_http import HTTPData
from llmos.sdk.jobs_http import HTTPJobs
from llmos.sdk.status import Status
from llmos.sdk.text import Answer
from llmos.settings import Settings
from llmos.types import Family, Message, Prediction, Sampling, Tool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BY_CODE = {kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LLMOSError)}
_EXTRA_FIELDS = ("top_k", "min_p", "repetition_penalty", "ignore_eos")


class HTTPTransport(Transport):
    """One connection pool. Raises what the server raised, as the same class."""

    def __init__(self, url: str, api_key: str | None, settings: Settings, notify: Callable[[str], None]) -> None:
        self.url = url.rstrip("/")
        self._settings, self._notify = settings, notify
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(base_url=self.url, headers=self._headers, timeout=httpx.Timeout(settings.request_deadline_s))
        self._jobs = HTTPJobs(self._client, self._call, _error)
        self._annotations = HTTPAnnotations(self._call, self._streamed, self._uploaded)
        self._data = HTTPData(self._call, self._streamed, self._jobs)
        self._engines: dict[str, Engine] = {}
        self._told: set[str] = set()

    def open(self, name: str, *, engine: str | None, progress: Callable[[Progress], None] | None) -> Opened:
        self._pulled(name, progress)
        found = self._call("POST", "/api/v1/loaded", {"name": name, "engine": engine})
        notice = found.get("notice", "")
        if notice and notice not in self._told:
            self._told.add(notice)
            self._notify(notice)
        return Opened(card=_card(found["card"]), requested=name, notice=notice, chats=found["chats"])

    # -- writing -----------------------------------------------------------------------------------------------------
    def complete(
        self, model: str, prompt: str, sampling: Sampling, *, timeout_s: float | None, work: Work = "decode", stream: bool = True
    ) -> Answer:
        """`work` is not sent: the server sees the requests of all its clients and decides itself."""
        return self._session(model).complete(prompt, sampling, deadline_s=timeout_s, stream=stream)

    def chat(
        self, model: str, messages: Sequence[Message], sampling: Sampling, *, tools: Sequence[Tool], tool_choice: str,
        timeout_s: float | None, work: Work = "decode", stream: bool = True,
    ) -> Answer:  # fmt: skip
        """`work` is not sent, as in `complete`."""
        session = self._session(model)
        return session.chat(messages, sampling, tools=tools, tool_choice=tool_choice, deadline_s=timeout_s, stream=stream)

    def _session(self, model: str) -> Session:
        if model not in self._engines:
            self._engines[model] = _server_engine(self.url, model, self._headers, self._settings)
        engine = self._engines[model]
        return Session(card=engine.card, engines=FixedEngine(engine), tokenizer=None, requested=model)

    # -- everything else ---------------------------------------------------------------------------------------------
    def predict(
        self, model: str, texts: Sequence[str], labels: Labels, *, multi_label: bool, threshold: float, template: str | None
    ) -> list[Prediction]:
        given = dict(labels) if isinstance(labels, dict) else list(labels)
        body = {"input": list(texts), "labels": given, "multi_label": multi_label, "threshold": threshold, "template": template}
        return msgspec.convert(self._call("POST", "/api/v1/predict", {"model": model, **body})["predictions"], list[Prediction])

    def translate(self, model: str, texts: Sequence[str], target: str, source: str | None, sampling: Sampling) -> list[str]:
        body = {"target_language": target, "source_language": source, **_task_fields(sampling)}
        return list(self._call("POST", "/api/v1/translate", {"model": model, "input": list(texts), **body})["texts"])

    def summarize(self, model: str, texts: Sequence[str], sampling: Sampling) -> list[str]:
        body = {"model": model, "input": list(texts), **_task_fields(sampling)}
        return list(self._call("POST", "/api/v1/summarize", body)["texts"])

    def embed(self, model: str, texts: Sequence[str], *, long: LongInput) -> NDArray[np.float32]:
        import numpy as np

        answer = self._call("POST", "/v1/embeddings", {"model": model, "input": list(texts), "long": long})
        return np.array([row["embedding"] for row in answer["data"]], dtype=np.float32)

    def rerank(self, model: str, query: str, documents: Sequence[str], top_n: int | None) -> list[Ranked]:
        body = {"model": model, "query": query, "documents": list(documents), "top_n": top_n}
        found = self._call("POST", "/v1/rerank", body)["results"]
        return [Ranked(index=row["index"], document=documents[row["index"]], score=row["relevance_score"]) for row in found]

    def score(self, model: str, prompt: str, continuations: Sequence[str]) -> list[Scored]:
        body = {"model": model, "prompt": prompt, "continuations": list(continuations)}
        found = self._call("POST", "/v1/score", body)["data"]
        return [
            Scored(continuation=text, logprob=row["logprob"], num_tokens=row["num_tokens"])
            for text, row in zip(continuations, found, strict=True)
        ]

    def tokenize(self, model: str, text: str) -> list[int]:
        answer = self._call("POST", "/v1/tokenize", {"model": model, "prompt": text, "add_special_tokens": False})
        return list(answer["tokens"])

    def detokenize(self, model: str, ids: Sequence[int]) -> str:
        return str(self._call("POST", "/v1/detokenize", {"model": model, "tokens": list(ids)})["prompt"])

    # -- the library -------------------------------------------------------------------------------------------------
    def pull(self, name: str, *, accept_licence: bool, progress: Callable[[Progress], None] | None) -> ModelCard:
        body = {"name": name, "accept_licence": accept_licence, "stream": True}
        with self._guard(), self._client.stream("POST", "/api/v1/models/pull", json=body, timeout=None) as answer:
            if answer.is_error:
                answer.read()
                raise _error(answer.status_code, answer.text)
            for line in answer.iter_lines():
                report = json.loads(line)
                if "card" in report:
                    return _card(report["card"])
                if "error" in report:
                    raise _error(0, line)
                if progress:
                    progress(msgspec.convert(report, Progress))
        raise Unreachable(f"The server at {self.url} ended the download without a result.", hint="Try again; it goes on.")

    def _pulled(self, name: str, progress: Callable[[Progress], None] | None) -> None:
        """Downloads when the server does not have the model yet: its other routes never do."""
        try:
            self.show(name)
        except errors.NotFound:
            self.pull(name, accept_licence=False, progress=progress)

    def models(self) -> list[ModelCard]:
        return [_card(row) for row in self._call("GET", "/api/v1/models")["models"]]

    def show(self, name: str) -> ModelCard:
        return _card(self._call("GET", f"/api/v1/models/{name}"))

    def remove(self, name: str) -> None:
        self._call("DELETE", f"/api/v1/models/{name}")

    def set_alias(self, name: str, target: str, reason: str) -> None:
        self._call("PUT", f"/api/v1/aliases/{name}", {"target": target, "reason": reason})

    def remove_alias(self, name: str, reason: str) -> None:
        self._call("DELETE", f"/api/v1/aliases/{name}")

    def rollback_alias(self, name: str) -> str:
        return str(self._call("POST", f"/api/v1/aliases/{name}/rollback", {})["target"])

    def alias_history(self, name: str) -> list[AliasMove]:
        return msgspec.convert(self._call("GET", f"/api/v1/aliases/{name}/history")["history"], list[AliasMove])

    def import_model(self, path: str, name: str | None) -> ModelCard:
        raise errors.UnsupportedFeature(
            "A server imports no files of its disk for a client.",
            param="path",
            hint="Run `llmos import` on that machine.",
        )

    def verify(self, name: str) -> list[FileVerdict]:
        return msgspec.convert(self._call("POST", "/api/v1/models/verify", {"name": name})["files"], list[FileVerdict])

    def gc(self, *, dry_run: bool) -> GcReport:
        return msgspec.convert(self._call("POST", "/api/v1/models/gc", {"dry_run": dry_run}), GcReport)

    def aliases(self) -> dict[str, str]:
        return dict(self._call("GET", "/api/v1/aliases")["aliases"])

    def loaded(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "/api/v1/loaded")["loaded"])

    def unload(self, name: str) -> None:
        self._call("DELETE", f"/api/v1/loaded/{name}")

    # -- the kernel --------------------------------------------------------------------------------------------------
    @property
    def jobs(self) -> HTTPJobs:
        return self._jobs

    @property
    def annotations(self) -> HTTPAnnotations:
        return self._annotations

    @property
    def data(self) -> HTTPData:
        return self._data

    def status(self) -> Status:
        found = self._call("GET", "/api/v1/status")
        found["jobs"] = [{"beat": 0, **row} for row in found["jobs"]]
        return msgspec.convert(found, Status)

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
        self._client.close()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None, *, params: Any = None) -> Any:
        with self._guard():
            answer = self._client.request(method, path, json=body, params=params)
        if answer.is_error:
            raise _error(answer.status_code, answer.text)
        return answer.json()

    def _streamed(self, path: str, params: Mapping[str, Any]) -> Iterator[bytes]:
        """The body of an answer, as it comes."""
        with self._guard(), self._client.stream("GET", path, params=dict(params)) as answer:
            if answer.is_error:
                answer.read()
                raise _error(answer.status_code, answer.text)
            yield from answer.iter_bytes()

    def _uploaded(self, path: Path) -> str:
        """The id of a file of this machine on the server."""
        with self._guard(), path.open("rb") as file:
            answer = self._client.post("/v1/files", data={"purpose": "user_data"}, files={"file": (path.name, file)})
        if answer.is_error:
            raise _error(answer.status_code, answer.text)
        return str(answer.json()["id"])

    def _guard(self) -> _Guard:
        return _Guard(self.url)


class _Guard:
    """Turns httpx's errors into ours."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, value: BaseException | None, traceback: object) -> None:
        if isinstance(value, httpx.TimeoutException):
            raise errors.DeadlineExceeded(f"The server at {self._url} did not answer in time.") from value
        if isinstance(value, httpx.HTTPError):
            hint = "Is it running? Start it with: llmos serve"
            raise Unreachable(f"The server at {self._url} cannot be reached: {value}.", hint=hint) from value


def _error(status: int, text: str) -> LLMOSError:
    """The server's error as the class it was there."""
    try:
        found = json.loads(text)["error"]
        kind = _BY_CODE.get(found["code"], LLMOSError)
        message, param = str(found["message"]), found.get("param")
    except (ValueError, KeyError, TypeError):
        return errors.SourceError(f"The server answered {status}: {text[:200]!r}")
    if kind is errors.MissingExtra:
        return errors.UnsupportedFeature(message, param=param)
    return kind(message, param=param)


def _card(found: dict[str, Any]) -> ModelCard:
    return msgspec.convert(found, ModelCard)


def _task_fields(sampling: Sampling) -> dict[str, Any]:
    """The fields of translate and summarize that differ from their defaults."""
    plain = msgspec.to_builtins(sampling)
    default = msgspec.to_builtins(Sampling(temperature=0.0))
    kept = {name: value for name, value in plain.items() if value != default[name] and name not in ("constraint", "num_beams")}
    if sampling.constraint is not None or sampling.num_beams != 1:
        raise errors.UnsupportedFeature("A constraint or num_beams cannot be sent to a server's translate or summarize route.")
    return kept


def _server_engine(url: str, model: str, headers: dict[str, str], settings: Settings) -> Engine:
    from llmos.engine.backends.remote.backend import FEATURES
    from llmos.engine.backends.remote.engine import RemoteEngine
    from llmos.infra.fetch import Fetcher

    class ServerEngine(RemoteEngine):
        """A remote engine that also speaks LLMOS's own words."""

        variant = "llmos"

        def body(self, request: Request) -> tuple[str, dict[str, Any]]:
            sampling = request.sampling
            constraint = sampling.constraint
            own = {name: getattr(sampling, name) for name in _EXTRA_FIELDS if getattr(sampling, name) != getattr(Sampling(), name)}
            if constraint is not None and constraint.kind in ("regex", "grammar"):
                own[constraint.kind] = constraint.value
            path, body = super().body(_openai_part(request))
            return path, body | own

        def translated(self, problem: LLMOSError) -> LLMOSError:
            return _error(problem.status, problem.body) if isinstance(problem, errors.SourceStatus) else problem

    added = {Feature.REGEX, Feature.GRAMMAR, Feature.MIN_P, Feature.IGNORE_EOS}
    card = ModelCard(
        name=model, version="", family=Family.REMOTE, format="remote", architecture="", files=(), source=url,
        extra={"base_url": f"{url}/v1", "model": model},
    )  # fmt: skip
    fetcher = Fetcher(settings, trusted_origins=(url,))
    return ServerEngine(card, settings, features=FEATURES | added, max_running=256, fetcher=fetcher, headers=headers)


def _openai_part(request: Request) -> Request:
    """The request without what the OpenAI API has no word for."""
    from dataclasses import replace

    default = Sampling()
    sampling = replace(request.sampling, **{name: getattr(default, name) for name in _EXTRA_FIELDS})
    if sampling.constraint is not None and sampling.constraint.kind in ("regex", "grammar"):
        sampling = replace(sampling, constraint=None)
    return replace(request, sampling=sampling)
