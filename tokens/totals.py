"""How many tokens there are, by state and by author: as cheap with a million as with ten."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Count, Max, Q, Sum
from django.utils import timezone

from authors.figures import AuthorFigures
from tokens.models import MintEvent, Token
from tokens.recovery.progress import load
from tokens.states import ACTIVE, TERMINAL, TokenStatus

_ERROR_WINDOW = timedelta(hours=24)
_ALL = "all"

# One statement, so that the numbers fit each other.
_COUNTS = """
    SELECT status, count(*), min(status_changed_at) FROM tokens_s0
        WHERE status = ANY(%(active)s) GROUP BY status
    UNION ALL
    SELECT status, count(*), NULL FROM tokens_s0 WHERE status = 'failed' GROUP BY status
    UNION ALL
    SELECT 'all', %(known)s + count(*), NULL FROM tokens_s0 WHERE token_id > %(known)s
"""


@dataclass(frozen=True)
class StateCount:
    """How many tokens are in a state, and since when the one that has been in it longest.

    `oldest_at` is None where it means nothing: for what has ended.
    """

    status: TokenStatus
    number: int
    oldest_at: datetime | None = None


def count_by_state() -> list[StateCount]:
    """Return every state in the order of a token's life; two queries.

    The revealed tokens, which are nearly all of them, are never read: the looks at the chain
    know up to which id every token has a row (tokens.recovery), so that all tokens are counted
    from there on only, and the revealed ones are those that are nothing else.
    """
    known = load()[1].known_below - 1
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"active": [str(status) for status in ACTIVE], "known": known})
        found = {status: (number, oldest) for status, number, oldest in cursor.fetchall()}
    everything = found.pop(_ALL)[0]
    revealed = everything - sum(number for number, _ in found.values())
    found[TokenStatus.REVEALED] = (max(0, revealed), None)
    return [StateCount(status, *found.get(status, (0, None))) for status in TokenStatus]


@dataclass(frozen=True)
class Failures:
    """How many tokens failed by one class in the last day, and the newest of them."""

    error_class: str
    number: int
    newest_id: int


def failures_24h() -> list[Failures]:
    """Return the failed of the last day by class, the most first; one range of `token_ended`."""
    failed = Token.objects.filter(
        status=TokenStatus.FAILED, status_changed_at__gte=timezone.now() - _ERROR_WINDOW
    )
    found = (
        failed.values("error_class")
        .annotate(number=Count("pk"), newest_id=Max("pk"))
        .order_by("-number", "error_class")
    )
    return [Failures(**row) for row in found]


def error_rate_24h() -> float:
    """Return the failed share of what ended in the last day; 0 if nothing did."""
    ended = Token.objects.filter(
        status__in=TERMINAL, status_changed_at__gte=timezone.now() - _ERROR_WINDOW
    )
    found = ended.aggregate(
        ended=Count("pk"), failed=Count("pk", filter=Q(status=TokenStatus.FAILED))
    )
    return round(found["failed"] / found["ended"], 4) if found["ended"] else 0.0


def author_figures(wallets: Iterable[str]) -> dict[str, AuthorFigures]:
    """Return tokens and earnings of these wallets (EIP-55) by one read of an index.

    Attribution goes by the wallet on chain, registered or not.
    """
    found = (
        MintEvent.objects.filter(prompt_author__in=list(wallets))
        .order_by()
        .values_list("prompt_author")
        .annotate(minted=Sum("quantity"), paid=Sum("total_paid_wei"))
    )
    return {wallet: AuthorFigures(minted, int(paid) // 2) for wallet, minted, paid in found}
