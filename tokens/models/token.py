"""The token: one row per minted NFT, which is at the same time the job that reveals it."""

from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import HashIndex
from django.db import models
from django.utils import timezone

from authors.models import Author
from glisk.fields import ADDRESS_PATTERN, HASH_PATTERN, AddressField, HashField
from glisk.permissions import declared
from tokens.models.mint import MintEvent
from tokens.states import ACTIVE, InvalidStateTransition, TokenStatus
from tokens.transitions.status import Move, move_tokens

WITH_IMAGE = (TokenStatus.UPLOADING, TokenStatus.READY, TokenStatus.REVEALED)
WITH_METADATA = (TokenStatus.READY, TokenStatus.REVEALED)


def token_name(token_id: int) -> str:
    return f"{settings.COLLECTION_NAME} S{settings.SEASON} #{token_id}"


def token_uri(*, metadata_cid: str | None, adopted_uri: str | None) -> str | None:
    """Return the URI that is, or that the reveal writes, on chain; None as long as none is known.

    `adopted_uri` is that of a reveal by somebody else, which may be empty.
    """
    if adopted_uri is not None:
        return adopted_uri
    return f"ipfs://{metadata_cid}" if metadata_cid else None


class TokenQuerySet(models.QuerySet["Token"]):
    def active(self) -> "TokenQuerySet":
        return self.filter(status__in=ACTIVE)

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


