"""What follows a reveal, beside the drain: reading back, and the marketplace. No reveal waits."""

import structlog
from django.conf import settings
from django.utils import timezone

from glisk.clients.chain import ChainClient
from glisk.clients.opensea import OpenSeaClient
from glisk.errors import ProviderError
from reveals.marketplace import refresh_due
from reveals.models import MarketplaceRefresh, RevealTransaction, TransactionStatus
from reveals.reading_back import read_back

logger = structlog.get_logger(__name__)


def follow_up() -> int:
    """Read back what was revealed, refresh what is due; return how much was done."""
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
            done += refresh_due(client)
        finally:
            client.close()
    return done
