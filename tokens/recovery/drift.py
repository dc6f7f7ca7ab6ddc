"""Where chain and database differ, what was mended, and what an operator has to do.

Complete by command. By itself every few minutes it compares what can differ: tokens that are on
their way, tokens that were revealed lately, what differed before, and some of all others in turn.

An operator's comparison of all tokens goes in pieces: a provider that counts calls lets a few
thousand tokens an hour through, and no task may run for so long. What is known so far is kept
between the pieces; the report of all of them comes at the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Self

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from glisk.clients.chain import ChainClient, OnChainToken, Survey
from glisk.models import SystemState
from glisk.timing import timing
from tokens.models import MintEvent, Token
from tokens.recovery.adoption import FACTS_AT_ONCE, adopt, adoptable
from tokens.recovery.completeness import prove_tiling
from tokens.recovery.gaps import missing_ranges, vanished_tokens
from tokens.recovery.progress import load_progress
from tokens.recovery.withdrawal import withdraw
from tokens.states import ADOPTABLE, TokenStatus

logger = structlog.get_logger(__name__)

KEY = "drift_report"
ACTOR = "drift"
LISTED = 100  # of each kind; the counts are complete
# Of ids that are given out next, so many are looked at for reveals that came too early.
_IDS_AHEAD = 100
_NOT_REVEALED = "revealed here, not on chain"
# What an operator has to do about each kind of difference.
ADVICE = {
    "not_tiled": "Run `manage.py recover_tokens`: it reads the blocks around the gap again.",
    "missing": "Run `manage.py recover_tokens`.",
    "vanished": "The contract has not given these ids out. Check GLISK_NFT_CONTRACT_ADDRESS and "
    "RPC_URL. If both are right, a reorg took the mints: the worker withdraws what is not "
    "revealed within a minute.",
    "author_differs": "Chain and database name different authors. The mint is looked at again by "
    "the worker; if this stays, compare GLISK_NFT_CONTRACT_ADDRESS with the mint's transaction.",
    "uri_differs": "The URI on chain is not ours. It cannot be changed: compare both files, and "
    "find out who else holds KEEPER_ROLE.",
    "not_revealed": "The database says revealed, the chain does not: look at the transaction on "
    "an explorer, and check that the node is on the right chain.",
    "revealed_by_others": "Whoever holds KEEPER_ROLE or the admin role did this. The worker, or "
    "`manage.py check_drift --repair`, adopts the tokens, so that nothing more is paid for them.",
    "revealed_unminted": "Somebody revealed ids that are not minted yet: whoever mints them gets "
    "that art. Find out who holds KEEPER_ROLE, and revoke it.",
}
_PIECES_KEY = "comparison"


@dataclass
class Finding:
    kind: str
    token_id: int  # 0 if it is about a range of ids
    detail: str
    repaired: bool = False


@dataclass
class DriftReport:
    checked_at: str = ""
    complete: bool = False  # every token was compared
    next_token_id: int = 0
    tokens_checked: int = 0
    tiled: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    unrepaired: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        self.unrepaired += not finding.repaired
        self.counts[finding.kind] = self.counts.get(finding.kind, 0) + 1
        if self.counts[finding.kind] <= LISTED:
            self.findings.append(finding)

    @property
    def is_clean(self) -> bool:
        return self.tiled and self.unrepaired == 0

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Read a stored report; one that another version stored counts as none."""
        try:
            findings = [Finding(**finding) for finding in value.get("findings", [])]
            return cls(**value | {"findings": findings})
        except (TypeError, ValueError, AttributeError):
            return cls()


