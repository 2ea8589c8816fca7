"""How fast and how well LLMOS classifies: shared prefixes against every pair on its own, and accuracy beside plain transformers.

In: nothing (models and texts are fetched from their packages). Out: tables, benchmarks/results/predict.json (full runs only).

    speed     200 texts x 10 labels with SmolLM2, on each installed engine that scores. `predict` is timed whole (prompts, tokens,
              calibration and all); the yardstick is the same engine asked for one (text, label) pair a call, tokens made beforehand.
    accuracy  polarity of 500 film snippets with Wilson intervals, beside the same model run plainly (benchmarks/rivals/plain_predict.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpora import movie_snippets
from benchmarks.report import finish, interval, load, print_table, wait_until_quiet
from benchmarks.rivals import plain_predict
from llmos.engine.base import Feature, ScoreItem
from llmos.engine.pool import Pool
from llmos.engine.scoring import predict
from llmos.engine.scoring.base import Question, softmax
from llmos.engine.scoring.prompts import choice_prompt
from llmos.engine.session import Session
from llmos.library.library import Library
from llmos.plugins import load_plugins
from llmos.settings import Settings

SPEED_MODEL = "smollm2-135m-instruct"
CAUSAL, ENCODER = "qwen2.5-coder-1.5b-instruct", "all-minilm-l6-v2"
TOPICS = ("film", "music", "sport", "politics", "science", "health", "travel", "food", "money", "technology")
POLARITY = ("positive", "negative")
ENGINES = ("openvino", "llamacpp", "transformers")
GOAL = 5.0
# The same sum in another order: how far two log-probabilities of one label may then lie apart. f32 carries 24 bits, bf16 8.
# llama.cpp quantises activations to 8 bits a block of 32 before each product and keeps its KV cache in f16; OpenVINO's plugin may
# round to bf16. Values of one label that differ by less are equal for what the arithmetic can say.
TOLERANCE = {"f32": 1e-3, "rounded": 0.25}


def tolerance(engine: str) -> tuple[float, str]:
    """engine: as in Generation.engine. The tolerance (nats) and why."""
    if engine.startswith("transformers/") and "bf16" not in engine:
        return TOLERANCE["f32"], "f32 throughout; only the order of sums differs"
    return TOLERANCE["rounded"], "activations or cache are rounded (bf16, f16 or blocks of 8 bits), by the shape of each step"


def score_items(session: Session, texts: Sequence[str], labels: Sequence[str]) -> list[ScoreItem]:
    """What `predict` asks the engine: a prompt a text, all labels as its continuations."""
    prompt = choice_prompt(session, Question(texts=tuple(texts), labels=tuple(labels), wordings=tuple(labels)))
    prompts = [(*prompt.before, *session.encode(text), *prompt.after) for text in texts]
    return [ScoreItem(prompt=ids, continuations=prompt.answers) for ids in prompts]


def sums(session: Session, items: Sequence[ScoreItem]) -> list[list[float]]:
    """[items, continuations] log-probabilities."""
    return [[sum(token.logprob for token in tokens) for tokens in result.continuations] for result in session.score(items)]


def speed(pool: Pool, engine: str, texts: Sequence[str], naive_texts: int) -> dict[str, Any]:
    """One engine's times in seconds and the differences of its scores in nats."""
    session = pool.session(SPEED_MODEL, engine=engine)
    name = _engine_name(session)
    items = score_items(session, texts, TOPICS)
    pairs = [[ScoreItem(prompt=item.prompt, continuations=(one,)) for one in item.continuations] for item in items[:naive_texts]]
    sums(session, items[:2])
    sums(session, pairs[0][:1])
    found: dict[str, Any] = {"engine": name, "load_before": load()}
    started = time.monotonic()
    predict(session, texts, TOPICS)
    found["predict_s"] = round(time.monotonic() - started, 2)
    started = time.monotonic()
    shared = sums(session, items)
    found["shared_scores_s"] = round(time.monotonic() - started, 2)
    started = time.monotonic()
    alone = [[sums(session, [pair])[0][0] for pair in row] for row in pairs]
    measured_s = time.monotonic() - started
    naive_s = measured_s * len(texts) / len(pairs)
    found["pair_by_pair_s"] = round(naive_s, 2)
    if len(pairs) < len(texts):
        found["pair_by_pair_is"] = f"extrapolated from the first {len(pairs)} of {len(texts)} texts ({measured_s:.2f} s measured)"
    found["ratio"] = round(naive_s / found["predict_s"], 2)
    found["reaches_goal"] = found["ratio"] >= GOAL
    return found | differences(name, shared, alone) | {"load_after": load()}


