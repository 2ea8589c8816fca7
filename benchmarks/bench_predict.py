"""How fast and how well LLMOS classifies: shared prefixes against every pair on its own, and accuracy beside plain transformers.

In: nothing (models and texts are fetched from their packages). Out: tables, benchmarks/results/predict.json (full runs only).

    speed     200 texts x 10 labels with SmolLM2, on each installed engine that scores. `predict` is timed whole (prompts, tokens,
              calibration and all); the yardstick is the same engine asked for one (text, label) pair a call, tokens made beforehand.
    accuracy  polarity of 500 film snippets with Wilson intervals, beside the same model run plainly (benchmarks/rivals/plain_predict.py).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

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
T = TypeVar("T")
F32_TOLERANCE = 1e-3  # nats; f32 carries 24 bits, and only the order of sums differs


def score_items(session: Session, texts: Sequence[str], labels: Sequence[str]) -> list[ScoreItem]:
    """What `predict` asks the engine: a prompt a text, all labels as its continuations."""
    prompt = choice_prompt(session, Question(texts=tuple(texts), labels=tuple(labels), wordings=tuple(labels)))
    prompts = [(*prompt.before, *session.encode(text), *prompt.after) for text in texts]
    return [ScoreItem(prompt=ids, continuations=prompt.answers) for ids in prompts]


def sums(session: Session, items: Sequence[ScoreItem]) -> list[list[float]]:
    """[items, continuations] log-probabilities."""
    return [[sum(token.logprob for token in tokens) for tokens in result.continuations] for result in session.score(items)]


def speed(engine: str, texts: Sequence[str], num_alone: int) -> dict[str, Any]:
    """One engine's times in seconds; the scores of both ways under "shared" and "alone" (of the first num_alone texts)."""
    with _pool() as pool:
        runs = {one.backend: one.support for one in pool.loader.candidates(pool.library.ensure(SPEED_MODEL).card)}
        if engine not in runs or Feature.SCORE not in runs[engine].features:
            return {"skipped": "is not installed" if engine not in runs else "does not score"}
        session = pool.session(SPEED_MODEL, engine=engine)
        items = score_items(session, texts, TOPICS)
        pairs = [[ScoreItem(prompt=item.prompt, continuations=(one,)) for one in item.continuations] for item in items[:num_alone]]
        _ = sums(session, items[:2]), sums(session, pairs[0][:1]), sums(session, pairs[0][:1])  # warm, both ways
        before = load()
        _, predict_s = timed(lambda: predict(session, texts, TOPICS))
        shared, shared_s = timed(lambda: sums(session, items))
        alone, measured_s = timed(lambda: [[sums(session, [pair])[0][0] for pair in row] for row in pairs])
        alone_s = measured_s * len(texts) / len(pairs)
        found: dict[str, Any] = {
            "engine": _engine_name(session),
            "predict_s": round(predict_s, 2),
            "shared_scores_s": round(shared_s, 2),
            "pair_by_pair_s": round(alone_s, 2),
            "ratio": round(alone_s / predict_s, 2),
            "load_before": before,
            "load_after": load(),
        }
        if len(pairs) < len(texts):
            found["extrapolated"] = f"pair_by_pair_s: {len(pairs)} of {len(texts)} texts were measured, in {measured_s:.2f} s"
        return found | {"shared": shared, "alone": alone}


def timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.monotonic()
    return work(), time.monotonic() - started


