"""Token ids that the contract has given out and the database does not know.

The contract numbers from 1 without gaps, so `nextTokenId` names every token there is. A missing
id lies between the mints of its neighbours, and so do the blocks where its log must be: that
range is read again. Only what no log explains is taken from the contract's facts alone, without a
mint event; if its log turns up later, registration completes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, Min

from authors.models import Author
from glisk.clients.mint_reader import BlockFacts, MintReader, OnChainToken
from glisk.engine.notify import notify
from glisk.errors import ProviderError
from tokens.channels import PIPELINE_CHANNEL
from tokens.models import MintEvent, Token, TokenTransition
from tokens.recovery.adoption import FACTS_AT_ONCE, adopt_revealed
from tokens.recovery.backfill import Report, backfill
from tokens.states import TokenStatus

logger = structlog.get_logger(__name__)

ACTOR = "gap"


@dataclass
class GapReport:
    next_token_id: int = 0
    missing: int = 0
    from_logs: int = 0
    from_facts: list[int] = field(default_factory=list)
    adopted: list[int] = field(default_factory=list)
    vanished: list[int] = field(default_factory=list)  # known here, not to the contract
    unread: list[str] = field(default_factory=list)  # ranges whose logs could not be read


def missing_ranges(next_token_id: int) -> list[tuple[int, int]]:
    """Return the missing ids below `next_token_id` as (first, last), by one query."""
    sql = """
        WITH known AS (
            SELECT token_id, lead(token_id, 1, %(next)s) OVER (ORDER BY token_id) AS following
            FROM tokens_s0 WHERE token_id < %(next)s
        )
        SELECT 1, COALESCE((SELECT min(token_id) FROM tokens_s0), %(next)s) - 1
        WHERE COALESCE((SELECT min(token_id) FROM tokens_s0), %(next)s) > 1
        UNION ALL
        SELECT token_id + 1, following - 1 FROM known WHERE following > token_id + 1
        ORDER BY 1
    """
    if next_token_id <= 1 or count_below(next_token_id) == next_token_id - 1:
        return []
    with connection.cursor() as cursor:
        cursor.execute(sql, {"next": next_token_id})
        return [(first, min(last, next_token_id - 1)) for first, last in cursor.fetchall()]


def count_below(next_token_id: int) -> int:
    return Token.objects.filter(token_id__lt=next_token_id).count()


def vanished_tokens(next_token_id: int) -> list[int]:
    """Return the tokens that the contract has not given out."""
    beyond = Token.objects.filter(token_id__gte=next_token_id).order_by("token_id")
    return list(beyond.values_list("token_id", flat=True)[:1000])


def fill_gaps(
    reader: MintReader,
    *,
    limit: int | None = None,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> GapReport:
    """Find and register missing tokens, at most `limit`.

    Raises the errors of the reader; what was registered until then stays. A second call does
    nothing, with one round trip.
    """
    head, next_token_id = reader.head_and_next_token_id()
    ranges = missing_ranges(next_token_id)
    report = GapReport(
        next_token_id=next_token_id,
        missing=sum(last - first + 1 for first, last in ranges),
        vanished=vanished_tokens(next_token_id),
    )
    if report.vanished:
        logger.error("tokens_unknown_to_chain", token_ids=report.vanished[:20])
    if dry_run or not ranges:
        return report
    wanted = list(islice(_ids(ranges), limit))
    for first, last in _cut(ranges, wanted[-1]):
        report.from_logs += _from_logs(reader, first, last, head, report)
    _from_facts(reader, wanted, head, report, on_progress)
    return report


def _from_logs(
    reader: MintReader, first: int, last: int, head: BlockFacts, report: GapReport
) -> int:
    """Read the blocks where the logs of a gap must be; return how many tokens they gave."""
    low, high = _block_bounds(first, last, head.number)
    found = Report()
    try:
        backfill(reader, first=low, last=high, head=head.number, report=found, keep_progress=False)
    except ProviderError as error:
        report.unread.append(f"blocks {low} to {high}: {error}")
        logger.warning("gap_logs_unread", first=first, last=last, error=str(error))
    report.adopted += found.adopted
    return found.created


def _block_bounds(first: int, last: int, head: int) -> tuple[int, int]:
    """Return the blocks between the mints before and after the gap."""
    before = MintEvent.objects.filter(start_token_id__lt=first).aggregate(b=Max("block_number"))
    after = MintEvent.objects.filter(start_token_id__gt=last).aggregate(b=Min("block_number"))
    low = before["b"] if before["b"] is not None else settings.CONTRACT_DEPLOYED_AT_BLOCK
    high = after["b"] if after["b"] is not None else head
    return int(low), max(int(low), int(high))


def _from_facts(
    reader: MintReader,
    wanted: Sequence[int],
    head: BlockFacts,
    report: GapReport,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Take what no log explained from the contract itself, many tokens in one round trip."""
    known = set(Token.objects.filter(token_id__in=wanted).values_list("token_id", flat=True))
    unexplained = [token_id for token_id in wanted if token_id not in known]
    for start in range(0, len(unexplained), FACTS_AT_ONCE):
        part = unexplained[start : start + FACTS_AT_ONCE]
        facts = {i: token for i, token in reader.tokens(part).items() if token.exists}
        created, adopted = register_facts(list(facts.values()), head)
        report.from_facts += created
        report.adopted += adopted
        if on_progress is not None:
            on_progress(start + len(part), len(unexplained))


