"""Steps that write with a model: what they ask, what they take, and the words in which they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmos.data.synth.asked import Answer
from llmos.data.synth.making import json_of
from llmos.errors import InvalidValue, UnsupportedFeature
from llmos.library.library import Library
from llmos.library.lineage import Lineage
from llmos.settings import Settings
from llmos.types import Family
from tests.apps.echo import echo
from tests.data.asking import Given, column, fake_models, told, user_text, writer
from tests.data.running import run
from tests.doubles import fake_card
from tests.engine.scoring.reader import session as reading

AMAZON = "The Amazon flows through Brazil and Peru. It is 6,400 kilometres long."


def rows(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text} for text in texts]


def test_paraphrases_are_held_against_the_text_and_each_other(tmp_path: Path) -> None:
    answers = {"Cats sleep a lot.": "Felines spend most hours at rest.", "Dogs bark.": "Dogs  BARK.", "Sheep graze.": ""}
    models, engine = writer(tmp_path, lambda prompt: answers[user_text(prompt).rpartition("\n\n")[2]])
    process = [{"paraphrase": {"model": "echo", "num_copies": 2}}]
    version = run(tmp_path, rows(*answers, ""), process, models=models)
    assert column(version, "text") == ["Cats sleep a lot.", "Felines spend most hours at rest.", "Dogs bark.", "Sheep graze.", ""]
    assert column(version, "parent") == [None, "rows#1", None, None, None]
    assert told(version, "refused") == [
        ("rows#1", "likeness_to_sibling", "It is nearly another answer."),
        ("rows#2", "likeness", "It is nearly the text itself."),
        ("rows#2", "likeness", "It is nearly the text itself."),
        ("rows#3", "answer", "The answer is empty."),
        ("rows#3", "answer", "The answer is empty."),
    ]
    tally = version.manifest["tally"]["steps"]["0:paraphrase"]
    assert tally["refused_by"] == {"answer": 2, "likeness": 2, "likeness_to_sibling": 1}
    assert len(engine.asked) == 6
    with pytest.raises(InvalidValue, match="one and the same"):
        run(tmp_path, rows("x"), [{"paraphrase": {"model": "echo", "num_copies": 2, "temperature": 0}}], models=models)
    models.close()


def test_an_encoder_says_whether_the_meaning_is_there(tmp_path: Path) -> None:
    models, _ = writer(tmp_path, lambda prompt: "zzzz zz" if "Dogs" in prompt else "Cats sleep very much.")
    fake = fake_models(tmp_path / "more", fake_card("fake-encoder", Family.ENCODER))
    both = Given(tmp_path, {"echo": models.session("echo"), "fake-encoder": fake.session("fake-encoder")})
    config = {"model": "echo", "verify_model": "fake-encoder", "min_cosine": 0.8}
    version = run(tmp_path, rows("Cats sleep a lot.", "Dogs bark."), [{"paraphrase": config}], models=both)
    assert column(version, "text") == ["Cats sleep a lot.", "Cats sleep very much.", "Dogs bark."]
    assert told(version, "refused") == [("rows#2", "cosine", "It means something else: zzzz zz")]
    assert len(version.manifest["identity"]["models"]) == 2
    both.close()
    fake.close()


def test_an_answer_without_end_is_refused_and_no_room_is_an_error(tmp_path: Path) -> None:
    models, _ = writer(tmp_path, lambda prompt: "word " * 20)
    version = run(tmp_path, rows("Some text."), [{"paraphrase": {"model": "echo", "max_tokens": 16}}], models=models)
    assert told(version, "refused") == [("rows#1", "answer", "The answer did not end within 16 tokens.")]
    with pytest.raises(InvalidValue, match="max_tokens is 4096; the context of echo"):
        run(tmp_path, rows("Some text."), [{"paraphrase": {"model": "echo", "max_tokens": 4096}}], models=models)
    models.close()


def test_evolve_asks_in_five_ways(tmp_path: Path) -> None:
    models, engine = writer(tmp_path, lambda prompt: "Compare three kinds of clouds and how each brings rain.")
    config = {"model": "echo", "num_copies": 5, "keep_original": False}
    version = run(tmp_path, rows("Explain rain."), [{"evolve_instruction": config}], models=models)
    assert version.num_rows == 1
    assert len({prompt.partition("Write another one that ")[2].partition(".")[0] for prompt, _ in engine.asked}) == 5
    models.close()


def answering(prompt: str) -> str:
    """New instructions for a seed; an answer for an instruction."""
    asked = user_text(prompt)
    if "as JSON" not in asked:
        return f"Answer to: {asked}"
    if "broken" in asked:
        return "I would rather not."
    new = [
        "Name three rivers of Asia.",
        "Name the three rivers of Asia.",
        "Write a poem about autumn now.",
        "Too short",
        "Draw an image of it.",
    ]
    return "Here: " + json.dumps({"instructions": new})


def test_self_instruct_takes_what_is_new(tmp_path: Path) -> None:
    models, engine = writer(tmp_path, answering)
    config = {"model": "echo", "examples": ["Sort a list.", "Explain tides."], "num_examples": 2}
    seeds = rows("Write a poem about autumn.", "Write a broken thing.")
    version = run(tmp_path, seeds, [{"self_instruct": config}], models=models)
    assert column(version, "text") == [seeds[0]["text"], "Name three rivers of Asia.", seeds[1]["text"]]
    assert column(version, "answer") == [None, "Answer to: Name three rivers of Asia.", None]
    assert [(row, signal) for row, signal, _ in told(version, "refused")] == [
        ("rows#1", "rouge_l"),
        ("rows#1", "rouge_l"),
        ("rows#1", "words"),
        ("rows#1", "avoid_words"),
        ("rows#2", "answer"),
    ]
    assert told(version, "refused")[-1][2] == "The answer has no JSON: 'I would rather not.'"
    assert engine.asked[0][0].count("\n- ") == 2
    assert all(request.sampling.constraint is not None for prompt, request in engine.asked if "as JSON" in prompt)
    models.close()


def test_without_an_engine_for_schemas_it_asks_in_words(tmp_path: Path) -> None:
    models, engine = writer(tmp_path, answering, json=False)
    config = {"model": "echo", "temperature": 0}
    version = run(tmp_path, rows("Write a poem about autumn."), [{"self_instruct": config}], models=models)
    assert column(version, "answer") == [None, "Answer to: Name three rivers of Asia."]
    assert all(request.sampling.constraint is None for _, request in engine.asked)
    models.close()


def pairs(prompt: str) -> str:
    found = [
        {"question": "Where does the Amazon flow?", "answer": "through Brazil and Peru"},
        {"question": "Where does the Amazon flow to?", "answer": "Brazil and Peru"},
        {"question": "How long is it?", "answer": "about nine thousand miles"},
        {"question": "Is Brazil and Peru right?", "answer": "Brazil and Peru"},
    ]
    if "list" in user_text(prompt).rpartition("Text:")[2]:
        return json.dumps({"pairs": ["no", "pairs"]})
    return json.dumps({"pairs": found})


def test_questions_have_answers_that_stand_in_the_document(tmp_path: Path) -> None:
    models, _ = writer(tmp_path, pairs)
    version = run(tmp_path, rows(AMAZON, "A list."), [{"qa_from_document": {"model": "echo", "max_likeness": 0.8}}], models=models)
    found = version.scan().select("text", "question", "answer", "synthetic", "parent").collect().rows()
    assert found == [(AMAZON, "Where does the Amazon flow?", "through Brazil and Peru", "qa_from_document", "rows#1")]
    refused = told(version, "refused")
    assert [signal for _, signal, _ in refused] == ["likeness", "support", "answer", "answer"]
    assert refused[2][2].startswith("The question holds its answer")
    assert refused[3][2].startswith("The answer is not a list of pairs")
    assert [row for row, *_ in told(version, "dropped")] == ["rows#2"]
    line = version.ledger().collect().row(1, named=True)
    assert (line["threshold"], line["value"] < 0.8) == (0.8, True)
    models.close()


def test_a_long_document_is_read_in_parts(tmp_path: Path) -> None:
    models, engine = writer(tmp_path, lambda prompt: json.dumps({"pairs": []}))
    run(
        tmp_path,
        rows("".join(f"Sentence {number} of the text. " for number in range(100))),
        [{"qa_from_document": {"model": "echo", "part_tokens": 500}}],
        models=models,
    )
    assert len(engine.asked) == 5
    models.close()


def test_preference_by_likelihood(tmp_path: Path) -> None:
    """The double of tests/doubles.py finds low letters likelier; both of its answers are one, so one comes from another model."""
    models = fake_models(tmp_path, fake_card(), fake_card("other", extra={"answer": "AAAA AAAA AAAA."}))
    config = {"model": "fake", "other_model": "other", "judge": "likelihood", "judge_model": "fake", "max_tokens": 40}
    version = run(tmp_path, rows("Say something."), [{"preference_pairs": config}], models=models)
    row = version.scan().collect().row(0, named=True)
    assert (row["prompt"], row["chosen"], row["rejected"]) == ("Say something.", "AAAA AAAA AAAA.", "Hello world.")
    mean = [sum(-one / 100 for one in text.encode()) / len(text) for text in ("Hello world.", "AAAA AAAA AAAA.")]
    p = 1 / (1 + 2.718281828459045 ** (mean[1] - mean[0]))
    assert row["margin"] == pytest.approx(abs(2 * p - 1))
    assert row["model"] == "+".join(models.session(name).card.ref for name in ("fake", "other"))
    same = run(tmp_path, rows("Say something."), [{"preference_pairs": {"model": "fake", "max_tokens": 40}}], models=models)
    assert told(same, "refused") == [("rows#1", "likeness", "The two answers are nearly the same.")]
    models.close()


def test_a_judge_sees_both_orders(tmp_path: Path) -> None:
    """A judge that always likes the first place has no preference."""
    one, _ = echo(tmp_path / "one", lambda prompt: "An answer of some length.")
    two, _ = echo(tmp_path / "two", lambda prompt: "Something else altogether!")
    judge, engine = reading(tmp_path / "judge", Family.CAUSAL)
    models = Given(tmp_path, {"echo": one, "two": two, "judge": judge})
    config = {"model": "echo", "other_model": "two", "other_temperature": 0, "judge_model": "judge", "min_margin": 0.2}
    version = run(tmp_path, rows("Please."), [{"preference_pairs": config}], models=models)
    assert told(version, "refused") == [("rows#1", "margin", "The judge is not sure.")]
    shown = [bytes(token for token in item.prompt if token < 256).decode() for call in engine.calls for item in call]
    assert any("Answer A:\nAn answer" in one for one in shown)
    assert any("Answer A:\nSomething" in one for one in shown)
    models.close()


def test_translate_asks_part_by_part_and_drops_with_the_reason(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        text = user_text(prompt).rpartition("\n\n")[2]
        return "endless " * 99 if "endless" in text else text[::-1]

    models, engine = writer(tmp_path, answer)
    config = {"model": "echo", "target_language": "French"}
    texts = rows("One. Two.", "", "An endless text.", "A sentence here. " * 60)
    version = run(tmp_path, texts, [{"translate": config}], models=models)
    found = column(version, "translation")
    assert found[:2] == [".owT .enO", ""]
    assert len(engine.asked) == 4  # the long one in two parts
    assert column(version, "synthetic") == ["translate"] * 3
    [(row, signal, detail)] = told(version, "dropped")
    assert (row, signal) == ("rows#3", "no translation")
    assert detail.startswith("The answer did not end within")
    with pytest.raises(InvalidValue, match="Unknown language 'Klingon'"):
        run(tmp_path, texts, [{"translate": {**config, "target_language": "Klingon"}}], models=models)
    models.close()


def test_back_translation_refuses_what_comes_back_as_it_was(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        asked = user_text(prompt)
        text = asked.rpartition("\n\n")[2]
        if "to French" in asked or "to German" in asked:
            return f"[{text}]"
        return text.strip("[]") if "from German" in asked else "The feline is asleep on a sofa."

    models, _ = writer(tmp_path, answer)
    config = {"model": "echo", "languages": ["fr", "German"], "min_likeness": 0.1}
    version = run(tmp_path, rows("The cat sleeps on the sofa."), [{"back_translate": config}], models=models)
    assert column(version, "text") == ["The cat sleeps on the sofa.", "The feline is asleep on a sofa."]
    assert told(version, "refused") == [("rows#1", "likeness", "It is nearly the text itself.")]
    models.close()


def test_summaries_of_parts_are_summarised_once_more(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        return "Short." if "Paragraph" in prompt else "Whole. And half a"

    models, engine = writer(tmp_path, answer, context_length=600)
    texts = rows("\n\n".join(f"Paragraph {number} tells of many things." for number in range(40)), "x. Other.", "")
    version = run(tmp_path, texts, [{"summarise": {"model": "echo", "max_tokens": 12}}], models=models)
    found = column(version, "summary")
    assert found[0] == "Whole."
    assert found[1:] == ["Whole.", ""]
    assert len(engine.asked) > 4
    models.close()


def test_a_model_that_cannot_write_is_named(tmp_path: Path) -> None:
    models = fake_models(tmp_path, fake_card("fake-encoder", Family.ENCODER))
    with pytest.raises(UnsupportedFeature, match="writes no text and cannot paraphrase"):
        run(tmp_path, rows("x"), [{"paraphrase": {"model": "fake-encoder"}}], models=models)
    models.close()


def test_lineage_names_the_models(tmp_path: Path) -> None:
    models = fake_models(tmp_path)
    version = run(tmp_path, rows("Some words."), [{"paraphrase": {"model": "fake", "max_tokens": 64}}], models=models)
    database = Library.open(Settings.from_env({"LLMOS_HOME": str(tmp_path)})).database
    edges = Lineage(database).parents(f"dataset:{version.name}@{version.version}")
    assert [edge.parent for edge in edges if edge.relation == "model"] == ["model:" + models.exact("fake").replace(":", "@")]
    models.close()


def any_answer(prompt: str) -> str:
    """Something that each step takes."""
    asked = user_text(prompt)
    if "instructions" in asked and "as JSON" in asked:
        return json.dumps({"instructions": ["Name three rivers of Asia."]})
    if "as JSON" in asked:
        return json.dumps({"pairs": [{"question": "Where does it flow?", "answer": "through Brazil and Peru"}]})
    return f"[{asked.rpartition(chr(10))[2]}]" if "to French" in asked else "Something else is said at this place."


@pytest.mark.parametrize(
    ("step", "config", "num_new"),
    [
        ("paraphrase", {}, 1),
        ("back_translate", {"languages": ["fr"], "min_likeness": 0}, 1),
        ("self_instruct", {}, 1),
        ("evolve_instruction", {}, 1),
        ("qa_from_document", {}, 1),
        ("preference_pairs", {"other_model": "other", "other_temperature": 0, "judge_model": "judge"}, 1),
        ("translate", {"target_language": "de"}, 0),
        ("summarise", {}, 0),
    ],
)
def test_every_row_that_a_model_wrote_in_says_so(tmp_path: Path, step: str, config: dict[str, Any], num_new: int) -> None:
    given, _ = writer(tmp_path, any_answer)
    other, _ = echo(tmp_path / "other", lambda prompt: "I know nothing of such questions!")
    judge, _ = reading(tmp_path / "judge", Family.CAUSAL)
    models = Given(tmp_path, {"echo": given.session("echo"), "other": other, "judge": judge})
    version = run(tmp_path, rows(AMAZON), [{step: {"model": "echo", **config}}], models=models)
    marked = [row for row in version.scan().select("_id", "synthetic", "model", "parent").collect().rows() if row[1]]
    assert [(kind, parent) for _, kind, _, parent in marked] == [(step, "rows#1")]
    assert (marked[0][0] != "rows#1") == bool(num_new)
    refs = {name: models.session(name).card.ref for name in models.sessions}
    assert marked[0][2] == ("+".join(dict.fromkeys(refs.values())) if step == "preference_pairs" else refs["echo"])
    database = Library.open(Settings.from_env({"LLMOS_HOME": str(tmp_path)})).database
    edges = Lineage(database).parents(f"dataset:{version.name}@{version.version}")
    named = {"echo", "other", "judge"} if step == "preference_pairs" else {"echo"}
    assert {edge.parent for edge in edges if edge.relation == "model"} == {
        "model:" + models.exact(name).replace(":", "@") for name in named
    }
    models.close()


def test_brackets_without_end_are_no_json() -> None:
    with pytest.raises(ValueError, match="The answer is not JSON"):
        json_of(Answer(body={"text": "[" * 100_000}))
