"""Where chain and database differ, what was mended, and what an operator has to do.

The proof of completeness: the contract numbers without gaps, so the mint events tile
`[1, nextTokenId)` exactly. A mint that we do not know leaves a hole, and one that the chain does
not know overlaps another or goes beyond the end.

Complete by command. By itself every few minutes it compares what can differ: tokens that are on
their way, tokens that were revealed lately, what differed before, and some of all others in turn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta

import structlog
from django.db import connection, transaction
from django.db.models import F, Max, Min, QuerySet
from django.utils import timezone

from glisk.clients.chain import ChainClient, OnChainToken, Survey
from glisk.models import SystemState
from glisk.timing import timing
from tokens.models import MintEvent, Token
from tokens.recovery.adoption import FACTS_AT_ONCE, adopt, adoptable
from tokens.recovery.gaps import missing_ranges, vanished_tokens
from tokens.recovery.progress import load_progress
from tokens.recovery.withdrawal import withdraw
from tokens.states import TokenStatus

logger = structlog.get_logger(__name__)

KEY = "drift_report"
ACTOR = "drift"
LISTED = 100  # of each kind; the counts are complete, but for holes and overlaps
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


@dataclass(frozen=True)
class Tiling:
    """`holes` and `overlaps` are ranges of ids, both ends included; `faults` says it in words."""

    proven_below: int  # everything below is tiled
    holes: list[tuple[int, int]]
    overlaps: list[tuple[int, int]]
    faults: list[str]


def prove_tiling(next_token_id: int, *, known_below: int = 1) -> Tiling:
    """Return where the mint events from `known_below` on do not tile; no fault is the proof.

    `known_below`: an id up to which the proof was made before. At most `LISTED` faults.
    """
    sql = """
        SELECT first, reached FROM (
            SELECT start_token_id AS first, COALESCE(max(start_token_id + quantity) OVER (
                ORDER BY start_token_id, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), %(known)s) AS reached
            FROM mint_events WHERE start_token_id >= %(known)s
        ) AS tiles WHERE first <> reached ORDER BY first LIMIT %(most)s
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, {"known": known_below, "most": LISTED})
        found: list[tuple[int, int]] = cursor.fetchall()
    known = MintEvent.objects.filter(start_token_id__gte=known_below)
    end = known.aggregate(end=Max(F("start_token_id") + F("quantity")))["end"] or known_below
    holes = [(reached, first - 1) for first, reached in found if first > reached]
    overlaps = [(first, reached - 1) for first, reached in found if first < reached]
    if end < next_token_id and len(holes) < LISTED:
        holes.append((end, next_token_id - 1))
    faults = [f"ids {first} to {last} have no mint event" for first, last in holes]
    faults += [f"ids {first} to {last} have two mint events" for first, last in overlaps]
    if end > next_token_id:
        given = f"mint events go up to id {end - 1}, the contract's ids up to {next_token_id - 1}"
        faults.append(given)
    bad = [first for first, _ in (*holes, *overlaps)]
    return Tiling(min([*bad, end, next_token_id]), holes, overlaps, faults)


def settled_proof(tiling: Tiling) -> int:
    """Return the id below which the proof need not be made again: no reorg reaches there."""
    unsettled = MintEvent.objects.filter(settled_at=None)
    lowest = unsettled.aggregate(lowest=Min("start_token_id"))["lowest"]
    return tiling.proven_below if lowest is None else min(tiling.proven_below, lowest)


@dataclass
class Finding:
    kind: str
    token_id: int  # 0 if it is about a range of ids
    detail: str
    repaired: bool = False


@dataclass
class DriftReport:
    complete: bool = False  # every token was compared
    next_token_id: int = 0
    tokens_checked: int = 0
    tiled: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    unrepaired: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: str, token_id: int, detail: str, *, repaired: bool = False) -> None:
        self.unrepaired += not repaired
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= LISTED:
            self.findings.append(Finding(kind, token_id, detail, repaired))

    @property
    def is_clean(self) -> bool:
        return self.tiled and self.unrepaired == 0