def differences(engine: str, shared: list[list[float]], alone: list[list[float]]) -> dict[str, Any]:
    """How far the scores of the two ways lie apart. An answer differs where the likeliest label is another one."""
    pairs = list(zip(shared, alone, strict=False))  # fewer texts may have been scored alone
    gaps = sorted(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
    shares = [abs(a - b) for one, other in pairs for a, b in zip(softmax(one), softmax(other), strict=True)]
    limit, why = tolerance(engine)
    return {
        "largest_score_difference": round(gaps[-1], 6),
        "median_score_difference": round(gaps[len(gaps) // 2], 6),
        "largest_probability_difference": round(max(shares), 6),
        "other_answers": sum(one.index(max(one)) != other.index(max(other)) for one, other in pairs),
        "compared_texts": len(pairs),
        "tolerance": limit,
        "tolerance_because": why,
        "equal": gaps[-1] <= limit,
    }


def accuracy(pool: Pool, name: str, sample: Sequence[tuple[str, str]], plain_dtype: str) -> dict[str, Any]:
    """Accuracy of `predict` and of the plain run on the same texts, each with its interval."""
    session = pool.session(name)
    texts, truth = [text for text, _ in sample], [label for _, label in sample]
    started = time.monotonic()
    found = predict(session, texts, POLARITY)
    seconds = time.monotonic() - started
    answers = {"llmos": [one.label for one in found]}
    result: dict[str, Any] = {"texts": len(texts), "strategy": found[0].strategy, "llmos_s": round(seconds, 1)}
    folder = pool.library.resolve(name).folder
    started = time.monotonic()
    if name == ENCODER:
        result["engine"] = _engine_name(session, Feature.EMBED)
        answers["plain"] = plain_predict.by_similarity(folder, texts, POLARITY)
    else:
        result["engine"] = _engine_name(session)
        answers |= _causal(session, texts, folder, plain_dtype)
        result["plain_dtype"] = plain_dtype
    result["plain_s"] = round(time.monotonic() - started, 1)
    result |= {who: _graded(said, truth) for who, said in answers.items()}
    for ours, theirs in (("llmos", "plain"), ("llmos", "plain_calibrated"), ("llmos_uncalibrated", "plain")):
        if ours in answers and theirs in answers:
            result[f"{ours} vs {theirs}"] = _compared(answers[ours], answers[theirs], result[ours], result[theirs])
    return result


def _causal(session: Session, texts: Sequence[str], folder: Path, dtype: str) -> dict[str, list[str]]:
    """The answers without calibration through LLMOS, and both ways plainly. Raises when the prompts are not the same text."""
    items = score_items(session, texts[:1], POLARITY)
    ours, plain = session.decode(items[0].prompt, skip_special=False), plain_predict.CausalModel(folder, dtype)
    theirs = plain.prompt(texts[0], POLARITY)
    if ours != theirs:
        raise SystemExit(f"The plain run asks another question than LLMOS:\n{theirs!r}\nLLMOS:\n{ours!r}")
    raw = sums(session, score_items(session, texts, POLARITY))
    argmax, calibrated = plain.answers(texts, POLARITY)
    return {
        "llmos_uncalibrated": [POLARITY[row.index(max(row))] for row in raw],
        "plain": argmax,
        "plain_calibrated": calibrated,
    }


def _graded(said: Sequence[str], truth: Sequence[str]) -> dict[str, Any]:
    right = sum(one == other for one, other in zip(said, truth, strict=True))
    return {"accuracy": round(right / len(truth), 4), "interval_95": interval(right, len(truth))}


def _compared(ours: list[str], theirs: list[str], one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Equal within the interval: each accuracy lies in the other's 95 % Wilson interval."""
    inside = [
        low <= value <= high
        for value, (low, high) in ((one["accuracy"], other["interval_95"]), (other["accuracy"], one["interval_95"]))
    ]
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    return {"equal_within_interval": all(inside), "same_answers": round(same / len(ours), 4)}


def _engine_name(session: Session, feature: Feature = Feature.SCORE) -> str:
    engine = session.engine_for(frozenset({feature}))
    return f"{engine.backend}/{engine.variant}"


def _speeds(library: Library, settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    texts = [text for text, _ in movie_snippets(options.texts)]
    found: dict[str, Any] = {}
    for engine in options.engines:
        wait_until_quiet(timeout_s=options.patience)
        with Pool(settings, library, inline=True, notify=_say) as pool:
            runs = {one.backend: one.support for one in pool.loader.candidates(library.ensure(SPEED_MODEL).card)}
            if engine not in runs or Feature.SCORE not in runs[engine].features:
                found[engine] = {"skipped": "is not installed" if engine not in runs else "does not score"}
                continue
            found[engine] = speed(pool, engine, texts, min(options.naive_texts or options.texts, options.texts))
        print(engine, found[engine], flush=True)
    columns = ("ratio", "predict_s", "pair_by_pair_s", "largest_score_difference", "tolerance", "equal", "other_answers")
    print_table(("engine", *columns), [(name, *(row.get(column) for column in columns)) for name, row in found.items()])
    return found


def _accuracies(library: Library, settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    sample = movie_snippets(options.snippets)
    found = {}
    for name in options.models:
        wait_until_quiet(timeout_s=options.patience)
        library.ensure(name)
        with Pool(settings, library, inline=True, notify=_say) as pool:
            found[name] = accuracy(pool, name, sample, options.plain_dtype)
    ways = ("llmos", "plain", "plain_calibrated", "llmos_uncalibrated")
    rows = [(name, way, row[way]["accuracy"], row[way]["interval_95"]) for name, row in found.items() for way in ways if way in row]
    print_table(("model", "way", "accuracy", "95 % interval"), rows)
    return found


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200, help="texts of the speed run")
    parser.add_argument("--naive-texts", type=int, default=0, help="score only so many pair by pair and extrapolate (0: all)")
    parser.add_argument("--snippets", type=int, default=500, help="texts of the accuracy run")
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--models", nargs="*", default=[CAUSAL, ENCODER], choices=[CAUSAL, ENCODER])
    parser.add_argument("--plain-dtype", default="bf16", choices=("bf16", "f32"), help="of the causal model in transformers")
    parser.add_argument("--patience", type=float, default=180.0, help="seconds to wait for a quiet machine before each part")
    options = parser.parse_args()
    load_plugins()
    settings = Settings.from_env()
    library = Library.open(settings)
    result = {"speed": {"model": SPEED_MODEL, "labels": TOPICS, "texts": options.texts, "goal_ratio": GOAL}, "accuracy": {}}
    result["speed"]["engines"] = _speeds(library, settings, options)
    result["accuracy"] = _accuracies(library, settings, options)
    full = {"texts", "snippets", "engines", "models"}
    if all(getattr(options, name) == parser.get_default(name) for name in full):
        finish("predict", result)
    else:
        print(json.dumps({"benchmark": "predict", "partial": True, **result}, ensure_ascii=False))


if __name__ == "__main__":
    main()
