"""Named questions about tokens."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone

from tokens.states import ACTIVE, TERMINAL, TokenStatus

if TYPE_CHECKING:
    from tokens.models.token import Token  # noqa: F401 - for the annotation below


class TokenQuerySet(models.QuerySet["Token"]):
    def active(self) -> "TokenQuerySet":
        return self.filter(status__in=ACTIVE)

    def terminal(self) -> "TokenQuerySet":
        return self.filter(status__in=TERMINAL)

    def ready(self) -> "TokenQuerySet":
        """Tokens that wait for their reveal, oldest mint first."""
        return self.filter(status=TokenStatus.READY).order_by("mint_timestamp", "token_id")

    def on_their_way(self) -> "TokenQuerySet":
        """Tokens that will be ready soon: worth waiting for with a batch."""
        return self.filter(
            models.Q(status=TokenStatus.DETECTED)
            | models.Q(status__in=[TokenStatus.GENERATING, TokenStatus.UPLOADING]),
            next_attempt_at__isnull=True,
            held_at__isnull=True,
        )

    def stalled(self) -> "TokenQuerySet":
        """Tokens whose worker is gone: the lease ran out."""
        return self.filter(lease_owner__isnull=False, lease_expires_at__lt=timezone.now())

    def held(self) -> "TokenQuerySet":
        """Tokens that an operator holds back, longest held first."""
        return self.active().filter(held_at__isnull=False).order_by("held_at")

    def by_author_wallet(self, wallet: str) -> "TokenQuerySet":
        """Tokens minted by way of this author's wallet, newest first."""
        return self.filter(prompt_author_wallet=wallet).order_by("-token_id")

    def without_texts(self) -> "TokenQuerySet":
        """Without the columns that are longer than all the rest, and that no list shows."""
        return self.defer("prompt", "metadata_text", "error_log")

    def newest_first(
        self,
        *,
        minter: str | None = None,
        author: str | None = None,
        status: str | None = None,
        before: int | None = None,
    ) -> "TokenQuerySet":
        """Tokens by what is given (wallets in EIP-55), below the id `before`."""
        given = {
            "minter_address": minter,
            "prompt_author_wallet": author,
            "status": status,
            "token_id__lt": before,
        }
        found = self.filter(**{name: value for name, value in given.items() if value is not None})
        return found.order_by("-token_id")

    def counts_by_status(self) -> dict[str, int]:
        counts: dict[str, Any] = dict(
            self.values_list("status").annotate(n=models.Count("pk")).order_by()
        )
        return {status: counts.get(status, 0) for status in TokenStatus.values}