def compare(rows: dict[str, dict[str, Any]]) -> None:
    """Takes the scores out of the rows and puts their differences in.

    Where an engine rounds on the way (bf16, f16 caches, activations in blocks of 8 bits), the shape of a step moves the last bits, and
    a score is known no better than the engine's own pair-by-pair score agrees with f32 on the same weights. That is the tolerance: two
    ways that differ by less are equal for what the engine's numerics allow. For f32 itself it is F32_TOLERANCE.
    """
    scores = {name: (row.pop("shared"), row.pop("alone")) for name, row in rows.items() if "skipped" not in row}
    exact = next((scores[name][1] for name in scores if rows[name]["engine"] == "transformers/f32"), None)
    for name, (shared, alone) in scores.items():
        row = rows[name]
        row["reaches_goal"] = row["ratio"] >= GOAL
        row["compared_pairs"] = len(alone) * len(TOPICS)
        row["difference"] = gaps(shared, alone)
        row["largest_probability_difference"] = gaps([softmax(one) for one in shared], [softmax(one) for one in alone])["largest"]
        row["other_answers"] = sum(a.index(max(a)) != b.index(max(b)) for a, b in zip(shared, alone, strict=False))
        if rows[name]["engine"] == "transformers/f32":
            limit, why = F32_TOLERANCE, "f32 throughout: only the order of sums differs"
        elif exact is not None:
            row["from_f32"] = {"shared": gaps(shared, exact), "alone": gaps(alone, exact)}
            limit = row["from_f32"]["alone"]["largest"]
            why = "the engine rounds: its pair-by-pair scores lie up to this far from f32 on the same weights"
        else:
            row["tolerance_because"] = "not judged: needs transformers/f32 in the same run"
            continue
        row |= {"tolerance": limit, "tolerance_because": why, "equal": row["difference"]["largest"] <= limit}


def gaps(one: list[list[float]], other: list[list[float]]) -> dict[str, float]:
    """Median and largest absolute difference of what both have (fewer texts may have been scored alone)."""
    found = sorted(abs(a - b) for left, right in zip(one, other, strict=False) for a, b in zip(left, right, strict=True))
    return {"median": round(found[len(found) // 2], 6), "largest": round(found[-1], 6)}


def accuracy(name: str, sample: Sequence[tuple[str, str]], plain_dtype: str) -> dict[str, Any]:
    """Accuracy of `predict` and of the plain run on the same texts, each with its interval."""
    with _pool() as pool:
        pool.library.ensure(name)
        return _accuracy(pool.session(name), pool.library.resolve(name).folder, name, sample, plain_dtype)


def _accuracy(session: Session, folder: Path, name: str, sample: Sequence[tuple[str, str]], plain_dtype: str) -> dict[str, Any]:
    texts, truth = [text for text, _ in sample], [label for _, label in sample]
    found, seconds = timed(lambda: predict(session, texts, POLARITY))
    answers = {"llmos": [one.label for one in found]}
    result: dict[str, Any] = {"texts": len(texts), "strategy": found[0].strategy, "llmos_s": round(seconds, 1)}
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


def _pool() -> Pool:
    load_plugins()
    settings = Settings.from_env()
    return Pool(settings, Library.open(settings), inline=True, notify=_say)


def apart(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The result of work(*arguments) in a fresh process: the threads of one engine do not disturb the next."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def _speeds(options: argparse.Namespace) -> dict[str, Any]:
    texts = [text for text, _ in movie_snippets(options.texts)]
    found: dict[str, Any] = {}
    for engine in options.engines:
        wait_until_quiet(timeout_s=options.patience)
        found[engine] = apart(speed, engine, texts, min(options.naive_texts or options.texts, options.texts))
    compare(found)
    columns = ("ratio", "predict_s", "pair_by_pair_s", "difference", "tolerance", "equal", "other_answers", "skipped")
    print_table(("engine", *columns), [(name, *(row.get(column) for column in columns)) for name, row in found.items()])
    return found


def _accuracies(options: argparse.Namespace) -> dict[str, Any]:
    sample = movie_snippets(options.snippets)
    found = {}
    for name in options.models:
        wait_until_quiet(timeout_s=options.patience)
        found[name] = apart(accuracy, name, sample, options.plain_dtype)
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
    result: dict[str, Any] = {
        "speed": {"model": SPEED_MODEL, "labels": TOPICS, "texts": options.texts, "goal_ratio": GOAL},
        "accuracy": {},
    }
    result["speed"]["engines"] = _speeds(options)
    result["accuracy"] = _accuracies(options)
    full = {"texts", "snippets", "engines", "models"}
    if all(getattr(options, name) == parser.get_default(name) for name in full):
        finish("predict", result)
    else:
        print(json.dumps({"benchmark": "predict", "partial": True, **result}, ensure_ascii=False))


if __name__ == "__main__":
    main()
