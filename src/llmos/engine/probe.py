"""What one engine can do with one model on this machine, measured in a few seconds, and whether its output is right.

    sample(engine, tokenizer) -> Sample (speeds, greedy tokens with their log-probabilities)
    agreement(sample, reference) -> (bool, why)

Tolerance: engines round differently (int8 or bf16 activations), so equal means: greedy answers are the same until a near tie
(where they part, the candidate's token is within MAX_TIE nats of the reference's best), at least MIN_EQUAL of all tokens come
before, and the mean absolute difference of their log-probabilities is at most MAX_LOGPROB_DIFF nats. Vectors and logits of
encoders: cosine of at least MIN_COSINE.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmos.engine.base import Chunk, Engine, Feature, Handle, Request
from llmos.errors import EngineError, LLMOSError
from llmos.text.base import Tokenizer
from llmos.types import Family, Sampling, TokenIds, TokenLogprob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_LOGPROB_DIFF = 0.25
MAX_TIE = 1.0
MIN_EQUAL = 0.25
MIN_COSINE = 0.99
PHASE_S = 1.5  # for each of answering, reading, writing one, writing eight: cut off then, and what was done counts
BATCH = 8
TOLERANCE = (
    f"greedy tokens the same up to a tie of {MAX_TIE} nats and at least {MIN_EQUAL:.0%} of them, their log-probabilities within "
    f"{MAX_LOGPROB_DIFF} nats on average; encoders: cosine of {MIN_COSINE}"
)

TEXT = (
    "The library of the town stood between the river and the old market. Every morning the doors opened at nine, and the first "
    "readers were already waiting on the steps with their bags and newspapers. Inside it was quiet and warm. The long tables by the "
    "windows were the favourite places, because the light fell on the pages from the left and one could see the boats go by. "
    "A computer is a machine that follows instructions. It reads numbers, changes them, and writes them back. What makes it useful is "
    "that the instructions are numbers too, so that one machine can do the work of many. In 1936 Alan Turing described such a machine "
    "on paper, long before it could be built. Water boils at one hundred degrees Celsius at sea level, and at less on a mountain, "
    "because the air presses less. The capital of France is Paris, the capital of Italy is Rome, and the capital of Japan is Tokyo. "
    "Two and two are four, four and four are eight, and eight and eight are sixteen."
)
QUESTIONS = ("The capital of France is", "Once upon a time there was a", "Water boils at")


@dataclass(slots=True, kw_only=True)
class Sample:
    """What was seen. Speeds in tokens/s, 0.0 where the family has no such work. greedy: the answers to QUESTIONS."""

    prefill_tok_s: float = 0.0
    decode_tok_s: float = 0.0
    batch_tok_s: float = 0.0
    greedy: list[list[TokenLogprob]] = field(default_factory=list)
    vectors: NDArray[np.float32] | None = None


def sample(engine: Engine, tokenizer: Tokenizer) -> Sample:
    """Runs the engine for some seconds. Raises what the engine raises."""
    if engine.card.family in (Family.CAUSAL, Family.SEQ2SEQ):
        return _sample_writer(engine, tokenizer)
    return _sample_reader(engine, tokenizer)


def agreement(seen: Sample, reference: Sample) -> tuple[bool, str]:
    """Whether the outputs are equal within TOLERANCE, and the figure that decides."""
    if seen.vectors is not None and reference.vectors is not None:
        cosine = _cosine(seen.vectors, reference.vectors)
        return cosine >= MIN_COSINE, f"lowest cosine {cosine:.4f}"
    same: list[tuple[TokenLogprob, TokenLogprob]] = []
    for ours, theirs in zip(seen.greedy, reference.greedy, strict=True):
        pairs = list(zip(ours, theirs, strict=False))
        parted = next((place for place, (a, b) in enumerate(pairs) if a.token_id != b.token_id), len(pairs))
        same += pairs[:parted]
        if parted < len(pairs) and not _tie(ours[parted].token_id, theirs[parted]):
            return False, f"a greedy answer parts at token {parted + 1}, which is no tie"
    total = sum(map(min, map(len, seen.greedy), map(len, reference.greedy)))
    equal = f"{len(same)} of {total} greedy tokens equal, the rest after ties"
    if len(same) < MIN_EQUAL * total:
        return False, f"only {equal}"
    known = [abs(a.logprob - b.logprob) for a, b in same if a.logprob and b.logprob]  # 0.0: an engine that does not tell
    if not known:
        return True, equal
    diff = sum(known) / len(known)
    return diff <= MAX_LOGPROB_DIFF, f"{equal}; their log-probabilities differ by {diff:.3f} nats on average"


def _tie(token: int, reference: TokenLogprob) -> bool:
    """Whether the reference found `token` nearly as likely as its own. Without alternatives its own probability decides:
    below a half another token may have been as likely."""
    gaps = [reference.logprob - logprob for other, logprob in reference.top if other == token]
    if reference.top:
        return bool(gaps) and min(gaps) <= MAX_TIE
    return reference.logprob < -0.69


def _cosine(ours: Any, theirs: Any) -> float:
    import numpy as np

    if ours.shape != theirs.shape:
        return -1.0
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(axis=1) / np.maximum(norms, 1e-12)).min())


# -- models that write -------------------------------------------------------------------------------------------------
def _sample_writer(engine: Engine, tokenizer: Tokenizer) -> Sample:
    ids = tokenizer.encode(TEXT)
    questions = [tokenizer.encode(text, add_special=True) for text in QUESTIONS]
    _write(engine, [questions[0]], max_tokens=2)  # warm
    out = Sample()
    until = time.monotonic() + PHASE_S
    out.greedy = [_greedy(engine, question, until) for question in questions]
    out.prefill_tok_s = _prefill_speed(engine, ids)
    out.decode_tok_s = _write(engine, [ids[3:19]], max_tokens=48)
    out.batch_tok_s = _write(engine, [ids[start : start + 16] for start in range(BATCH)], max_tokens=24)
    return out


def _greedy(engine: Engine, prompt: TokenIds, until: float) -> list[TokenLogprob]:
    """Twelve tokens, or fewer (but one) when the time is over."""
    top = 5 if Feature.TOP_LOGPROBS in engine.features else 0
    sampling = Sampling(max_tokens=12, temperature=0.0, logprobs=top if Feature.LOGPROBS in engine.features else None)
    tokens: list[TokenLogprob] = []
    handle = engine.submit(_request(prompt, sampling))
    for chunk in handle:
        tokens += chunk.logprobs or [TokenLogprob(token, 0.0) for token in chunk.token_ids]
        if tokens and time.monotonic() > until:
            handle.cancel()
    return tokens


def _prefill_speed(engine: Engine, ids: TokenIds) -> float:
    """Tokens/s of reading. First a short prompt; then, unless that took all of PHASE_S, one as long as PHASE_S allows, that
    shares no prefix with the first."""
    speed = _read_once(engine, ids[1:65])
    if speed * PHASE_S < 64:
        return speed
    num = int(max(64, min(speed * PHASE_S, 512, engine.context_length - 8)))
    long = (ids[::-1] * (num // len(ids) + 1))[:num]
    return _read_once(engine, long)


def _read_once(engine: Engine, ids: TokenIds) -> float:
    started = time.monotonic()
    for _ in engine.submit(_request(ids, Sampling(max_tokens=1, temperature=0.0))):
        pass
    return len(ids) / (time.monotonic() - started)


def _write(engine: Engine, prompts: Sequence[TokenIds], *, max_tokens: int) -> float:
    """Tokens/s of all answers together, cut off after PHASE_S."""
    ignore = Feature.IGNORE_EOS in engine.features
    sampling = Sampling(max_tokens=max_tokens, temperature=0.0, ignore_eos=ignore)
    started = time.monotonic()
    watches = [_Stopwatch(engine.submit(_request(prompt, sampling))) for prompt in prompts]
    until = started + PHASE_S
    for watch in watches:
        if not watch.ended.wait(max(until - time.monotonic(), 0.0)):
            watch.handle.cancel()
    times = sorted(at for watch in watches for at in watch.times())
    return _speed([at - started for at in times], num_answers=len(prompts))


def _speed(times: Sequence[float], *, num_answers: int) -> float:
    """Tokens/s from when each answer has its first token on. times: of all tokens, in order, in seconds from the start. Where that is
    too short to tell (fewer than two tokens an answer) the whole time counts, reading included."""
    if not times:
        return 0.0
    if len(times) < 2 * num_answers:
        return len(times) / max(times[-1], 1e-6)
    return (len(times) - num_answers) / max(times[-1] - times[num_answers - 1], 1e-6)


class _Stopwatch:
    """When each token of a request came, noted in the engine's own thread."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.ended = threading.Event()
        self._times: list[float] = []
        self._error: LLMOSError | None = None
        self._lock = threading.Lock()
        handle.watch(self._note)
        self._note()

    def times(self) -> list[float]:
        """After the end. Raises what the engine raised, EngineError when it does not end."""
        if not self.ended.wait(60.0):
            raise EngineError("The engine did not end a cancelled request within 60 s.")
        if self._error is not None:
            raise self._error
        return self._times

    def _note(self) -> None:
        with self._lock:
            for item in self.handle.take():
                if isinstance(item, Chunk):
                    self._times += [time.monotonic()] * len(item.token_ids)
                else:
                    self._error = item
                    self.ended.set()


