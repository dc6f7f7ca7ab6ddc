"""Prompt authors: a wallet, a prompt, and the handles they linked."""

from collections.abc import Iterable

from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Length, Lower, Now

from glisk.fields import ADDRESS_PATTERN, AddressField
from glisk.permissions import declared

PROMPT_MAX_LENGTH = 1000


def _lower_wallet() -> Lower:
    """Lower-case text: as an AddressField it would get its checksum back when compared."""
    return Lower("wallet_address", output_field=models.CharField())


class AuthorQuerySet(models.QuerySet["Author"]):
    def by_wallet(self, wallet: str) -> "AuthorQuerySet":
        """Match a wallet whatever its letter case, by the unique index."""
        return self.annotate(wallet_lower=_lower_wallet()).filter(wallet_lower=wallet.lower())

    def by_wallets(self, wallets: Iterable[str]) -> dict[str, "Author"]:
        """Return the known authors by lower-case wallet, in one query."""
        lowered = {wallet.lower() for wallet in wallets}
        found = self.annotate(wallet_lower=_lower_wallet()).filter(wallet_lower__in=lowered)
        return {author.wallet_address.lower(): author for author in found}

    def default(self) -> "Author":
        """Return the author who owns the tokens of unregistered wallets; create them if need be."""
        wallet = settings.GLISK_DEFAULT_AUTHOR_WALLET
        author = self.by_wallet(wallet).first()
        if author is None:
            with transaction.atomic():
                author, is_new = self.get_or_create(
                    wallet_address=wallet, defaults={"prompt_text": settings.DEFAULT_PROMPT}
                )
                if is_new:
                    author.record_prompt(actor="settings")
        return author


class Author(models.Model):
    wallet_address = AddressField()
    twitter_handle = models.CharField(max_length=50, null=True, blank=True)
    farcaster_handle = models.CharField(max_length=50, null=True, blank=True)
    prompt_text = models.TextField(max_length=PROMPT_MAX_LENGTH, blank=True, default="")
    prompt_is_public = models.BooleanField(
        default=False,
        db_default=False,
        help_text="The provenance of revealed tokens tells the prompt, for everybody to check.",
    )
    # The defaults are for an INSERT by hand.
    created_at = models.DateTimeField(auto_now_add=True, db_default=Now())
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())

    objects = AuthorQuerySet.as_manager()

    class Meta:
        db_table = "authors"
        permissions = declared("authors")
        indexes = [  # the admin's search by a handle, whatever the letter case
            models.Index(Lower("twitter_handle"), name="author_x_handle"),
            models.Index(Lower("farcaster_handle"), name="author_farcaster_handle"),
        ]
        constraints = [
            models.UniqueConstraint(
                Lower("wallet_address"),
                name="author_wallet_unique",
                violation_error_message="An author with this wallet exists already.",
            ),
            models.CheckConstraint(
                condition=models.Q(wallet_address__regex=ADDRESS_PATTERN),
                name="author_wallet_is_address",
            ),
            models.CheckConstraint(
                condition=models.lookups.LessThanOrEqual(Length("prompt_text"), PROMPT_MAX_LENGTH),
                name="author_prompt_length",
            ),
        ]

    def __str__(self) -> str:
        return self.handle or self.wallet_address

    @property
    def handle(self) -> str:
        """The name by which people know them, as in `@name`; empty if none is linked."""
        name = self.twitter_handle or self.farcaster_handle
        return f"@{name}" if name else ""

    def record_prompt(self, *, actor: str) -> None:
        """Enter the present prompt into the history."""
        self.prompt_changes.create(prompt_text=self.prompt_text, actor=actor[:200])

    @property
    def is_default(self) -> bool:
        """Whether this author owns the tokens of unregistered wallets."""
        return self.wallet_address.lower() == settings.GLISK_DEFAULT_AUTHOR_WALLET.lower()

    @property
    def has_prompt(self) -> bool:
        return bool(self.prompt_text.strip())


class PromptChange(models.Model):
    """One entry of the history of prompts: what was set, by whom, when. Never changed."""

    author = models.ForeignKey(Author, models.PROTECT, related_name="prompt_changes")
    prompt_text = models.TextField(max_length=PROMPT_MAX_LENGTH, blank=True)
    # "wallet" (by its signature), "operator <name>", a command's name, "unknown" (before the
    # history)
    actor = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "prompt_changes"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M:%S} by {self.actor}"


class Action(models.TextChoices):
    """What an author may ask for by a signature."""

    UPDATE_PROMPT = "update_prompt", "Update prompt"
    LINK_X = "link_x", "Link X account"
    LINK_FARCASTER = "link_farcaster", "Link Farcaster account"


class SignInNonce(models.Model):
    """A text that a wallet was offered to sign; it allows one action, once, until it expires."""

    nonce = models.CharField(max_length=32, unique=True)
    wallet_address = AddressField()
    action = models.CharField(max_length=20, choices=Action.choices)
    value_hash = models.CharField(max_length=64, blank=True)  # SHA-256, hex; link_x has no value
    message = models.TextField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "author_nonces"
        indexes = [models.Index(fields=["expires_at"], name="author_nonce_expires_at")]  # purge

    def __str__(self) -> str:
        return f"{self.action} for {self.wallet_address}"


class XLinkRequest(models.Model):
    """A sign-in at X that a wallet began; deleted when the browser comes back with its state."""

    state_hash = models.CharField(max_length=64, unique=True)
    browser_hash = models.CharField(max_length=64)
    wallet_address = AddressField()
    code_verifier = models.CharField(max_length=128)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "x_link_requests"
        indexes = [models.Index(fields=["expires_at"], name="x_link_expires_at")]  # purge

    def __str__(self) -> str:
        return f"{self.wallet_address} until {self.expires_at:%H:%M:%S}"


class SpentMessage(models.Model):
    """A sign-in that linked an account; remembered until it is too old to be used again."""

    digest = models.CharField(max_length=64, primary_key=True)  # SHA-256 of the message, hex
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "spent_messages"
        indexes = [models.Index(fields=["expires_at"], name="spent_message_expires_at")]  # purge

    def __str__(self) -> str:
        return self.digest
