"""Where chain and database differ, what was mended, and what an operator has to do.

Proof of completeness: the mint events tile `[1, nextTokenId)` exactly, since the contract numbers
without gaps. Drift: what the contract says of our tokens (minted, author, revealed, URI), in
batches, and reveals of ids that are not ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog
from django.db import connection
from django.utils import timezone

from glisk.clients.mint_reader import MintReader, OnChainToken
from glisk.models import SystemState
from tokens.models import Token
from tokens.recovery.adoption import FACTS_AT_ONCE, adopt_revealed
from tokens.recovery.gaps import missing_ranges, vanished_tokens
from tokens.states import ADOPTABLE, TokenStatus

logger = structlog.get_logger(__name__)

KEY = "drift_report"
ACTOR = "drift"
_LISTED = 100  # of each kind; the counts are complete
ADVICE = {
    "not_tiled": "Run `manage.py recover_tokens`: it reads the blocks around the gap again.",
    "missing": "Run `manage.py recover_tokens`.",
    "vanished": "The contract has not given these ids out. If GLISK_NFT_CONTRACT_ADDRESS and "
    "RPC_URL are right, a reorg took them away: run `manage.py recover_events`.",
    "author_differs": "Chain and database name different authors: fail the token and recover it.",
    "uri_differs": "The URI on chain is not ours. It cannot be changed: compare both files, and "
    "find out who else holds KEEPER_ROLE.",
    "not_revealed": "The database says revealed, the chain does not: run "
    "`manage.py reconcile_reveals`, and check that the node is on the right chain.",
}


@dataclass
class Finding:
    kind: str
    token_id: int
    detail: str
    repaired: bool = False


@dataclass
class DriftReport:
    checked_at: str = ""
    next_token_id: int = 0
    tokens_checked: int = 0
    tiled: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        self.counts[finding.kind] = self.counts.get(finding.kind, 0) + 1
        if self.counts[finding.kind] <= _LISTED:
            self.findings.append(finding)

    @property
    def is_clean(self) -> bool:
        return self.tiled and all(finding.repaired for finding in self.findings)


def tiling_faults(next_token_id: int, *, limit: int = _LISTED) -> list[str]:
    """Return where the mint events do not tile `[1, nextTokenId)` exactly; empty is the proof."""
    sql = """
        WITH tiles AS (
            SELECT start_token_id AS first, start_token_id + quantity AS following,
                   lag(start_token_id + quantity, 1, 1::bigint)
                       OVER (ORDER BY start_token_id, id) AS expected
            FROM mint_events
        )
        SELECT first, expected FROM tiles WHERE first <> expected ORDER BY first LIMIT %s
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [limit])
        faults = [
            f"ids {expected} to {first - 1} have no mint event"
            if first > expected
            else f"ids {first} to {expected - 1} have two mint events"
            for first, expected in cursor.fetchall()
        ]
        cursor.execute("SELECT COALESCE(max(start_token_id + quantity), 1) FROM mint_events")
        end = cursor.fetchone()[0]
    if end != next_token_id:
        faults.append(
            f"the mint events end before {end}, the contract's ids before {next_token_id}"
        )
    return faults


def check_drift(reader: MintReader, *, repair: bool, since_id: int = 1) -> DriftReport:
    """Compare the tokens from `since_id` on with the contract; keep the report.

    `repair` adopts tokens that the chain calls revealed and we do not: that only stops spending.
    Raises the errors of the reader.
    """
    _, next_token_id = reader.head_and_next_token_id()
    report = DriftReport(
        checked_at=timezone.now().isoformat(timespec="seconds"), next_token_id=next_token_id
    )
    faults = tiling_faults(next_token_id)
    report.tiled = not faults
    for fault in faults:
        report.add(Finding("not_tiled", 0, fault))
    for first, last in missing_ranges(next_token_id)[:_LISTED]:
        report.add(Finding("missing", first, f"ids {first} to {last} have no row"))
    for token_id in vanished_tokens(next_token_id):
        report.add(Finding("vanished", token_id, "unknown to the contract"))
    for rows in _pages(since_id, next_token_id):
        facts = reader.tokens([row["token_id"] for row in rows])
        report.tokens_checked += len(rows)
        for row in rows:
            _compare(row, facts[row["token_id"]], report)
        if repair:
            _adopt(rows, facts, report)
    SystemState.objects.update_or_create(state_key=KEY, defaults={"state_value": asdict(report)})
    if not report.is_clean:
        logger.error("drift_found", counts=report.counts)
    return report


def _pages(first: int, next_token_id: int) -> Iterator[list[dict[str, Any]]]:
    start = first
    while True:
        found = Token.objects.filter(token_id__gte=start, token_id__lt=next_token_id)
        columns = ("token_id", "status", "prompt_author_wallet", "metadata_cid", "adopted_uri")
        rows = [dict(row) for row in found.order_by("token_id").values(*columns)[:FACTS_AT_ONCE]]
        if not rows:
            return
        yield rows
        start = rows[-1]["token_id"] + 1


def _compare(row: dict[str, Any], token: OnChainToken, report: DriftReport) -> None:
    token_id = row["token_id"]
    if token.prompt_author.lower() != row["prompt_author_wallet"].lower():
        detail = f"on chain {token.prompt_author}, here {row['prompt_author_wallet']}"
        report.add(Finding("author_differs", token_id, detail))
    revealed_here = row["status"] == TokenStatus.REVEALED
    if revealed_here and not token.revealed:
        report.add(Finding("not_revealed", token_id, "revealed here, not on chain"))
    elif revealed_here:
        ours = (
            row["adopted_uri"]
            if row["adopted_uri"] is not None
            else f"ipfs://{row['metadata_cid']}"
        )
        if token.uri != ours:
            report.add(Finding("uri_differs", token_id, f"on chain {token.uri!r}, here {ours!r}"))


def _adopt(
    rows: Sequence[dict[str, Any]], facts: dict[int, OnChainToken], report: DriftReport
) -> None:
    """Adopt what is revealed on chain and not here; a token in flight is left to its receipt."""
    in_flight = _in_flight([row["token_id"] for row in rows])
    for state in sorted(ADOPTABLE):
        revealed = {
            row["token_id"]: facts[row["token_id"]]
            for row in rows
            if row["status"] == state
            and facts[row["token_id"]].revealed
            and row["token_id"] not in in_flight
        }
        if not revealed:
            continue
        adopted = adopt_revealed(revealed, source=state, actor=ACTOR)
        for token_id in sorted(adopted):
            detail = f"adopted as revealed with {revealed[token_id].uri!r}"
            report.add(Finding("revealed_by_others", token_id, detail, repaired=True))


def _in_flight(token_ids: list[int]) -> set[int]:
    with connection.cursor() as cursor:
        # reveals' table by its name: tokens may not import reveals.
        cursor.execute(
            "SELECT token_id FROM reveal_batch_tokens WHERE is_open AND token_id = ANY(%s)",
            [token_ids],
        )
        return {row[0] for row in cursor.fetchall()}
