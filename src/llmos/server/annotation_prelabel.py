"""Jobs of the kind "prelabel": a model labels the items of an annotation project before people do, or writes a first answer.

A chunk of items is one call of the model and one transaction; the checkpoint is the last item of it, so a killed attempt does a chunk
again at most. What is too long for the model, or gets no answer, has no pre-label, and the job's log says so. Where a server runs, its
engines are borrowed. This module is imported wherever LLMOS starts: what it needs to run is imported when it runs.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmos.errors import ContextLengthExceeded, UnsupportedFeature
from llmos.kernel.base import JobKind, kinds

if TYPE_CHECKING:
    from llmos.data.annotate.base import AnnotationProject
    from llmos.engine.base import Feature
    from llmos.engine.session import Session
    from llmos.kernel.context import JobContext
    from llmos.library.library import Library

PROMPT = "{text}"


class PrelabelParams(BaseModel):
    """annotation: id or name of the project. chunk: items of one call. overwrite: also those that have a pre-label. uncertainty: how it
    is measured. template: as for `predict`. prompt: what is asked for a text, with {text} in it. max_tokens: of a written answer."""

    model_config = ConfigDict(extra="forbid")

    annotation: str = Field(min_length=1, max_length=128)
    model: str = Field(min_length=1, max_length=512)
    chunk: int = Field(32, ge=1, le=1024)
    overwrite: bool = False
    uncertainty: Literal["entropy", "margin"] = "entropy"
    template: str | None = Field(None, max_length=10_000)
    prompt: str = Field(PROMPT, min_length=1, max_length=10_000)
    max_tokens: int = Field(256, ge=1, le=8192)


@kinds.register("prelabel")
class PrelabelKind(JobKind):
    """Lets a model label the items of an annotation project first."""

    params = PrelabelParams
    checkpoints: ClassVar[bool] = True

    def check_remote(self, params: Any) -> None:
        from llmos.server.work import refuse_local_path

        refuse_local_path(params.model)

    def run(self, params: PrelabelParams, context: JobContext) -> dict[str, Any]:
        from llmos.data.annotate.service import Annotations
        from llmos.engine.batch.engines import batch_session
        from llmos.infra.database import open_database
        from llmos.library.library import Library

        with closing(open_database(context.settings)) as database:
            notes = Annotations(database)
            found = notes.get(params.annotation, context.project)
            if not found.kind.prelabels:
                raise UnsupportedFeature(f"Models do not pre-label the task {found.task!r}.", param="params.annotation")
            local = context.job.submitted_by in ("", "env")
            library = Library.open(context.settings) if local else Library(context.settings).seen_by(context.project)
            feature = _feature(found, library, params.model)
            source = batch_session(context.settings, library, params.model, feature, whose=context.id, notify=context.log)
            with source as (session, _):
                return _label(notes, found, session, params, context)


def _feature(found: AnnotationProject, library: Library, model: str) -> Feature:
    """What the engine must do."""
    from llmos.engine.base import Feature
    from llmos.types import Family

    if found.kind.prelabels != "predict":
        return Feature.GENERATE
    families = {Family.CLASSIFIER: Feature.CLASSIFY, Family.MASKED: Feature.FILL_MASK, Family.ENCODER: Feature.EMBED}
    return families.get(library.resolve(model).card.family, Feature.SCORE)


def _label(notes: Any, found: AnnotationProject, session: Session, params: PrelabelParams, context: JobContext) -> dict[str, Any]:
    state = context.checkpoint or {"after": 0, "done": 0, "empty": 0}
    after, done, empty = int(state["after"]), int(state["done"]), int(state["empty"])
    total = int(state.get("total") or notes.prelabels.count(found, overwrite=params.overwrite))
    while True:
        context.step()
        pending = notes.prelabels.pending(found, after=after, limit=params.chunk, overwrite=params.overwrite)
        if not pending:
            break
        said = _said(found, session, pending, params, context)
        made = [(item, data, *one) for (item, data), one in zip(pending, said, strict=True) if one is not None]
        notes.prelabels.put(found, made)
        after, done, empty = pending[-1][0], done + len(made), empty + len(pending) - len(made)
        context.progress(done + empty, total, "items", f"{empty} without an answer" if empty else "")
        context.save({"after": after, "done": done, "empty": empty, "total": total})
    return {"annotation": found.id, "model": session.card.ref, "labelled": done, "empty": empty}


def _said(
    found: AnnotationProject,
    session: Session,
    pending: list[tuple[int, dict[str, Any]]],
    params: PrelabelParams,
    context: JobContext,
) -> list[Any]:
    """As `_asked`. Where an item is too long for the model the others of its chunk are asked alone."""
    try:
        return _asked(found, session, [data for _, data in pending], params)
    except ContextLengthExceeded as problem:
        if len(pending) == 1:
            context.log(f"item {pending[0][0]} has no pre-label: {problem}", "warning")
            return [None]
    return [one for place in pending for one in _said(found, session, [place], params, context)]


def _asked(found: AnnotationProject, session: Session, items: list[dict[str, Any]], params: PrelabelParams) -> list[Any]:
    """(pre-label, uncertainty) of each item; None where the model wrote nothing."""
    how = found.kind.prelabels
    if how == "predict":
        return _predicted(found, session, items, params)
    if how == "translate":
        return _translated(found, session, items)
    return _written(session, items, params)


def _predicted(found: AnnotationProject, session: Session, items: list[dict[str, Any]], params: PrelabelParams) -> list[Any]:
    from llmos.data.annotate.base import Prelabel
    from llmos.data.annotate.uncertainty import uncertainty
    from llmos.engine.scoring import predict

    several = found.task == "multilabel"
    labels = {label.name: label.description or label.name for label in found.settings.labels}
    texts = [data["text"] for data in items]
    made = predict(session, texts, labels, multi_label=several, template=params.template)
    return [
        (
            Prelabel(
                value={"labels": list(one.labels)} if several else {"label": one.label},
                model=one.model,
                probabilities=dict(one.probabilities),
            ),
            uncertainty(one.probabilities, params.uncertainty, several=several),
        )
        for one in made
    ]


def _translated(found: AnnotationProject, session: Session, items: list[dict[str, Any]]) -> list[Any]:
    from llmos.apps.translate import translate
    from llmos.data.annotate.base import Prelabel
    from llmos.errors import InvalidValue

    options = found.kind.options(found.settings)
    if not options.target_language:
        hint = "Set config.options.target_language of the project."
        raise InvalidValue("The project does not say into which language to translate.", param="params.annotation", hint=hint)
    source = options.source_language or None
    texts = translate(session, [data["source"] for data in items], options.target_language, source)
    return [(Prelabel(value={"target": text}, model=session.card.ref), None) if text.strip() else None for text in texts]


def _written(session: Session, items: list[dict[str, Any]], params: PrelabelParams) -> list[Any]:
    """Answers to the prompt, greedy. A model that chats is asked as a user would."""
    from llmos.data.annotate.base import Prelabel
    from llmos.errors import InvalidValue
    from llmos.types import Message, Sampling

    if "{text}" not in params.prompt:
        raise InvalidValue("The prompt has no {text} in it.", param="params.prompt")
    sampling = Sampling(max_tokens=params.max_tokens, temperature=0.0)
    prompts = [params.prompt.replace("{text}", data["text"]) for data in items]
    running = [
        session.chat([Message(role="user", content=prompt)], sampling, work="batch", stream=False)
        if session.chats
        else session.complete(prompt, sampling, work="batch", stream=False)
        for prompt in prompts
    ]
    texts = [generation.result()[0].text.strip() for generation in running]
    return [(Prelabel(value={"text": text}, model=session.card.ref), None) if text else None for text in texts]