def _request(prompt: TokenIds, sampling: Sampling) -> Request:
    return Request(id=uuid.uuid4().hex, prompt=prompt, sampling=sampling, deadline=time.monotonic() + 60.0)


# -- models that read --------------------------------------------------------------------------------------------------
def _sample_reader(engine: Engine, tokenizer: Tokenizer) -> Sample:
    import numpy as np

    mask = tokenizer.special.mask
    texts = [tokenizer.encode(sentence, add_special=True) for sentence in TEXT.split(". ")]
    if engine.card.family is Family.MASKED and mask is not None:
        texts = [(*ids[:2], mask, *ids[3:]) for ids in texts]
    rows = _read(engine, texts[:2])  # warm
    started = time.monotonic()
    rows = _read(engine, texts)
    seconds = max(time.monotonic() - started, 1e-6)
    speed = sum(map(len, texts)) / seconds
    vectors = np.stack([np.asarray(row, dtype=np.float32).ravel()[: rows[0].size] for row in rows]) if rows else None
    return Sample(prefill_tok_s=speed, decode_tok_s=speed, batch_tok_s=speed, vectors=vectors)


def _read(engine: Engine, texts: Sequence[TokenIds]) -> list[NDArray[np.float32]]:
    match engine.card.family:
        case Family.MASKED:
            return [rows[0] for rows in engine.fill_mask(texts)]
        case Family.CLASSIFIER:
            return list(engine.classify([(ids, (0,) * len(ids)) for ids in texts]))
        case Family.TAGGER:
            return [rows[1] for rows in engine.tag(texts)]
        case _:
            return list(engine.embed(texts))