def check_drift(
    reader: ChainClient,
    *,
    repair: bool,
    since_id: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> DriftReport:
    """Compare every token from `since_id` on with the contract; keep the report.

    `repair` adopts tokens that the chain calls revealed and we do not, which only stops spending,
    and begins anew with adopted ones that the chain calls unrevealed. Raises the errors of the
    reader.
    """
    report = begin_check(reader)
    compare_pages(reader, report, since_id=since_id, repair=repair, on_progress=on_progress)
    report.complete = since_id <= 1
    return keep(report)


def begin_check(reader: ChainClient) -> DriftReport:
    """Return a report of what can be told without a look at each token. Raises as the reader."""
    survey = reader.survey()
    report = _begin(survey, proven_below=1)
    ahead = list(range(survey.next_token_id, survey.next_token_id + _IDS_AHEAD))
    for token_id in reader.revealed(ahead):
        report.add(Finding("revealed_unminted", token_id, "revealed, but not minted"))
    return report


def compare_pages(
    reader: ChainClient,
    report: DriftReport,
    *,
    since_id: int,
    repair: bool,
    on_progress: Callable[[int, int], None] | None = None,
    until: float = math.inf,
) -> int | None:
    """Compare the tokens from `since_id` on; return the id to go on from, None at the end.

    `until`: no page is begun after this moment of time.monotonic(), but the first.
    """
    start = since_id
    while True:
        found = Token.objects.filter(token_id__gte=start, token_id__lt=report.next_token_id)
        tokens = list(_tokens(found)[:FACTS_AT_ONCE])
        if not tokens:
            return None
        _compare_all(reader, tokens, report, repair=repair)
        if on_progress is not None:
            on_progress(report.tokens_checked, report.next_token_id - since_id)
        start = tokens[-1].pk + 1
        if time.monotonic() > until and start < report.next_token_id:
            return start


def check_some(
    reader: ChainClient, survey: Survey, *, token_ids: Sequence[int], proven_below: int
) -> DriftReport:
    """Compare these tokens, and those that differed before; mend, and keep the report.

    `proven_below`: the mint events below are known to tile.
    """
    report = _begin(survey, proven_below=proven_below)
    before = last_report()
    wanted = {*token_ids, *(f.token_id for f in before.findings if f.token_id and not f.repaired)}
    known = Token.objects.filter(token_id__in=wanted, token_id__lt=survey.next_token_id)
    tokens = list(_tokens(known))
    for start in range(0, len(tokens), FACTS_AT_ONCE):
        _compare_all(reader, tokens[start : start + FACTS_AT_ONCE], report, repair=True)
    unminted = [f.token_id for f in before.findings if f.kind == "revealed_unminted"]
    for token_id in unminted:
        if token_id >= survey.next_token_id:
            report.add(Finding("revealed_unminted", token_id, "revealed, but not minted"))
    return keep(report)


def report_finding(finding: Finding) -> None:
    """Add what was found elsewhere to the last report; the next check looks at it again."""
    with transaction.atomic():
        SystemState.objects.get_or_create(state_key=KEY, defaults={"state_value": {}})
        SystemState.objects.select_for_update().get(state_key=KEY)
        report = last_report()
        known = {(f.kind, f.token_id) for f in report.findings}
        if (finding.kind, finding.token_id) not in known:
            report.add(finding)
            SystemState.objects.filter(state_key=KEY).update(state_value=asdict(report))
    logger.error("drift_found", kind=finding.kind, token_id=finding.token_id)


def last_report() -> DriftReport:
    """Return the report of the last check; an empty one if there was none."""
    return DriftReport.parse(_stored(KEY))


def _stored(key: str) -> Any:
    rows = SystemState.objects.filter(state_key=key)
    return rows.values_list("state_value", flat=True).first()


def _begin(survey: Survey, *, proven_below: int) -> DriftReport:
    now = timezone.now().isoformat(timespec="seconds")
    report = DriftReport(checked_at=now, next_token_id=survey.next_token_id)
    tiling = prove_tiling(survey.next_token_id, known_below=proven_below, limit=LISTED)
    report.tiled = tiling.is_exact
    for fault in tiling.faults():
        report.add(Finding("not_tiled", 0, fault))
    for first, last in missing_ranges(survey.next_token_id, known_below=proven_below)[:LISTED]:
        report.add(Finding("missing", 0, f"ids {first} to {last} have no row"))
    for token_id in vanished_tokens(survey.next_token_id):
        report.add(Finding("vanished", token_id, "unknown to the contract"))
    return report


def keep(report: DriftReport) -> DriftReport:
    """Make it the last report."""
    SystemState.put(KEY, asdict(report))
    if not report.is_clean:
        logger.error("drift_found", counts=report.counts)
    return report


def _tokens(found: QuerySet[Token]) -> QuerySet[Token]:
    """Return what is compared of tokens."""
    columns = ("status", "status_changed_at", "prompt_author_wallet", "metadata_cid")
    return found.order_by("token_id").only(*columns, "adopted_uri", "mint_event_id")


def _compare_all(
    reader: ChainClient, tokens: Sequence[Token], report: DriftReport, *, repair: bool
) -> None:
    """Compare tokens as they were before the chain is asked."""
    facts = reader.tokens([token.pk for token in tokens])
    report.tokens_checked += len(tokens)
    ahead: dict[int, OnChainToken] = {}
    undone: list[int] = []
    for token in tokens:
        chain = facts[token.pk]
        if chain.prompt_author != token.prompt_author_wallet.lower():
            detail = f"on chain {chain.prompt_author}, here {token.prompt_author_wallet}"
            report.add(Finding("author_differs", token.pk, detail))
            if repair and token.mint_event_id is not None:
                # A reorg took the mint, or the token is not the mint's: the next look finds out.
                MintEvent.objects.filter(pk=token.mint_event_id).unsettle()
        if token.status in ADOPTABLE and chain.revealed:
            ahead[token.pk] = chain
        elif token.status == TokenStatus.REVEALED and not chain.revealed:
            if repair and _may_begin_anew(token):
                undone.append(token.pk)
            else:
                report.add(Finding("not_revealed", token.pk, _NOT_REVEALED))
        elif token.status == TokenStatus.REVEALED and chain.uri != token.token_uri:
            detail = f"on chain {chain.uri[:200]!r}, here {(token.token_uri or '')[:200]!r}"
            report.add(Finding("uri_differs", token.pk, detail))
    # What is revealed on chain and not here is adopted; a token in flight is left to its receipt.
    adopted = adopt(ahead, actor=ACTOR) if repair else adoptable(ahead)
    for token_id in sorted(adopted):
        told = (
            "adopted as revealed with {!r}" if repair else "revealed on chain with {!r}, not here"
        )
        detail = told.format(ahead[token_id].uri[:200])
        report.add(Finding("revealed_by_others", token_id, detail, repaired=repair))
    gone = begin_anew(reader, undone)
    for token_id in undone:
        detail = "the reveal by others is gone; made anew" if token_id in gone else _NOT_REVEALED
        report.add(Finding("not_revealed", token_id, detail, repaired=token_id in gone))


def _may_begin_anew(token: Token) -> bool:
    """Tell whether a token was adopted, long enough ago: nothing of ours is lost by a new start."""
    long_ago = token.status_changed_at < timezone.now() - timedelta(seconds=timing.node_lag)
    return token.adopted_uri is not None and long_ago


def begin_anew(reader: ChainClient, token_ids: Sequence[int]) -> set[int]:
    """Withdraw those that the chain surely calls unrevealed; the next look makes them anew.

    Returns which those are. They are asked for once more, by the number of the newest block that
    was ever seen: a node that lags, which the head shows or which has no such block, proves
    nothing. Raises the errors of the reader.
    """
    if not token_ids:
        return set()
    head, seen = reader.survey().head.number, load_progress().head
    if seen is not None and head < seen:
        return set()
    facts = reader.tokens(token_ids, block=head)
    gone = {token_id for token_id in token_ids if not facts[token_id].revealed}
    with transaction.atomic():
        tokens = Token.objects.select_for_update().filter(
            token_id__in=gone, status=TokenStatus.REVEALED, adopted_uri__isnull=False
        )
        withdraw(
            list(tokens), "the reveal that it was adopted for is not part of the chain any more"
        )
    return gone


def compare_piece(
    reader: ChainClient, *, since_id: int, budget_seconds: float
) -> tuple[DriftReport, int | None]:
    """Compare for some seconds; return what differs so far and where to go on, None at the end.

    `since_id` 1 begins anew. A piece that another comparison has left behind ends at once, with
    an empty report. Raises the errors of the reader.
    """
    until = time.monotonic() + budget_seconds
    if since_id <= 1:
        report = begin_check(reader)
    else:
        kept = _stored(_PIECES_KEY) or {}
        if kept.get("below") != since_id:
            return DriftReport(), None
        report = DriftReport.parse(kept.get("report"))
    following = compare_pages(reader, report, since_id=since_id, repair=False, until=until)
    if following is not None:
        SystemState.put(_PIECES_KEY, {"below": following, "report": asdict(report)})
        return report, following
    report.complete = True
    with transaction.atomic():
        SystemState.objects.filter(state_key=_PIECES_KEY).delete()
        return keep(report), None
