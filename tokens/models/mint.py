"""A `BatchMinted` log as the chain told it: the reason why tokens exist."""

from django.contrib.postgres.indexes import HashIndex
from django.db import models
from django.utils import timezone

from glisk.fields import (
    ADDRESS_PATTERN,
    HASH_PATTERN,
    AddressField,
    HashField,
    WeiField,
    another_name,
    partial_index,
)
from tokens.minting.mint_log import MAX_QUANTITY


class MintSource(models.TextChoices):
    WEBHOOK = "webhook"
    BACKFILL = "backfill"


class MintEventQuerySet(models.QuerySet["MintEvent"]):
    """A mint is settled once its block is deep enough and we have read its log ourselves.

    Until then every look at the chain asks about it; what a webhook says was only told to us.
    """

    def settle(self) -> int:
        return self.filter(settled_at=None).update(settled_at=timezone.now())

    def unsettle(self) -> int:
        """Have the chain asked about these again, however deep their blocks are."""
        return self.filter(settled_at__isnull=False).update(settled_at=None)

    def claiming(self, first: int, last: int) -> "MintEventQuerySet":
        """Mints to which one of these token ids belongs, both ends included."""
        return self.alias(following=models.F("start_token_id") + models.F("quantity")).filter(
            start_token_id__gt=first - MAX_QUANTITY, start_token_id__lte=last, following__gt=first
        )


class MintEvent(models.Model):
    tx_hash = HashField()
    log_index = models.PositiveIntegerField()
    block_number = models.PositiveBigIntegerField()
    block_hash = HashField()
    block_timestamp = models.DateTimeField()
    minter = AddressField()
    prompt_author = AddressField()
    author = another_name("prompt_author", models.CharField(max_length=42))
    start_token_id = models.PositiveBigIntegerField()
    quantity = models.PositiveIntegerField()
    total_paid_wei = WeiField()
    source = models.CharField(max_length=20, choices=MintSource.choices)
    # When its block was seen to be too deep for a reorg; until then the chain is asked again.
    settled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MintEventQuerySet.as_manager()

    class Meta:
        db_table = "mint_events"
        constraints = [
            models.UniqueConstraint(fields=["tx_hash", "log_index"], name="mint_event_log_unique"),
            models.CheckConstraint(
                condition=models.Q(tx_hash__regex=HASH_PATTERN, block_hash__regex=HASH_PATTERN),
                name="mint_event_hashes",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    minter__regex=ADDRESS_PATTERN, prompt_author__regex=ADDRESS_PATTERN
                ),
                name="mint_event_addresses",
            ),
            # The contract mints 1 to 50 at once (MAX_BATCH_SIZE); ids start at 1.
            models.CheckConstraint(
                condition=models.Q(quantity__gte=1, quantity__lte=50, start_token_id__gte=1),
                name="mint_event_range",
            ),
        ]
        indexes = [
            models.Index(fields=["block_number"], name="mint_event_block"),
            models.Index(fields=["start_token_id"], name="mint_event_start"),  # the tiling proof
            # the admin's search by minter: for equality only, and small
            HashIndex(fields=["minter"], name="mint_event_minter"),
            # the admin's filter by source: few come from anywhere but the webhook
            partial_index(
                "mint_event_backfilled", "source", "-block_number", "-log_index", source="backfill"
            ),
            # tokens.totals: tokens and earnings of the authors on a page
            models.Index(
                fields=["prompt_author"],
                name="mint_event_author",
                include=["quantity", "total_paid_wei"],
            ),
            # what every look at the chain asks about again
            partial_index("mint_event_unsettled", "block_number", settled_at__isnull=True),
        ]

    def __str__(self) -> str:
        return f"{self.tx_hash}:{self.log_index}"

    @property
    def facts(self) -> tuple[str, str, int, int]:
        """What a reorg does not change as long as it is the same mint."""
        return self.minter, self.prompt_author, self.start_token_id, self.quantity

    @property
    def token_ids(self) -> range:
        return range(self.start_token_id, self.start_token_id + self.quantity)
