"""What follows a reveal, beside the drain: reading back, and the marketplace. No reveal waits."""

import time

import structlog
from django.conf import settings
from django.utils import timezone
from django_q.tasks import async_task

from glisk.clients.chain import ChainClient
from glisk.clients.opensea import OpenSeaClient
from glisk.errors import ProviderError
from reveals.marketplace import refresh_due
from reveals.models import MarketplaceRefresh, RevealTransaction, TransactionStatus
from reveals.reading_back import read_back

logger = structlog.get_logger(__name__)


_NUDGE_SECONDS = 1.0
_nudged_at = -_NUDGE_SECONDS


def follow_up_soon() -> None:
    """Have the follow-up run now: something was confirmed.

    Once a second at most: a run takes all that there is, and the schedule comes anyway.
    """
    global _nudged_at
    now = time.monotonic()
    if now - _nudged_at >= _NUDGE_SECONDS:
        _nudged_at = now
        async_task("reveals.tasks.follow_up_reveals")


def follow_up() -> int:
    """Read back what was revealed, refresh what is due; return how much was done.

    Refreshes are bounded in time; while they succeed, another run goes on with them.
    """
    if not settings.ENABLE_REVEAL_WORKER:
        return 0
    done = 0
    confirmed = RevealTransaction.objects.filter(status=TransactionStatus.CONFIRMED)
    if confirmed.filter(read_back_at=None).exists():
        try:
            done += read_back(ChainClient.from_settings())
        except ProviderError as error:
            logger.warning("reveals_not_read_back", error=str(error))
    wanted = MarketplaceRefresh.objects.filter(refreshed_at=None, given_up=False)
    if settings.OPENSEA_API_KEY and wanted.filter(next_attempt_at__lte=timezone.now()).exists():
        client = OpenSeaClient.from_settings()
        try:
            refreshed = refresh_due(client)
        finally:
            client.close()
        done += refreshed
        if refreshed and wanted.filter(next_attempt_at__lte=timezone.now()).exists():
            follow_up_soon()
    return done
