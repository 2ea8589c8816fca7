"""The request fields that shape an answer, shared by chat, completions, responses and the adapters, and their way into Sampling.

Ranges and meanings are those of the OpenAI API; top_k, min_p, repetition_penalty, ignore_eos, num_beams, regex and grammar are additions
that other servers know under the same names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from llmos.errors import InvalidValue
from llmos.server.fields import Body, checked_schema
from llmos.types import Constraint, Sampling

MAX_N = 16
MAX_STOP = 16
MAX_TOP_LOGPROBS = 20
Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class SamplingBody(Body):
    """Fields of everything that generates."""

    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    min_p: float = Field(0.0, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    repetition_penalty: float = Field(1.0, ge=0.01, le=10)
    logit_bias: dict[str, float] = Field(default_factory=dict, max_length=1024)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stop | list[Stop] = Field(default_factory=list)
    n: int = Field(1, ge=1, le=MAX_N)
    ignore_eos: bool = False
    num_beams: int = Field(1, ge=1, le=16)
    regex: str | None = Field(None, max_length=4096)
    grammar: str | None = Field(None, max_length=65536)

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, list) and len(value) > MAX_STOP:
            raise ValueError(f"{len(value)} stop texts; at most {MAX_STOP} are accepted")
        return value

    @field_validator("logit_bias")
    @classmethod
    def _bias(cls, value: dict[str, float]) -> dict[str, float]:
        for token, bias in value.items():
            if not token.isdigit():
                raise ValueError(f"{token!r} is not a token id")
            if not -100 <= bias <= 100:
                raise ValueError(f"the bias of token {token} is {bias}; it must be from -100 to 100")
        return value

    def sampling(
        self, *, max_tokens: int | None, logprobs: int | None, constraint: Constraint | None = None, n: int | None = None
    ) -> Sampling:
        """Raises InvalidValue when two constraints exclude each other."""
        given = [("response_format", constraint)] if constraint else []
        if self.regex is not None:
            given.append(("regex", Constraint(kind="regex", value=self.regex)))
        if self.grammar is not None:
            given.append(("grammar", Constraint(kind="grammar", value=self.grammar)))
        if len(given) > 1:
            raise InvalidValue(f"{given[0][0]} and {given[1][0]} exclude each other.", param=given[1][0], hint="Keep one.")
        return Sampling(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias={int(token): bias for token, bias in self.logit_bias.items()},
            logprobs=logprobs,
            n=self.n if n is None else n,
            ignore_eos=self.ignore_eos,
            num_beams=self.num_beams,
            constraint=given[0][1] if given else None,
        )


class StreamOptions(Body):
    """include_usage adds a last chunk with the usage. Obfuscation is padding for OpenAI's own network and is not offered."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class JSONSchema(Body):
    """strict is always kept: the output cannot leave the schema. description is for the model and is put into the schema."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    description: str | None = None
    strict: bool = True


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchema | None = None

    def constraint(self) -> Constraint | None:
        if self.type == "text":
            return None
        if self.type == "json_object":
            return Constraint(kind="json_object")
        if self.json_schema is None:
            raise InvalidValue("response_format.json_schema is missing.", param="response_format.json_schema")
        schema = checked_schema(self.json_schema.schema_, "response_format.json_schema.schema")
        if self.json_schema.description is not None:
            schema = {"description": self.json_schema.description, **schema}
        return Constraint(kind="json_schema", value=schema)
