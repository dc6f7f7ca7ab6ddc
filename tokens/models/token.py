"""The token: one row per minted NFT, which is at the same time the job that reveals it."""

from django.conf import settings
from django.contrib.postgres.indexes import HashIndex
from django.db import models
from django.db.models import CheckConstraint, Index, Q
from django.utils import timezone

from authors.models import Author
from glisk.fields import ADDRESS_PATTERN, HASH_PATTERN, AddressField, HashField, partial_index
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
            status__in=[TokenStatus.DETECTED, TokenStatus.GENERATING, TokenStatus.UPLOADING],
            next_attempt_at__isnull=True,
            held_at__isnull=True,
        )

    def stalled(self) -> "TokenQuerySet":
        """Tokens whose worker is gone: the lease ran out."""
        return self.filter(lease_owner__isnull=False, lease_expires_at__lt=timezone.now())

    def without_texts(self) -> "TokenQuerySet":
        """Without the columns that are longer than all the rest, and that no list shows."""
        return self.defer("prompt", "metadata_text", "error_log")

    def newest_first(self, *, before: int | None = None, **wanted: str | None) -> "TokenQuerySet":
        """Tokens with the `minter`, `author` (EIP-55) and `status` given, below the id `before`."""
        columns = {"minter": "minter_address", "author": "prompt_author_wallet", "status": "status"}
        found = self.filter(**{columns[name]: v for name, v in wanted.items() if v is not None})
        if before is not None:
            found = found.filter(token_id__lt=before)
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
            CheckConstraint(condition=Q(status__in=TokenStatus.values), name="token_status_known"),
            CheckConstraint(condition=Q(token_id__gte=1), name="token_id_from_1"),
            CheckConstraint(
                condition=Q(prompt_author_wallet__regex=ADDRESS_PATTERN)
                & Q(minter_address__regex=ADDRESS_PATTERN),
                name="token_addresses",
            ),
            CheckConstraint(
                condition=~Q(status__in=WITH_IMAGE)
                | Q(adopted_uri__isnull=False)
                | (Q(image_cid__isnull=False) & ~Q(image_cid="")),
                name="token_image_known_after_generation",
            ),
            CheckConstraint(
                condition=~Q(status__in=WITH_METADATA)
                | Q(adopted_uri__isnull=False)
                | (Q(metadata_cid__isnull=False) & ~Q(metadata_cid="")),
                name="token_metadata_known_when_ready",
            ),
            CheckConstraint(
                # NULL matches no pattern, but does not break a rule either: it is named apart.
                condition=Q(
                    status=TokenStatus.REVEALED,
                    reveal_tx_hash__isnull=False,
                    reveal_tx_hash__regex=HASH_PATTERN,
                )
                | Q(
                    status=TokenStatus.REVEALED,
                    reveal_tx_hash__isnull=True,
                    adopted_uri__isnull=False,
                )
                | (~Q(status=TokenStatus.REVEALED) & Q(reveal_tx_hash__isnull=True)),
                name="token_revealed_has_transaction",
            ),
            CheckConstraint(
                condition=Q(adopted_uri__isnull=True) | Q(status=TokenStatus.REVEALED),
                name="token_adopted_is_revealed",
            ),
            CheckConstraint(
                condition=Q(lease_owner__isnull=True, lease_expires_at__isnull=True)
                | Q(lease_owner__isnull=False, lease_expires_at__isnull=False),
                name="token_lease_is_whole",
            ),
            CheckConstraint(
                condition=Q(held_at__isnull=False) | Q(hold_reason=""),
                name="token_hold_is_whole",
            ),
            CheckConstraint(
                condition=~Q(status__in=[TokenStatus.REVEALED, TokenStatus.FAILED])
                | Q(lease_owner__isnull=True),
                name="token_terminal_has_no_lease",
            ),
        ]
        indexes = [
            Index(fields=["status", "mint_timestamp"], name="token_status_minted"),
            # the API's list of tokens in a state, newest first
            Index(fields=["status", "-token_id"], name="token_status_newest"),
            # tokens.transitions.claims.claim_for_generation
            partial_index(
                "token_claim_generation",
                "mint_timestamp",
                "token_id",
                status__in=["detected", "generating"],
                lease_owner=None,
            ),
            # tokens.transitions.claims.claim_for_upload
            partial_index(
                "token_claim_upload",
                "mint_timestamp",
                "token_id",
                status="uploading",
                lease_owner=None,
            ),
            # the reveal's choice of ready tokens, oldest mint first
            partial_index("token_ready", "mint_timestamp", "token_id", status="ready"),
            # tokens.transitions.claims.seconds_until_due
            partial_index("token_waiting", "next_attempt_at", next_attempt_at__isnull=False),
            # the rescue of expired leases, and the release of a dead process's leases
            partial_index("token_leased", "lease_expires_at", lease_owner__isnull=False),
            # the operator's list of held tokens
            partial_index("token_held", "held_at", held_at__isnull=False),
            # tokens.repairs.retry
            partial_index(
                "token_failed_due",
                "next_attempt_at",
                status="failed",
                next_attempt_at__isnull=False,
            ),
            # tokens.totals.error_rate_24h, the admin's "failed today"
            partial_index(
                "token_ended", "status", "status_changed_at", status__in=["revealed", "failed"]
            ),
            # the admin's search by hash and CID: for equality only, and small
            HashIndex(fields=["reveal_tx_hash"], name="token_reveal_tx"),
            HashIndex(fields=["image_cid"], name="token_image_cid"),
            HashIndex(fields=["metadata_cid"], name="token_metadata_cid"),
            # the admin's filter "fallback used"
            partial_index("token_fallback", "-token_id", fallback_used=True),
            # author pages: newest first
            Index(fields=["prompt_author_wallet", "-token_id"], name="token_prompt_author"),
            Index(fields=["minter_address", "-token_id"], name="token_minter"),
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

    def mark_generating(self) -> None:
        """Move detected → generating; this and the others raise `InvalidStateTransition`."""
        self._mark(TokenStatus.GENERATING)

    def mark_uploading(self, *, image_cid: str | None = None) -> None:
        """Move generating → uploading with the image's CID (given here or set before)."""
        self._mark(TokenStatus.UPLOADING, image_cid=image_cid or self.image_cid)

    def mark_ready(self, *, metadata_cid: str | None = None) -> None:
        """Move uploading → ready with the metadata's CID (given here or set before)."""
        self._mark(TokenStatus.READY, metadata_cid=metadata_cid or self.metadata_cid)

    def mark_revealed(self, *, tx_hash: str | None = None) -> None:
        """Move ready → revealed by the transaction that did it (given here or set before)."""
        self._mark(TokenStatus.REVEALED, reveal_tx_hash=tx_hash or self.reveal_tx_hash)

    def mark_failed(self, error: str = "", *, error_class: str = "") -> None:
        """Move any active state → failed, with the reason."""
        self._mark(
            TokenStatus.FAILED, error, generation_error=error or None, error_class=error_class
        )

    def _mark(self, target: TokenStatus, reason: str = "", **columns: str | None) -> None:
        move = Move(token_id=self.token_id, reason=reason, fields=columns)
        source = TokenStatus(self.status)
        if not move_tokens([move], source=source, target=target, actor="operator"):
            current = Token.objects.values_list("status", flat=True).get(pk=self.pk)
            raise InvalidStateTransition(current, target, token_id=self.token_id)
        self.refresh_from_db()


# Moves and notes of the timeline that a person caused, by the admin or by a command.
BY_PEOPLE = Q(actor__startswith="operator ") | Q(
    actor__in=["repair_tokens", "retry_failed", "reveal_tokens", "reconcile_reveals"]
)


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
        indexes = [
            # the audit page: few of millions of rows
            Index(fields=["-created_at"], name="transition_by_people", condition=BY_PEOPLE),
        ]

    def __str__(self) -> str:
        return f"{self.from_status or 'new'} to {self.to_status}"
