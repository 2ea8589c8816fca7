"""The `remote` backend: cards whose `extra` names a base_url and a model. Nothing is loaded; the network is used per request."""

from __future__ import annotations

from pathlib import Path

from llmos.engine.base import Availability, Backend, Engine, Feature, LoadOptions, Support, Variant, backends
from llmos.errors import InvalidValue
from llmos.library.base import ModelCard
from llmos.settings import current
from llmos.types import Family

FEATURES = frozenset(
    {
        Feature.TEXT_ONLY,
        Feature.GENERATE,
        Feature.BATCHING,
        Feature.SEED,
        Feature.LOGPROBS,
        Feature.TOP_LOGPROBS,
        Feature.JSON_SCHEMA,
        Feature.LOGIT_BIAS,
        Feature.PENALTIES,
        Feature.EMBED,
    }
)


@backends.register("remote")
class RemoteBackend(Backend):
    """What the OpenAI API has words for, it offers; whether the model behind it obeys is the endpoint's affair."""

    name = "remote"

    def availability(self) -> Availability:
        return Availability(ok=True, version="OpenAI API v1", why="needs nothing but the network")

    def supports(self, card: ModelCard) -> Support:
        if card.family != Family.REMOTE:
            return Support(ok=False, why=f"serves models behind an endpoint; this is a {card.family.value} model in {card.format}")
        return Support(ok=True, why=f"asks {card.extra.get('base_url', card.source)}", features=FEATURES)

    def load(self, card: ModelCard, folder: Path, variant: Variant, options: LoadOptions) -> Engine:
        if not card.extra.get("base_url") or not card.extra.get("model"):
            raise InvalidValue(f"The card {card.ref} does not name its base_url and model.", param="model")
        from llmos.engine.backends.remote.engine import RemoteEngine

        return RemoteEngine(card, current(), features=FEATURES, max_running=options.max_batch)
