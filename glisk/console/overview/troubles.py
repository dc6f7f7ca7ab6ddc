"""What is wrong at this moment, in words: each fault with its cause and what to do about it.

The dashboard, `manage.py pipeline_status` (whose exit status is 2 while there is one) and the pages
of the tokens concerned show the same list. Everything is read from rows, no foreign machine is
asked.

To name a new cause of waiting: raise it where it is met (`raise_alarm` of glisk.engine.heartbeat),
or, if it stands in a row already, read it in `causes.py`. A token's own error needs neither: its
text is shown, with the advice for its class. What nobody has named is told by the general alarm: so
many tokens of a stage have made no progress for so long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from django.urls import reverse

from glisk.breaker import headline_for_breaker
from glisk.clock import database_now
from glisk.console.overview import stages, system
from glisk.console.overview.causes import (
    PAGE,
    Trouble,
    find_causes,
    has_open_breaker,
    missing_webhooks,
    one_for_one_cause,
)
from glisk.console.overview.stages import HELD, LOOKUP, QUEUE, SENT, WORKING, Group
from glisk.console.overview.system import ChainFacts, Worker
from glisk.management.base import counted
from glisk.pauses import STAGE_LABELS
from reveals.models import RevealTransaction
from tokens.admin.filters import failed_url
from tokens.admin.summary import advice_for_class, advice_for_waiting
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.totals import Failures
from webhooks.authentication import alarm_of

# A drain that ends is followed by the next one within seconds.
_NO_DRAIN_SECONDS = 30
_SWITCHES = {
    "generation": "ENABLE_IMAGE_WORKER",
    "upload": "ENABLE_IPFS_WORKER",
    "reveal": "ENABLE_REVEAL_WORKER",
}
_PLACES = {
    "generation": "WORKER_BATCH_SIZE, or add a worker",
    "upload": "UPLOAD_CONCURRENCY, or add a worker",
    "reveal": "REVEAL_MAX_IN_FLIGHT",
}
_AT_A_LIMIT = {QUEUE, "rate_limited", "vendor_down"}
# What tokens wait for that have no error of their own: in words, and what to do.
_CAUSES: Final[dict[str, tuple[str, str]]] = {
    SENT: (
        "The reveal transaction is not mined yet.",
        "Nothing, as a rule: after TRANSACTION_TIMEOUT_SECONDS it is replaced with higher fees. "
        "To hurry it: the reveal batch, Speed up.",
    ),
    LOOKUP: (
        "The reply to a paid call was lost. The vendor's list of predictions is searched "
        "before anything is paid for again.",
        "Nothing, if the vendor answers. Else see the vendor's status page, and whether the key "
        "may list predictions (manage.py check_setup).",
    ),
    WORKING: (
        "A worker is at it and waits for an answer.",
        "Look at the vendor's status page and at the worker's log.",
    ),
    QUEUE: (
        "No error is known: the turn has not come.",
        "If others move on, all places are taken: raise {places}. If nothing moves, read the "
        "worker's log.",
    ),
}


def find_troubles(
    causes: Sequence[Trouble],
    *,
    workers: Sequence[Worker],
    chain: ChainFacts,
    groups: Sequence[Group],
    failures: Sequence[Failures],
) -> list[Trouble]:
    """Return the troubles by what was read, the gravest first; three queries more at most."""
    waiting = [group for group in groups if group.cause != HELD]
    oldest = {group.stage: group.oldest_at for group in reversed(waiting)}
    missing = list(_missing_workers(workers, oldest))
    if not any(cause.name == "worker" for cause in missing):  # nobody reads the chain, of course
        missing += _unread_chain(chain, causes)
    causes = [*missing, *one_for_one_cause(causes)]
    told = [
        replace(cause, tokens=sum(g.number for g in waiting if g.stage in cause.stages))
        for cause in causes
    ]
    # What is refused is missing, too: one cause.
    is_refused = any(cause.name == alarm_of("alchemy") for cause in causes)
    found = [
        # A limit is met all the time; it is a trouble while somebody waits for it.
        *(cause for cause in told if cause.tokens or cause.kind != "limit"),
        *_without_progress(waiting, causes),
        *_held(groups),
        *_failed(failures),
        *filter(None, [None if is_refused else missing_webhooks()]),
    ]
    return sorted(found, key=lambda trouble: trouble.level != PAGE)


def troubles_of(token: Token) -> list[Trouble]:
    """Return those of the troubles that keep this token from going on, for its page.

    What stands in the token itself (held, failed) is shown there anyway.
    """
    stage = stages.STAGE_OF.get(TokenStatus(token.status))
    if stage is None or token.held_at is not None:
        return []
    causes = [
        *_missing_workers(system.workers(), {stage: token.status_changed_at}),
        *one_for_one_cause(find_causes()),
    ]
    found = [cause for cause in causes if stage in cause.stages]
    return [*found, *_without_progress(stages.groups(token_id=token.pk), found)]


def waiting_states() -> dict[TokenStatus, str]:
    """Return the states whose tokens wait for the same cause, and for what, in a few words."""
    return {
        status: cause.headline
        for cause in one_for_one_cause(find_causes())
        if cause.kind not in ("limit", "alarm")  # they pass
        for stage in cause.stages
        for status in stages.STAGES[stage]
    }


def _missing_workers(
    workers: Sequence[Worker], oldest: Mapping[str, datetime]
) -> Iterator[Trouble]:
    """Yield what no worker does; `oldest`: since when tokens have been in these stages."""
    alive = {worker.stage for worker in workers if worker.alive}
    if not alive:
        yield Trouble(
            "worker",
            "worker",
            "No worker is alive",
            advice="Start one: make worker (manage.py qcluster). If it ends at once, its last "
            "lines say why. Nothing is lost meanwhile.",
            since=max((worker.beat_at for worker in workers), default=None),
            stages=tuple(stages.STAGES),
        )
        return
    before = database_now() - timedelta(seconds=_NO_DRAIN_SECONDS)
    for stage, since in oldest.items():
        if since < before and stage not in alive:
            yield Trouble(
                "worker",
                stage,
                f"{STAGE_LABELS[stage]} stopped: no worker does it",
                advice=f"Set {_SWITCHES[stage]}=true where a worker is to do it, and restart it. "
                "If it is set, that worker's log says why it does not begin.",
                since=since,
                stages=(stage,),
            )


def _unread_chain(chain: ChainFacts, causes: Iterable[Trouble]) -> Iterator[Trouble]:
    if not chain.is_fresh and not has_open_breaker(causes, "rpc"):
        yield Trouble(
            "chain",
            "chain",
            f"{headline_for_breaker('rpc')}: no worker looks at the chain",
            advice="A worker does it every POLL_INTERVAL_SECONDS: read its log.",
            since=chain.read_at,
        )


def _without_progress(groups: Iterable[Group], known: Iterable[Trouble]) -> Iterator[Trouble]:
    """Yield the general alarm: for each cause that is the tokens' own, or that nobody knows."""
    found: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for group in groups:
        if group.stuck and not _explains(known, group):
            found[group.stage, group.cause].append(group)
    errors = _errors(same[0].oldest_id for same in found.values())
    for (stage, cause), same in found.items():
        oldest = same[0]  # that of the oldest token
        words, advice = _CAUSES.get(cause, ("", advice_for_waiting(cause)))
        error = _refusal_of(oldest.oldest_id) if cause == SENT else errors.get(oldest.oldest_id, "")
        example = f"Token {oldest.oldest_id}: {error}" if error else ""
        number = sum(group.stuck for group in same)
        yield Trouble(
            "tokens",
            f"{stage}:{cause}",
            f"{counted(number, 'token')} in {stage} without progress",
            " ".join(filter(None, (words, example))),
            advice.replace("{places}", _PLACES[stage]),
            since=oldest.oldest_at,
            stages=(stage,),
            tokens=number,
            url=_listed(attention="stuck", status__exact=oldest.status),
        )