def check_drift(
    reader: ChainClient,
    *,
    repair: bool,
    since_id: int = 1,
    budget_seconds: float = math.inf,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> DriftReport:
    """Compare the tokens from `since_id` on with the contract, newest first; keep the report.

    `repair` adopts tokens that the chain calls revealed and we do not, which only stops spending,
    and begins anew with adopted ones that the chain calls unrevealed. A provider that counts calls
    lets a few thousand tokens an hour through: what does not fit into the budget is left out.
    Raises the errors of the reader.
    """
    until = time.monotonic() + budget_seconds
    survey = reader.survey()
    report = _begin(survey, proven_below=1)
    below = survey.next_token_id
    for token_id in reader.revealed(range(below, below + _IDS_AHEAD)):
        _add_unminted(report, token_id)
    rest = _tokens().filter(token_id__gte=since_id).order_by("-token_id")
    while tokens := list(rest.filter(token_id__lt=below)[:FACTS_AT_ONCE]):
        _compare(reader, tokens, report, repair=repair)
        on_progress(report.tokens_checked, survey.next_token_id - since_id)
        below = tokens[-1].pk
        if time.monotonic() > until:
            break
    report.complete = not Token.objects.filter(token_id__lt=below).exists()
    return _keep(report)


def check_some(
    reader: ChainClient, survey: Survey, *, token_ids: Sequence[int], proven_below: int
) -> DriftReport:
    """Compare these tokens, and those that differed before; mend, and keep the report.

    `proven_below`: the mint events below are known to tile.
    """
    report = _begin(survey, proven_below=proven_below)
    before = [finding for finding in last_report().findings if not finding.repaired]
    wanted = {*token_ids, *(finding.token_id for finding in before)}
    tokens = list(_tokens().filter(token_id__in=wanted, token_id__lt=survey.next_token_id))
    for start in range(0, len(tokens), FACTS_AT_ONCE):
        _compare(reader, tokens[start : start + FACTS_AT_ONCE], report, repair=True)
    for finding in before:
        if finding.kind == "revealed_unminted" and finding.token_id >= survey.next_token_id:
            _add_unminted(report, finding.token_id)
    return _keep(report)


def report_finding(finding: Finding) -> None:
    """Add what was found elsewhere to the last report; the next check looks at it again."""
    with transaction.atomic():
        SystemState.locked(KEY)
        report = last_report()
        if finding not in report.findings:
            report.add(finding.kind, finding.token_id, finding.detail)
            SystemState.put(KEY, asdict(report))
    logger.error("drift_found", kind=finding.kind, token_id=finding.token_id)


def last_report() -> DriftReport:
    """Return the report of the last check; an empty one if none was stored by this version."""
    stored = SystemState.objects.filter(state_key=KEY).values_list("state_value", flat=True)
    try:
        value = stored.get()
        return DriftReport(**value | {"findings": [Finding(**each) for each in value["findings"]]})
    except (SystemState.DoesNotExist, TypeError, KeyError):
        return DriftReport()


def _begin(survey: Survey, *, proven_below: int) -> DriftReport:
    report = DriftReport(next_token_id=survey.next_token_id)
    tiling = prove_tiling(survey.next_token_id, known_below=proven_below)
    report.tiled = not tiling.faults
    for fault in tiling.faults:
        report.add("not_tiled", 0, fault)
    for first, last in missing_ranges(survey.next_token_id, known_below=proven_below)[:LISTED]:
        report.add("missing", 0, f"ids {first} to {last} have no row")
    for token_id in vanished_tokens(survey.next_token_id):
        report.add("vanished", token_id, "unknown to the contract")
    return report


def _add_unminted(report: DriftReport, token_id: int) -> None:
    report.add("revealed_unminted", token_id, "revealed, but not minted")


def _keep(report: DriftReport) -> DriftReport:
    SystemState.put(KEY, asdict(report))
    if not report.is_clean:
        logger.error("drift_found", counts=report.counts)
    return report


def _tokens() -> QuerySet[Token]:
    """Return all tokens with what is compared of them."""
    columns = ("status", "status_changed_at", "prompt_author_wallet", "metadata_cid")
    return Token.objects.order_by("token_id").only(*columns, "adopted_uri", "mint_event_id")


def _compare(
    reader: ChainClient, tokens: Sequence[Token], report: DriftReport, *, repair: bool
) -> None:
    """Compare tokens as they were before the chain is asked."""
    facts = reader.tokens([token.pk for token in tokens])
    report.tokens_checked += len(tokens)
    ahead: dict[int, OnChainToken] = {}
    undone: list[int] = []
    long_ago = timezone.now() - timedelta(seconds=timing.node_lag)
    for token in tokens:
        chain, is_revealed = facts[token.pk], token.status == TokenStatus.REVEALED
        if chain.prompt_author != token.prompt_author_wallet.lower():
            detail = f"on chain {chain.prompt_author}, here {token.prompt_author_wallet}"
            report.add("author_differs", token.pk, detail)
            if repair and token.mint_event_id is not None:
                # A reorg took the mint, or the token is not the mint's: the next look finds out.
                MintEvent.objects.filter(pk=token.mint_event_id).unsettle()
        if chain.revealed and not is_revealed:
            ahead[token.pk] = chain
        elif is_revealed and not chain.revealed:
            # What was adopted, and long enough ago: nothing of ours is lost by a new start.
            if repair and token.adopted_uri is not None and token.status_changed_at < long_ago:
                undone.append(token.pk)
            else:
                report.add("not_revealed", token.pk, _NOT_REVEALED)
        elif is_revealed and chain.uri != token.token_uri:
            detail = f"on chain {chain.uri[:200]!r}, here {(token.token_uri or '')[:200]!r}"
            report.add("uri_differs", token.pk, detail)
    # What is revealed on chain and not here is adopted; a token in flight is left to its receipt.
    adopted = adopt(ahead, actor=ACTOR) if repair else adoptable(ahead)
    for token_id in sorted(adopted):
        what = "adopted as revealed" if repair else "revealed on chain, not here,"
        detail = f"{what} with {ahead[token_id].uri[:200]!r}"
        report.add("revealed_by_others", token_id, detail, repaired=repair)
    gone = _begin_anew(reader, undone)
    for token_id in undone:
        detail = "the reveal by others is gone; made anew" if token_id in gone else _NOT_REVEALED
        report.add("not_revealed", token_id, detail, repaired=token_id in gone)


def _begin_anew(reader: ChainClient, token_ids: Sequence[int]) -> set[int]:
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
        reason = "the reveal that it was adopted for is not part of the chain any more"
        withdraw(list(tokens), reason)
    return gone
