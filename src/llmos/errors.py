"""Every error LLMOS raises on purpose, in one tree.

    LLMOSError
    ├── UsageError                  the caller asked for something that cannot be (400)
    │   ├── InvalidValue            one field has a bad value; `param` names it
    │   ├── ContextLengthExceeded   prompt and answer do not fit the model's context
    │   └── UnsupportedFeature      no installed engine can do this for this model
    ├── NotFound                    model, alias, file or adapter is unknown (404)
    ├── Conflict                    the state does not allow it (409)
    │   └── Fenced                  a newer attempt of the job has taken over; what this one did is not recorded
    ├── JobFailed                   a job that was waited for did not succeed; `job_code` says why (500)
    ├── PermissionDenied            key missing or wrong; a hub that gives no access (401)
    ├── NotAllowed                  known, but not one of those who may do this (403)
    ├── LicenceNotAccepted          the model's licence must be accepted first (403)
    ├── SourceError                 a hub, index or remote endpoint failed (502)
    │   ├── SourceStatus            it answered with an error; `status` is the HTTP status
    │   └── Unreachable             the network does not lead there (502)
    ├── ModelFileError              a model file is refused (422)
    │   ├── CorruptFile             truncated, or its hash is wrong
    │   └── UnsafeFile              pickle, code, polyglot
    ├── LimitExceeded               a limited child process ran over its memory, CPU or wall-clock limit (422)
    ├── ChildCrashed                a limited child process ended or failed in a way nobody foresaw (500)
    ├── MissingExtra                an optional dependency is needed; the message is the command (501)
    ├── EngineError                 the engine failed on this request (500)
    │   ├── EngineDied              its process ended while it worked (503)
    │   └── Quarantined             this request has killed its engine three times (422)
    ├── OverCapacity                not now: queue full or memory budget exceeded (503)
    ├── RateLimited                 your quota is used up (429)
    ├── DeadlineExceeded            the time given for the request is over (504)
    ├── Cancelled                   the caller cancelled it (499)
    └── StorageError                disk full or failing (507)

The CLI prints `message` and `hint`, never a traceback. The server turns each into the OpenAI error shape with
`http_status`, `code` and `param`. Users catch `LLMOSError`:

    from llmos import LLMOS, errors

    try:
        model = LLMOS().load_model("bert-base-uncased")
    except errors.Unreachable as error:
        print(error.hint)
"""

from __future__ import annotations


class LLMOSError(Exception):
    """Base of the tree.

    message: what happened, with the numbers or names that clash.
    param: the field of the request that is to blame, or None.
    hint: what to do next, one sentence or a command, or "".
    retry_after_s: when trying again makes sense, in seconds, or None.
    """

    http_status = 500
    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.hint = hint
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(LLMOSError):
    http_status = 400
    code = "invalid_request"


class InvalidValue(UsageError):
    code = "invalid_value"


class ContextLengthExceeded(UsageError):
    code = "context_length_exceeded"


class UnsupportedFeature(UsageError):
    code = "unsupported_feature"


class NotFound(LLMOSError):
    http_status = 404
    code = "not_found"


class Conflict(LLMOSError):
    http_status = 409
    code = "conflict"


class Fenced(Conflict):
    code = "fenced"


class JobFailed(LLMOSError):
    """job_id: which. job_code: the code of the error that ended it, or "cancelled"."""

    code = "job_failed"

    def __init__(self, message: str, *, job_id: str, job_code: str, param: str | None = None, hint: str = "") -> None:
        super().__init__(message, param=param, hint=hint)
        self.job_id = job_id
        self.job_code = job_code


class PermissionDenied(LLMOSError):
    http_status = 401
    code = "permission_denied"


class NotAllowed(LLMOSError):
    http_status = 403
    code = "not_allowed"


class LicenceNotAccepted(LLMOSError):
    http_status = 403
    code = "licence_not_accepted"


class SourceError(LLMOSError):
    http_status = 502
    code = "source_error"


class Unreachable(SourceError):
    code = "source_unreachable"


class SourceStatus(SourceError):
    """status: of HTTP. body: the first 4096 bytes of the answer, as text."""

    def __init__(self, message: str, *, status: int, body: str = "", hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint, retry_after_s=retry_after_s)
        self.status = status
        self.body = body


class ModelFileError(LLMOSError):
    http_status = 422
    code = "model_file_refused"


class CorruptFile(ModelFileError):
    code = "model_file_corrupt"


class UnsafeFile(ModelFileError):
    code = "model_file_unsafe"


class LimitExceeded(LLMOSError):
    http_status = 422
    code = "limit_exceeded"


class ChildCrashed(LLMOSError):
    code = "child_crashed"


class MissingExtra(LLMOSError):
    http_status = 501
    code = "missing_extra"

    def __init__(self, extra: str, *, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the optional dependencies of the extra '{extra}'.",
            hint=f"Install them with: pip install 'llmos[{extra}]'",
        )
        self.extra = extra
        self.needed_for = needed_for


class EngineError(LLMOSError):
    code = "engine_error"


class EngineDied(EngineError):
    http_status = 503
    code = "engine_died"


class Quarantined(EngineError):
    http_status = 422
    code = "request_quarantined"


class OverCapacity(LLMOSError):
    http_status = 503
    code = "over_capacity"


class RateLimited(LLMOSError):
    http_status = 429
    code = "rate_limit_exceeded"


class DeadlineExceeded(LLMOSError):
    http_status = 504
    code = "deadline_exceeded"


class Cancelled(LLMOSError):
    http_status = 499
    code = "cancelled"


class StorageError(LLMOSError):
    http_status = 507
    code = "storage_error"


def did_you_mean(unknown: str, known: list[str], *, limit: int = 20) -> str:
    """The hint for an unknown name: the nearest known ones, then the list, cut at `limit` with its length said."""
    import difflib

    near = difflib.get_close_matches(unknown, known, n=3, cutoff=0.5)
    listed = ", ".join(sorted(known)[:limit]) + (f", … ({len(known)} in all)" if len(known) > limit else "")
    return (f"Did you mean {' or '.join(near)}? " if near else "") + f"Known: {listed or 'none'}."