def _explains(causes: Iterable[Trouble], group: Group) -> bool:
    """Tell whether a group waits for one of the causes, as far as one can know."""
    kinds = {cause.kind for cause in causes if group.stage in cause.stages}
    # Nobody waits for long at a limit but those whose turn has not come.
    return bool(kinds - {"limit"}) or ("limit" in kinds and group.cause in _AT_A_LIMIT)


def _refusal_of(token_id: int) -> str:
    """Return why no node takes a token's open transaction; empty if one has."""
    item = {"batch__items__token": token_id, "batch__items__is_open": True}
    newest = RevealTransaction.objects.filter(**item).order_by("-id")
    return newest.values_list("error", flat=True).first() or ""


def _errors(token_ids: Iterable[int]) -> dict[int, str]:
    found = Token.objects.filter(pk__in=list(token_ids)).values_list("pk", "generation_error")
    return {token_id: error or "" for token_id, error in found}


def _held(groups: Iterable[Group]) -> Iterator[Trouble]:
    number = sum(group.number for group in groups if group.cause == HELD)
    held = Token.objects.active().filter(held_at__isnull=False).order_by("held_at")
    if number and (token := held.only("held_at", "hold_reason").first()):
        yield Trouble(
            "held",
            "held",
            f"{counted(number, 'token')} {'is' if number == 1 else 'are'} held",
            f"Token {token.pk}: {token.hold_reason}",
            "To be released when the reason is gone: nothing new is begun until then.",
            since=token.held_at,
            tokens=number,
            url=_listed(attention="held"),
        )


def _failed(failures: Iterable[Failures]) -> Iterator[Trouble]:
    # What somebody has given up by hand is no news.
    found = [failure for failure in failures if failure.error_class != "operator"]
    errors = _errors(failure.newest_id for failure in found)
    for failure in found:
        name = failure.error_class or "no class"
        yield Trouble(
            "failed",
            failure.error_class,
            f"{counted(failure.number, 'token')} failed in 24 hours: {name.replace('_', ' ')}",
            f"Token {failure.newest_id}: {errors.get(failure.newest_id, '')}",
            advice_for_class(failure.error_class),
            tokens=failure.number,
            url=failed_url(failure.error_class),
        )


def _listed(**chosen: str) -> str:
    """Return the address of the list of tokens, narrowed."""
    return f"{reverse('admin:tokens_token_changelist')}?{urlencode(chosen)}"
