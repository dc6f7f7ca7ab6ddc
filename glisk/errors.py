"""The error tree of the program: one question decides what happens next, transient or permanent?

A service that catches `TransientError` may try the row again later; everything else must not be
tried again without a change. An error that is not in this tree is never taken as harmless.
`error_class` is the stable word that is stored in the database and counted by metrics; `str()` is
safe to show to an operator.
"""

from __future__ import annotations

import random
from copyreg import __newobj__  # type: ignore[attr-defined]  # what pickle itself uses
from typing import Any, Final, TypeGuard

from glisk.logging.redaction import redact_text, storable_text
from glisk.timing import timing

# Vendors answer with whole HTML pages; what an operator needs stands at the beginning.
MAX_MESSAGE_LENGTH = 1000
_JITTER: Final = 0.2


class GliskError(Exception):
    """Base of every error that this program raises on purpose."""

    error_class: str = "internal"


class ProviderError(GliskError):
    """A call to an outside service failed.

    `vendor` names the service ("replicate", "pinata", "gateway", …), `status` is the HTTP status
    if there was a reply, `code` the vendor's own word for the fault or ours. `said` is the vendor's
    own text, if it gave one: the message holds ours as well. `retry_after_seconds` is the vendor's
    wish (Retry-After). `rate_limited`: the call was refused for its rate, the vendor is well and
    nothing was done; the attempt should not count against the row.
    """

    error_class: str = "provider"

    def __init__(
        self,
        message: str,
        *,
        vendor: str,
        status: int | None = None,
        code: str | None = None,
        said: str = "",
        retry_after_seconds: float | None = None,
        rate_limited: bool = False,
    ) -> None:
        super().__init__(_shown(message))
        self.vendor = vendor
        self.status = status
        self.code = redact_text(code) if code is not None else None
        self.said = _shown(said)
        self.retry_after_seconds = retry_after_seconds
        self.rate_limited = rate_limited
        if rate_limited:
            self.error_class = "rate_limited"

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({str(self)!r}, vendor={self.vendor!r}, "
            f"status={self.status!r}, code={self.code!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt from `args` by default, which a keyword-only `vendor` breaks;
        # the task queue pickles what a task raised.
        return (__newobj__, (type(self), *self.args), self.__dict__)


def _shown(text: str) -> str:
    return redact_text(storable_text(text))[:MAX_MESSAGE_LENGTH]


class TransientError(ProviderError):
    """The same call may succeed later."""

    error_class = "transient"


class UnknownOutcomeError(TransientError):
    """A request that is not safe to repeat was sent, and its reply was lost.

    The vendor may have accepted it, and charged for it: find out (callback, listing) before the
    call is made again.
    """

    error_class = "unknown_outcome"


class NotSentError(TransientError):
    """A call was surely not made, since too much time had passed when it was about to be."""

    error_class = "not_sent"


class PermanentError(ProviderError):
    """Repeating the same call cannot succeed."""

    error_class = "permanent"


class InvalidRequestError(PermanentError):
    """The vendor refused what this one call asked for; other rows are not concerned."""

    error_class = "validation"


class ContentPolicyError(PermanentError):
    """The prompt or the picture was refused by the vendor's moderation."""

    error_class = "content_policy"


class AccountError(PermanentError):
    """The account, its key, its credit or its configuration is refused: every row would fail.

    The stage must be paused until an operator has acted; the row itself is not at fault.
    """

    error_class = "account"


class ArtefactError(PermanentError):
    """Bytes are not what they have to be: damaged, of a wrong type, or with another CID."""

    error_class = "artefact"


class NoImageError(PermanentError):
    """A generation ended well, was paid for, and brought no image: another one may do the same."""

    error_class = "no_image"


class UnexpectedError(PermanentError):
    """A fault of this program, met at work on one row: it is set aside, the others go on."""

    error_class = "unexpected"


def is_for_the_rate(error: BaseException | None) -> TypeGuard[ProviderError]:
    return isinstance(error, ProviderError) and error.rate_limited


def is_account_or_rate(error: BaseException) -> bool:
    """Tell a refusal of our account, or of our rate: then no other call is answered either."""
    return is_for_the_rate(error) or isinstance(error, AccountError)


def as_provider_error(error: BaseException, *, vendor: str) -> ProviderError:
    if isinstance(error, ProviderError):
        return error
    return UnexpectedError(
        f"{vendor}: unexpected {type(error).__name__}: {error}. This is a fault of the program: "
        "the traceback is in the worker's log.",
        vendor=vendor,
    )


def error_class_of(error: BaseException) -> str:
    """Return the stable class word of any exception; "unexpected" for those not of this tree."""
    return error.error_class if isinstance(error, GliskError) else "unexpected"


def backoff_seconds(
    attempt: int, *, base: float = 1.0, cap: float = 300.0, at_least: float | None = None
) -> float:
    """Return the seconds to wait after the given failed attempt (the first is 1).

    They double from `base` up to `cap`, then are shortened by up to a fifth, so that rows which
    failed together do not come back together. `at_least` takes a vendor's Retry-After: the wait is
    never shorter than that, even if it exceeds `cap`.
    """
    draw = random.random() * _JITTER
    wait = min(cap, base * 2.0 ** min(attempt - 1, 100)) * (1 - draw) * timing.backoff
    if at_least is not None and wait < at_least:
        # Spread upwards from what the vendor asked for, but by no more than one base step.
        wait = at_least + base * draw * timing.backoff
    return wait