def register_facts(facts: Sequence[OnChainToken], head: BlockFacts) -> tuple[list[int], list[int]]:
    """Create tokens from the contract's facts; return the created and the adopted ids.

    The minter is the owner of now, the time that of the newest block, until the log is found.
    """
    wallets = [settings.GLISK_DEFAULT_AUTHOR_WALLET, *(f.prompt_author for f in facts)]
    authors = Author.objects.by_wallets(wallets)
    default = authors.get(settings.GLISK_DEFAULT_AUTHOR_WALLET.lower()) or Author.objects.default()
    seen_at = datetime.fromtimestamp(head.timestamp, tz=UTC)
    with transaction.atomic():
        rows = []
        for token in facts:
            author = authors.get(token.prompt_author.lower(), default)
            prompt = author.prompt_text if author.has_prompt else default.prompt_text
            rows.append(
                Token(
                    token_id=token.token_id,
                    author=author,
                    prompt_author_wallet=token.prompt_author,
                    minter_address=token.owner,
                    mint_timestamp=seen_at,
                    prompt=prompt or settings.DEFAULT_PROMPT,
                )
            )
        before = {t.token_id for t in facts} & _existing([t.token_id for t in facts])
        Token.objects.bulk_create(rows, ignore_conflicts=True)
        created = sorted({t.token_id for t in facts} - before)
        TokenTransition.objects.bulk_create(
            TokenTransition(
                token_id=token_id,
                from_status="",
                to_status=TokenStatus.DETECTED,
                reason="found in the contract, without a log",
                actor=ACTOR,
            )
            for token_id in created
        )
        revealed = {t.token_id: t for t in facts if t.revealed and t.token_id in set(created)}
        adopted = adopt_revealed(revealed, source=TokenStatus.DETECTED, actor=ACTOR)
        notify(PIPELINE_CHANNEL)
    return created, sorted(adopted)


def _existing(token_ids: list[int]) -> set[int]:
    return set(Token.objects.filter(token_id__in=token_ids).values_list("token_id", flat=True))


def _ids(ranges: Sequence[tuple[int, int]]) -> Iterator[int]:
    for first, last in ranges:
        yield from range(first, last + 1)


def _cut(ranges: Sequence[tuple[int, int]], highest: int) -> list[tuple[int, int]]:
    return [(first, min(last, highest)) for first, last in ranges if first <= highest]
