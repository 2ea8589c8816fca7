"""Models that read and do not write: sentence encoders, classifiers, taggers and masked language models.

Inputs of similar length share a pass; what a row would need beyond the model's context is an error, never cut off.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmos.engine.backends.transformers.batching import MAX_TOKENS, by_length, padded
from llmos.engine.backends.transformers.loading import config_ids, gathered
from llmos.engine.backends.transformers.thread import ModelThread, tensor_bytes
from llmos.engine.base import Engine, Feature, Handle, LoadOptions, Request
from llmos.engine.turns import Turns
from llmos.errors import ContextLengthExceeded, InvalidValue
from llmos.library.base import ModelCard
from llmos.types import TokenIds

# B rows, T tokens, D width, L labels, M mask tokens, V vocabulary.


class EncoderEngine(Engine):
    """One class for the four kinds; which methods work is decided by `features`."""

    backend = "transformers"

    def __init__(self, card: ModelCard, model: Any, *, variant: str, features: frozenset[Feature], options: LoadOptions) -> None:
        self.card, self.variant, self.features = card, variant, features
        self.context_length = options.context_length
        self.memory_bytes, self.load_s = tensor_bytes(model), 0.0
        self._model = model
        self._pad = config_ids(model, "pad_token_id")
        self._takes_types = "token_type_ids" in inspect.signature(model.forward).parameters
        self._thread = ModelThread(f"transformers {card.name}", options.num_threads, Turns(options.run_folder))
        self.pooling: Callable[[Tensor, Tensor], Tensor] | None = None
        self.mask_id: int | None = None

    def submit(self, request: Request) -> Handle:
        raise self._cannot(Feature.GENERATE)

    def close(self) -> None:
        self._thread.close()
        self._model = None

    # -- the four questions ------------------------------------------------------------------------------------------
    def embed(self, inputs: Sequence[TokenIds]) -> NDArray[np.float32]:
        if Feature.EMBED not in self.features or self.pooling is None:
            raise self._cannot(Feature.EMBED)
        pooling = self.pooling

        def pool(ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
            return pooling(self._forward(ids, mask, types).last_hidden_state.float(), mask.bool())

        rows = self._run([(ids, (0,) * len(ids)) for ids in inputs], pool)
        return torch.stack(rows).numpy() if rows else np.zeros((0, self.card.embedding_dim), np.float32)

    def classify(self, inputs: Sequence[tuple[TokenIds, TokenIds]]) -> NDArray[np.float32]:
        if Feature.CLASSIFY not in self.features:
            raise self._cannot(Feature.CLASSIFY)
        rows = self._run(inputs, lambda ids, mask, types: self._forward(ids, mask, types).logits.float(), alone=not self._pad)
        return torch.stack(rows).numpy() if rows else np.zeros((0, self._model.config.num_labels), np.float32)

    def tag(self, inputs: Sequence[TokenIds]) -> list[NDArray[np.float32]]:
        if Feature.TAG not in self.features:
            raise self._cannot(Feature.TAG)
        pairs = [(ids, (0,) * len(ids)) for ids in inputs]
        rows = self._run(pairs, lambda ids, mask, types: self._forward(ids, mask, types).logits.float())
        return [row_TL[: len(ids)].numpy() for row_TL, ids in zip(rows, inputs, strict=True)]

    def fill_mask(self, inputs: Sequence[TokenIds], candidates: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        if Feature.FILL_MASK not in self.features or self.mask_id is None:
            raise self._cannot(Feature.FILL_MASK)
        for number, ids in enumerate(inputs):
            if self.mask_id not in ids:
                raise InvalidValue(f"Input {number} holds no mask token (id {self.mask_id}).", param="inputs")
        wanted = None if candidates is None else torch.tensor(list(candidates))

        def fill(ids: Tensor, mask: Tensor, types: Tensor) -> list[Tensor]:
            places = ids == self.mask_id
            with gathered(self._model, places):
                logp_MV = self._forward(ids, mask, types).logits.float().log_softmax(-1)
            chosen = logp_MV if wanted is None else logp_MV[:, wanted]
            return list(chosen.split(places.sum(1).tolist()))

        return [row.numpy() for row in self._run([(ids, (0,) * len(ids)) for ids in inputs], fill)]

    # -- passes ------------------------------------------------------------------------------------------------------
    def _run(
        self,
        inputs: Sequence[tuple[TokenIds, TokenIds]],
        batch: Callable[[Tensor, Tensor, Tensor], Sequence[Tensor] | Tensor],
        *,
        alone: bool = False,
    ) -> list[Tensor]:
        """One tensor an input, in order. `alone`: a row a pass, for models that find their last token by a padding id they lack."""
        self._check(inputs)
        lengths = [len(ids) for ids, _ in inputs]
        results: dict[int, Tensor] = {}
        for group in by_length(lengths, 1 if alone else MAX_TOKENS):
            ids = torch.tensor(padded([inputs[i][0] for i in group], (*self._pad, 0)[0]))
            types = torch.tensor(padded([inputs[i][1] for i in group], 0))
            mask = torch.tensor(padded([[1] * lengths[i] for i in group], 0))
            rows = self._thread.call(lambda ids=ids, mask=mask, types=types: list(batch(ids, mask, types)))  # type: ignore[misc]
            results.update(zip(group, rows, strict=True))
        return [results[i] for i in range(len(inputs))]

    def _check(self, inputs: Sequence[tuple[TokenIds, TokenIds]]) -> None:
        for number, (ids, _) in enumerate(inputs):
            if not ids:
                raise InvalidValue(f"Input {number} holds no tokens.", param="inputs")
            if len(ids) > self.context_length:
                raise ContextLengthExceeded(
                    f"Input {number} has {len(ids)} tokens, the model reads {self.context_length} at once.",
                    param="inputs",
                    hint="Split the text, or choose a model with a longer context.",
                )

    def _forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Any:
        extra = {"token_type_ids": types} if self._takes_types else {}
        return self._model(input_ids=ids, attention_mask=mask, **extra)


def load_encoder(
    card: ModelCard, folder: Path, model: Any, *, variant: str, features: frozenset[Feature], options: LoadOptions
) -> Engine:
    """Adds what the kind needs beside the weights: the pooling of an encoder, the mask token of a masked model."""
    engine = EncoderEngine(card, model, variant=variant, features=features, options=options)
    if Feature.EMBED in features:
        from llmos.engine.backends.transformers.pooling import load_pooling

        engine.pooling = load_pooling(folder)
    if Feature.FILL_MASK in features:
        from llmos.text.load import load_tokenizer

        engine.mask_id = load_tokenizer(folder).special.mask
    return engine