class Token(models.Model):
    """A minted token. Its state changes by the `mark_…` methods and the bulk moves only."""

    token_id = models.PositiveBigIntegerField(primary_key=True)
    author = models.ForeignKey(Author, on_delete=models.PROTECT, related_name="tokens")
    # As the chain has it; attribution goes by this wallet, registered or not.
    prompt_author_wallet = AddressField()
    minter_address = AddressField()
    mint_event = models.ForeignKey(
        MintEvent, on_delete=models.PROTECT, related_name="tokens", null=True, blank=True
    )
    mint_timestamp = models.DateTimeField()
    prompt = models.TextField(blank=True)  # frozen at detection
    status = models.CharField(
        max_length=20, choices=TokenStatus.choices, default=TokenStatus.DETECTED
    )
    status_changed_at = models.DateTimeField(auto_now_add=True)

    image_url = models.TextField(null=True, blank=True)
    image_cid = models.CharField(max_length=100, null=True, blank=True)
    metadata_text = models.TextField(null=True, blank=True)  # the canonical JSON, byte for byte
    metadata_cid = models.CharField(max_length=100, null=True, blank=True)
    reveal_tx_hash = HashField(null=True, blank=True)
    # The URI on chain of a token that somebody else revealed, as it is; also if it is empty.
    adopted_uri = models.TextField(null=True, blank=True)
    revealed_at = models.DateTimeField(null=True, blank=True)

    generation_attempts = models.PositiveIntegerField(default=0)
    generation_error = models.TextField(null=True, blank=True)
    fallback_used = models.BooleanField(default=False)
    error_class = models.CharField(max_length=40, blank=True, default="")
    error_log = models.JSONField(default=list, blank=True)

    # The state says which stage; the lease says whether somebody works on it now.
    lease_owner = models.CharField(max_length=200, null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    lease_number = models.PositiveIntegerField(default=0, db_default=0)  # of its claims; the fence
    attempts = models.PositiveIntegerField(default=0)  # claims in this stage without an outcome
    # Of a failed token: when it is taken up again without a person.
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    automatic_retries = models.PositiveSmallIntegerField(default=0, db_default=0)

    # An operator's hold: nothing new is begun for the token until it is released.
    held_at = models.DateTimeField(null=True, blank=True)
    hold_reason = models.TextField(blank=True, default="", db_default="")

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = TokenQuerySet.as_manager()

    class Meta:
        db_table = "tokens_s0"
        permissions = declared("tokens")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=TokenStatus.values), name="token_status_known"
            ),
            models.CheckConstraint(condition=models.Q(token_id__gte=1), name="token_id_from_1"),
            models.CheckConstraint(
                condition=models.Q(prompt_author_wallet__regex=ADDRESS_PATTERN)
                & models.Q(minter_address__regex=ADDRESS_PATTERN),
                name="token_addresses",
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=WITH_IMAGE)
                | models.Q(adopted_uri__isnull=False)
                | (models.Q(image_cid__isnull=False) & ~models.Q(image_cid="")),
                name="token_image_known_after_generation",
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=WITH_METADATA)
                | models.Q(adopted_uri__isnull=False)
                | (models.Q(metadata_cid__isnull=False) & ~models.Q(metadata_cid="")),
                name="token_metadata_known_when_ready",
            ),
            models.CheckConstraint(
                # NULL matches no pattern, but does not break a rule either: it is named apart.
                condition=models.Q(
                    status=TokenStatus.REVEALED,
                    reveal_tx_hash__isnull=False,
                    reveal_tx_hash__regex=HASH_PATTERN,
                )
                | models.Q(
                    status=TokenStatus.REVEALED,
                    reveal_tx_hash__isnull=True,
                    adopted_uri__isnull=False,
                )
                | (~models.Q(status=TokenStatus.REVEALED) & models.Q(reveal_tx_hash__isnull=True)),
                name="token_revealed_has_transaction",
            ),
            models.CheckConstraint(
                condition=models.Q(adopted_uri__isnull=True)
                | models.Q(status=TokenStatus.REVEALED),
                name="token_adopted_is_revealed",
            ),
            models.CheckConstraint(
                condition=models.Q(lease_owner__isnull=True, lease_expires_at__isnull=True)
                | models.Q(lease_owner__isnull=False, lease_expires_at__isnull=False),
                name="token_lease_is_whole",
            ),
            models.CheckConstraint(
                condition=models.Q(held_at__isnull=False) | models.Q(hold_reason=""),
                name="token_hold_is_whole",
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=[TokenStatus.REVEALED, TokenStatus.FAILED])
                | models.Q(lease_owner__isnull=True),
                name="token_terminal_has_no_lease",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "mint_timestamp"], name="token_status_minted"),
            # the API's list of tokens in a state, newest first
            models.Index(fields=["status", "-token_id"], name="token_status_newest"),
            # tokens.transitions.claims.claim_for_generation
            models.Index(
                fields=["mint_timestamp", "token_id"],
                name="token_claim_generation",
                condition=models.Q(status__in=["detected", "generating"], lease_owner=None),
            ),
            # tokens.transitions.claims.claim_for_upload
            models.Index(
                fields=["mint_timestamp", "token_id"],
                name="token_claim_upload",
                condition=models.Q(status="uploading", lease_owner=None),
            ),
            # the reveal's choice of ready tokens, oldest mint first
            models.Index(
                fields=["mint_timestamp", "token_id"],
                name="token_ready",
                condition=models.Q(status="ready"),
            ),
            # tokens.transitions.claims.seconds_until_due
            models.Index(
                fields=["next_attempt_at"],
                name="token_waiting",
                condition=models.Q(next_attempt_at__isnull=False),
            ),
            # the rescue of expired leases, and the release of a dead process's leases
            models.Index(
                fields=["lease_expires_at"],
                name="token_leased",
                condition=models.Q(lease_owner__isnull=False),
            ),
            # the operator's list of held tokens
            models.Index(
                fields=["held_at"], name="token_held", condition=models.Q(held_at__isnull=False)
            ),
            # tokens.repairs.retry
            models.Index(
                fields=["next_attempt_at"],
                name="token_failed_due",
                condition=models.Q(status="failed", next_attempt_at__isnull=False),
            ),
            # tokens.totals.error_rate_24h, the admin's "failed today"
            models.Index(
                fields=["status", "status_changed_at"],
                name="token_ended",
                condition=models.Q(status__in=["revealed", "failed"]),
            ),
            # the admin's search by hash and CID: for equality only, and small
            HashIndex(fields=["reveal_tx_hash"], name="token_reveal_tx"),
            HashIndex(fields=["image_cid"], name="token_image_cid"),
            HashIndex(fields=["metadata_cid"], name="token_metadata_cid"),
            # the admin's filter "fallback used"
            models.Index(
                fields=["-token_id"],
                name="token_fallback",
                condition=models.Q(fallback_used=True),
            ),
            # author pages: newest first
            models.Index(fields=["prompt_author_wallet", "-token_id"], name="token_prompt_author"),
            models.Index(fields=["minter_address", "-token_id"], name="token_minter"),
        ]

    def __str__(self) -> str:
        return f"token {self.token_id}"

    @property
    def token_uri(self) -> str | None:
        """The URI that is, or that the reveal writes, on chain."""
        return token_uri(metadata_cid=self.metadata_cid, adopted_uri=self.adopted_uri)

    @property
    def name(self) -> str:
        return token_name(self.token_id)

    @property
    def explorer_url(self) -> str:
        base = settings.EXPLORER_URL
        contract = settings.GLISK_NFT_CONTRACT_ADDRESS
        return f"{base}/token/{contract}?a={self.token_id}" if base else ""

    def mark_generating(self, *, actor: str = "operator", reason: str = "") -> None:
        """Move detected → generating; raise `InvalidStateTransition` if that is not so."""
        self._mark(TokenStatus.GENERATING, actor, reason, {})

    def mark_uploading(
        self,
        *,
        image_cid: str | None = None,
        image_url: str | None = None,
        actor: str = "operator",
        reason: str = "",
    ) -> None:
        """Move generating → uploading with the image's CID (given here or set before)."""
        fields = {
            "image_cid": image_cid or self.image_cid,
            "image_url": image_url or self.image_url,
        }
        self._mark(TokenStatus.UPLOADING, actor, reason, fields)

    def mark_ready(
        self, *, metadata_cid: str | None = None, actor: str = "operator", reason: str = ""
    ) -> None:
        """Move uploading → ready with the metadata's CID (given here or set before)."""
        fields = {"metadata_cid": metadata_cid or self.metadata_cid}
        self._mark(TokenStatus.READY, actor, reason, fields)

    def mark_revealed(
        self, *, tx_hash: str | None = None, actor: str = "operator", reason: str = ""
    ) -> None:
        """Move ready → revealed by the transaction that did it (given here or set before)."""
        fields = {"reveal_tx_hash": tx_hash or self.reveal_tx_hash}
        self._mark(TokenStatus.REVEALED, actor, reason, fields)

    def mark_failed(
        self, error: str = "", *, error_class: str = "", actor: str = "operator"
    ) -> None:
        """Move any active state → failed, with the reason."""
        fields = {"generation_error": error or None, "error_class": error_class}
        self._mark(TokenStatus.FAILED, actor, error, fields)

    def _mark(self, target: TokenStatus, actor: str, reason: str, fields: dict[str, Any]) -> None:
        move = Move(token_id=self.token_id, reason=reason, fields=fields)
        moved = move_tokens([move], source=TokenStatus(self.status), target=target, actor=actor)
        if not moved:
            current = Token.objects.values_list("status", flat=True).get(pk=self.pk)
            raise InvalidStateTransition(current, target, token_id=self.token_id)
        self.refresh_from_db()


class TokenTransition(models.Model):
    """The timeline: one row for every move of a token, and for what happened in between."""

    # By its number, without a constraint: books are kept of tokens that a reorg took away too.
    token = models.ForeignKey(
        Token, on_delete=models.DO_NOTHING, db_constraint=False, related_name="transitions"
    )
    from_status = models.CharField(max_length=20, choices=TokenStatus.choices, blank=True)
    to_status = models.CharField(max_length=20, choices=TokenStatus.choices)
    reason = models.TextField(blank=True, default="")
    attempt = models.PositiveIntegerField(default=0)
    actor = models.CharField(max_length=200)
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "token_transitions"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.from_status or 'new'} to {self.to_status}"
