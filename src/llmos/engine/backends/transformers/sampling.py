"""From logits to a token. Pure functions on tensors: no model, no state; the caller brings the random number.

Order, as in Hugging Face's generation config: bias is added, penalties are taken, what is not allowed goes, then temperature,
top_k, top_p and min_p narrow the distribution, and `u` in [0, 1) picks from what is left. Log-probabilities that are reported come
from the logits before all of this: they say what the model thinks, not how it was made to choose.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llmos.types import Sampling, TokenLogprob

# V vocabulary, K candidates.
_NUCLEUS_TRY = 256  # top_p is nearly always inside so many tokens; the full sort of a vocabulary costs milliseconds


def choose(
    logits_V: Tensor, sampling: Sampling, u: float, *, prompt: Tensor, output: Tensor, allowed_V: Tensor | None = None
) -> int:
    """One token id. logits_V float32; prompt and output: ids so far, int64; allowed_V: bool, False is impossible.

    Repetition penalty (Keskar et al. 2019) looks at prompt and output, presence and frequency penalty (OpenAI API) at the output.
    """
    logits_V = adjusted(logits_V, sampling, prompt, output, allowed_V)
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    probs_K, ids_K = distribution(logits_V, sampling)
    place = draw(probs_K, u)
    return place if ids_K is None else int(ids_K[place])


def adjusted(logits_V: Tensor, sampling: Sampling, prompt: Tensor, output: Tensor, allowed_V: Tensor | None) -> Tensor:
    """The logits after everything but temperature and narrowing. Returns the input itself when there is nothing to do."""
    if sampling.logit_bias:
        ids = torch.tensor(list(sampling.logit_bias))
        logits_V = logits_V.index_add(0, ids, torch.tensor(list(sampling.logit_bias.values()), dtype=logits_V.dtype))
    if sampling.repetition_penalty != 1.0:
        seen = torch.cat([prompt, output]).unique()
        at = logits_V[seen]
        penalty = sampling.repetition_penalty
        logits_V = logits_V.index_copy(0, seen, torch.where(at > 0, at / penalty, at * penalty))
    if (sampling.presence_penalty or sampling.frequency_penalty) and len(output):
        seen, counts = output.unique(return_counts=True)
        taken = sampling.presence_penalty + sampling.frequency_penalty * counts
        logits_V = logits_V.index_add(0, seen, -taken.to(logits_V.dtype))
    return logits_V if allowed_V is None else logits_V.masked_fill(~allowed_V, -torch.inf)


def distribution(logits_V: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """(probabilities [K] summing to one, their ids [K] best first, or None when K = V in order of id). temperature > 0."""
    scaled_V = logits_V / sampling.temperature
    ids: Tensor | None = None
    if sampling.top_k:
        values, ids = scaled_V.topk(min(sampling.top_k, len(scaled_V)))
        probs = values.softmax(0)
    elif sampling.top_p < 1:
        probs, ids = _head(scaled_V, sampling.top_p)
    else:
        probs = scaled_V.softmax(0)
    keep = torch.ones_like(probs, dtype=torch.bool)
    if sampling.top_p < 1:
        keep = probs.cumsum(0) - probs < sampling.top_p  # the first that reaches the mass stays (Holtzman et al. 2019)
        keep[0] = True
    if sampling.min_p:
        kept = probs * keep
        keep &= probs >= sampling.min_p * kept.max()
    if keep.all():
        return probs, ids
    if ids is None:
        ids = torch.arange(len(probs))
    probs = probs[keep]
    return probs / probs.sum(), ids[keep]


def _head(scaled_V: Tensor, mass: float) -> tuple[Tensor, Tensor]:
    """The most probable tokens, best first, that hold at least `mass`; perhaps more of them."""
    total = scaled_V.logsumexp(0)
    values, ids = scaled_V.topk(min(_NUCLEUS_TRY, len(scaled_V)))
    probs = (values - total).exp()
    if float(probs.sum()) < mass:
        values, ids = scaled_V.sort(descending=True)
        probs = (values - total).exp()
    return probs, ids


def draw(probs_K: Tensor, u: float) -> int:
    """The index whose share of the cumulated probabilities holds u in [0, 1)."""
    cumulated = probs_K.double().cumsum(0)
    place = int(torch.searchsorted(cumulated, float(cumulated[-1]) * u, right=True))
    return min(place, int(probs_K.nonzero()[-1]))


def logprob(logits_V: Tensor, token_id: int, top: int) -> TokenLogprob:
    """The natural-log probability of a token under the untouched logits, and the `top` best."""
    return logprobs(logits_V[None], torch.tensor([token_id]), top)[0]


def logprobs(logits_TV: Tensor, ids_T: Tensor, top: int) -> list[TokenLogprob]:
    """For each of T places, its token's log-probability and the `top` best. Logits in any float type, summed in float32."""
    logp_TV = logits_TV.float().log_softmax(-1)
    chosen = logp_TV.gather(1, ids_T[:, None])[:, 0].tolist()
    if not top:
        return [TokenLogprob(token_id, value) for token_id, value in zip(ids_T.tolist(), chosen, strict=True)]
    values, best = (part.tolist() for part in logp_TV.topk(min(top, logp_TV.shape[1])))
    return [
        TokenLogprob(token_id, value, tuple(zip(ids, alternatives, strict=True)))
        for token_id, value, ids, alternatives in zip(ids_T.tolist(), chosen, best, values, strict=True)
    ]
