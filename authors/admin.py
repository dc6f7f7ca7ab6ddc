"""The admin's pages of authors."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from authors.models import Author
from authors.onboarding import record_prompt
from authors.prompt_text import check_prompt
from glisk.admin_tables import ExactSearch
from glisk.display import NOTHING, age, external_link, hash_link, shortened
from glisk.fields import normalise_address
from glisk.links import explorer_address_url

HISTORY_LENGTH = 20
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


class AuthorForm(forms.ModelForm):
    """An author; a wallet in mixed case must carry its right EIP-55 checksum."""

    def clean_wallet_address(self) -> str:
        from eth_utils.address import is_checksum_address

        typed: str = self.cleaned_data["wallet_address"].strip()
        address = normalise_address(typed)
        digits = typed[2:]
        mixed_case = digits not in (digits.lower(), digits.upper())
        if mixed_case and not is_checksum_address(typed):
            raise forms.ValidationError(
                "The letter case of this address does not fit its EIP-55 checksum; "
                "look for a mistyped character."
            )
        return address

    def clean_prompt_text(self) -> str:
        text: str = self.cleaned_data["prompt_text"]
        if text:
            check_prompt(text)
        return text


@admin.register(Author)
class AuthorAdmin(ExactSearch):
    form = AuthorForm
    list_display = ("name", "wallet", "twitter", "farcaster", "prompt", "tokens", "since")
    list_display_links = ("name",)
    ordering = ("-id",)
    search_wallets = ("wallet_address",)
    search_texts = ("twitter_handle", "farcaster_handle")
    search_help_text = "Wallet or handle"
    actions = None
    fieldsets = (
        (None, {"fields": ("wallet_address", "prompt_text")}),
        ("Handles", {"fields": ("twitter_handle", "farcaster_handle")}),
        ("Links", {"fields": ("wallet", "tokens", "created_at", "updated_at")}),
        ("History", {"fields": ("prompt_history",)}),
    )
    readonly_fields = ("wallet", "tokens", "created_at", "updated_at", "prompt_history")

    def get_fieldsets(self, request: HttpRequest, obj: Author | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.fieldsets[:2]

    def save_model(self, request: HttpRequest, obj: Author, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "prompt_text" in form.changed_data:
            record_prompt(obj, actor=f"operator {request.user.get_username()}")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: tokens belong to their author for ever."""
        return False

    @display(description="Author")
    def name(self, author: Author) -> str:
        handle = author.twitter_handle or author.farcaster_handle
        return f"@{handle}" if handle else shortened(author.wallet_address)

    @display(description="Wallet")
    def wallet(self, author: Author) -> SafeString | str:
        address = author.wallet_address
        return hash_link(address, explorer_address_url(address))

    @display(description="X")
    def twitter(self, author: Author) -> SafeString | str:
        handle = author.twitter_handle
        return external_link(f"https://x.com/{handle}", f"@{handle}") if handle else NOTHING

    @display(description="Farcaster")
    def farcaster(self, author: Author) -> SafeString | str:
        handle = author.farcaster_handle
        return external_link(f"https://farcaster.xyz/{handle}", handle) if handle else NOTHING

    @display(description="Prompt")
    def prompt(self, author: Author) -> SafeString | str:
        text = author.prompt_text
        return format_html('<span class="glisk-clip" title="{}">{}</span>', text, text or NOTHING)

    @display(description="Prompts")
    def prompt_history(self, author: Author) -> SafeString | str:
        changes = author.prompt_changes.all()[:HISTORY_LENGTH]
        lines = (
            (f"{change.created_at:{TIME_FORMAT}}", change.actor, change.prompt_text)
            for change in changes
        )
        return format_html_join("", "<p>{} by {}: {}</p>", lines) or NOTHING

    @display(description="Tokens")
    def tokens(self, author: Author) -> SafeString:
        url = reverse("admin:tokens_token_changelist")
        return format_html(
            '<a class="glisk-link" href="{}?q={}">show</a>', url, author.wallet_address
        )

    @display(description="Since", ordering="id")
    def since(self, author: Author) -> SafeString | str:
        return age(author.created_at)
