"""The base of every request body: a field is honoured, or refused by its name with the reason; none is ignored.

    class ChatBody(Body):
        refused = {"audio": "the models here write text"}

`refused` lists documented fields that LLMOS does not serve. An explicit null counts as absent, as it does at OpenAI.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from llmos.errors import InvalidValue, UnsupportedFeature

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32

# Fields that would let a request reach code, files or other hosts. Refused on every route.
DANGEROUS = {
    "chat_template": "a template comes with its model, never from a request",
    "prompt_embeds": "embeddings as input are not accepted",
    "api_base": "the server decides where a model runs",
    "base_url": "the server decides where a model runs",
    "api_key": "keys belong in the Authorization header",
    "trust_remote_code": "code from a model is never run",
    "model_path": "a model is asked for by its name",
    "lora_path": "an adapter is asked for by its name",
}


class Body(BaseModel):
    """A JSON object whose unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")

    refused: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for name, why in (DANGEROUS | cls.refused).items():
            if name in cls.model_fields:
                continue
            if data.get(name) is not None:
                raise PydanticCustomError("refused", "The field '{field}' is not served: {why}.", {"field": name, "why": why})
        return {name: value for name, value in data.items() if value is not None}


def only(name: str, value: Any, accepted: tuple[Any, ...], why: str) -> None:
    """For a field with one meaning here: any other value is refused by name."""
    if value is not None and value not in accepted:
        listed = " or ".join(json.dumps(item) for item in accepted)
        raise UnsupportedFeature(f"{name} is {json.dumps(value)}; only {listed} is served here: {why}.", param=name)


def checked_schema(schema: dict[str, Any], param: str) -> dict[str, Any]:
    """Caps of a JSON schema: 64 KB, depth 32."""
    size = len(json.dumps(schema))
    if size > MAX_SCHEMA_BYTES:
        raise InvalidValue(f"The schema has {size} bytes; at most {MAX_SCHEMA_BYTES} are accepted.", param=param)
    depth, level = 0, [schema]
    while level:
        depth += 1
        if depth > MAX_SCHEMA_DEPTH:
            raise InvalidValue(f"The schema is nested deeper than {MAX_SCHEMA_DEPTH} levels.", param=param)
        level = [child for node in level for child in _children(node)]
    return schema


def _children(node: Any) -> list[Any]:
    values = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return [value for value in values if isinstance(value, dict | list)]
