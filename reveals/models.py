"""Reveal batches and every transaction that was ever signed for them."""

from __future__ import annotations

from decimal import Decimal

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from glisk.fields import ADDRESS_PATTERN, HASH_PATTERN, AddressField, HashField, WeiField
from glisk.permissions import declared
from tokens.models import Token


class BatchStatus(models.TextChoices):
    OPEN = "open"  # a nonce is reserved; its call is signed and sent, or waits for that
    CONFIRMED = "confirmed"
    REVERTED = "reverted"  # mined, but without effect: the tokens are free again
    SUPERSEDED = "superseded"  # others spent the nonce, or the keeper is another: free again


class RevealBatch(models.Model):
    """One nonce of one keeper, spent on one set of tokens."""

    keeper = AddressField()
    nonce = models.PositiveBigIntegerField()
    status = models.CharField(max_length=12, choices=BatchStatus.choices, default=BatchStatus.OPEN)
    created_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    # No reorg reaches it any more (pipeline.watch); until then a closed batch may open again.
    settled_at = models.DateTimeField(null=True, blank=True)
    # The call that the signer is asked for next (outbox.Unsigned); NULL: none.
    to_sign = models.JSONField(null=True, blank=True)
    # When the chain was last asked about its tokens; NULL: not since it was (last) opened.
    reviewed_at = models.DateTimeField(null=True, blank=True)
    # Nothing is signed or sent for it before then; NULL: now. And how often that failed in a row.
    send_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0, db_default=0)
    # What chain or node have against it (outbox.Doubt), each since when, in seconds since 1970.
    doubts = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))
    # It is wanted with higher fees now, and who wants it; taken back when that was done.
    replace_at = models.DateTimeField(null=True, blank=True, db_column="speed_up_at")
    replace_by = models.CharField(
        max_length=200, blank=True, default="", db_default="", db_column="speed_up_by"
    )

    class Meta:
        db_table = "reveal_batches"
        verbose_name_plural = "reveal batches"
        permissions = declared("reveals")
        constraints = [
            models.UniqueConstraint(fields=["keeper", "nonce"], name="reveal_batch_nonce_unique"),
            models.CheckConstraint(
                condition=models.Q(keeper__regex=ADDRESS_PATTERN), name="reveal_batch_keeper"
            ),
        ]
        indexes = [
            # the drain's list of what is in flight, in nonce order
            models.Index(
                fields=["nonce"],
                name="reveal_batch_open",
                condition=models.Q(status="open"),
            ),
            # the closed ones that are still watched
            models.Index(
                fields=["closed_at"],
                name="reveal_batch_unsettled",
                condition=models.Q(closed_at__isnull=False, settled_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"batch {self.pk} (nonce {self.nonce})"

    @property
    def signed(self) -> list[RevealTransaction]:
        """Every transaction of its nonce, oldest first (read with it by the outbox)."""
        return list(self.transactions.all())

    @property
    def newest(self) -> RevealTransaction:
        return self.signed[-1]

    @property
    def was_taken(self) -> bool:
        """Whether a node has ever accepted one of its transactions."""
        return any(row.broadcast_at is not None for row in self.signed)


class RevealBatchToken(models.Model):
    """A token's place in a batch; the database allows it in one open batch only."""

    batch = models.ForeignKey(RevealBatch, on_delete=models.CASCADE, related_name="items")
    # A token in an open batch is never withdrawn (tokens.recovery); the transactions
    # keep their token ids.
    token = models.ForeignKey(Token, on_delete=models.CASCADE, related_name="batch_items")
    position = models.PositiveIntegerField()
    metadata_uri = models.TextField()
    is_open = models.BooleanField(default=True)

    class Meta:
        db_table = "reveal_batch_tokens"
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["token"],
                condition=models.Q(is_open=True),
                name="reveal_token_in_one_open_batch",
            ),
            models.UniqueConstraint(fields=["batch", "token"], name="reveal_batch_token_once"),
            # The contract accepts an empty URI, for ever; we do not.
            models.CheckConstraint(
                condition=models.Q(metadata_uri__regex=r"^ipfs://[a-zA-Z0-9]{46,}$"),
                name="reveal_uri_is_ipfs",
            ),
        ]

    def __str__(self) -> str:
        return f"token {self.token_id} in batch {self.batch_id}"


class RevealRequest(models.Model):
    """An operator wants this token revealed now; gone once its transaction is signed."""

    token = models.OneToOneField(
        Token, on_delete=models.CASCADE, primary_key=True, related_name="reveal_request"
    )
    actor = models.CharField(max_length=200)
    requested_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "reveal_requests"

    def __str__(self) -> str:
        return f"token {self.token_id}, wanted by {self.actor}"


class Verification(models.Model):
    """The files of a token were fetched by these CIDs, and are what will be revealed."""

    token = models.OneToOneField(
        Token, on_delete=models.CASCADE, primary_key=True, related_name="verification"
    )
    image_cid = models.CharField(max_length=100)
    metadata_cid = models.CharField(max_length=100)
    verified_at = models.DateTimeField()

    class Meta:
        db_table = "reveal_verifications"

    def __str__(self) -> str:
        return f"files of token {self.token_id}"


class TransactionStatus(models.TextChoices):
    SIGNED = "signed"  # stored; maybe broadcast, maybe not
    BROADCAST = "broadcast"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    REPLACED = "replaced"  # another transaction of the same nonce was mined


class RevealTransaction(models.Model):
    """A signed transaction; its raw bytes are stored before anybody sees them."""

    batch = models.ForeignKey(RevealBatch, on_delete=models.PROTECT, related_name="transactions")
    tx_hash = HashField(unique=True)
    keeper = AddressField()
    nonce = models.PositiveBigIntegerField()
    token_ids = ArrayField(models.PositiveBigIntegerField())
    metadata_uris = ArrayField(models.TextField())
    raw_transaction = models.BinaryField()
    gas_limit = models.PositiveBigIntegerField()
    max_fee_per_gas_wei = WeiField()
    max_priority_fee_per_gas_wei = WeiField()
    status = models.CharField(
        max_length=12, choices=TransactionStatus.choices, default=TransactionStatus.SIGNED
    )
    replaces = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaced_by"
    )
    signed_at = models.DateTimeField(auto_now_add=True)
    broadcast_at = models.DateTimeField(null=True, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    block_number = models.PositiveBigIntegerField(null=True, blank=True)
    block_hash = HashField(null=True, blank=True)
    gas_used = models.PositiveBigIntegerField(null=True, blank=True)
    effective_gas_price_wei = WeiField(null=True, blank=True)
    gas_price_gwei = models.GeneratedField(  # for SQL by hand
        expression=models.F("effective_gas_price_wei") / models.Value(Decimal(10**9)),
        output_field=models.DecimalField(max_digits=30, decimal_places=9, null=True),
        db_persist=True,
    )
    l1_fee_wei = WeiField(null=True, blank=True)
    # Since when the chain was seen to show just these tokens with just these URIs.
    read_back_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, default="")

    class Meta:
        db_table = "reveal_transactions"
        constraints = [
            # A nonce is spent once, whatever we signed for it.
            models.UniqueConstraint(
                fields=["keeper", "nonce"],
                condition=models.Q(status__in=["confirmed", "reverted"]),
                name="reveal_one_mined_per_nonce",
            ),
            models.CheckConstraint(
                condition=models.Q(tx_hash__regex=HASH_PATTERN), name="reveal_tx_hash_form"
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=["confirmed", "reverted"])
                | models.Q(block_number__isnull=False, block_hash__isnull=False),
                name="reveal_mined_has_block",
            ),
        ]
        indexes = [
            models.Index(fields=["-signed_at"], name="reveal_newest"),
            # pipeline.after: what is left
            models.Index(
                fields=["id"],
                name="reveal_not_read_back",
                condition=models.Q(status="confirmed", read_back_at=None),
            ),
        ]

    def __str__(self) -> str:
        return self.tx_hash

    @property
    def cost_wei(self) -> int | None:
        """What the keeper paid: gas and, on Base, the L1 data fee."""
        if self.gas_used is None or self.effective_gas_price_wei is None:
            return None
        return self.gas_used * self.effective_gas_price_wei + (self.l1_fee_wei or 0)


class MarketplaceRefresh(models.Model):
    """A revealed token that the marketplace is to look at again; kept when it is done."""

    token = models.OneToOneField(
        Token, on_delete=models.CASCADE, primary_key=True, related_name="marketplace_refresh"
    )
    attempts = models.PositiveIntegerField(default=0)  # in which the token itself was refused
    next_attempt_at = models.DateTimeField(default=timezone.now)
    refreshed_at = models.DateTimeField(null=True, blank=True)
    given_up = models.BooleanField(default=False)
    error = models.TextField(blank=True, default="")

    class Meta:
        db_table = "marketplace_refreshes"
        verbose_name_plural = "marketplace refreshes"
        indexes = [
            # pipeline.after: what is due
            models.Index(
                fields=["next_attempt_at", "token"],
                name="marketplace_due",
                condition=models.Q(refreshed_at=None, given_up=False),
            ),
        ]

    def __str__(self) -> str:
        return f"refresh of token {self.token_id}"
