"""The token list and the token page."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from glisk.admin.actions import ActionsAdmin, AdminAction
from glisk.admin.formatting import (
    NOTHING,
    admin_link,
    age,
    ether,
    hash_link,
    json_block,
    short,
    shortened,
    text_block,
)
from glisk.admin.tables import ExactSearch, MachineAdmin, MachineInline, shows_list
from glisk.breaker import headline_for_breaker
from glisk.clients.links import (
    explorer_address_url,
    explorer_block_url,
    explorer_transaction_url,
    gateway_url,
)
from tokens.admin.actions import token_actions
from tokens.admin.filters import AttentionFilter, FailedTodayFilter
from tokens.admin.pictures import picture
from tokens.admin.records import JobColumns, UploadColumns
from tokens.admin.summary import TOKEN_LABELS, picture_url, token_summary
from tokens.models import ImageGenerationJob, IPFSUploadRecord, MintEvent, Token
from tokens.states import TokenStatus


class JobInline(JobColumns, MachineInline):
    model = ImageGenerationJob
    verbose_name_plural = "Generation jobs"
    fields = ("attempt_number", "state", "service", "external_id", "cost_usd", "error", "seen")
    readonly_fields = fields
    ordering = ("-id",)
    show_change_link = True


class UploadInline(UploadColumns, MachineInline):
    model = IPFSUploadRecord
    verbose_name_plural = "Uploads"
    fields = ("upload_type", "attempt_number", "state", "cid", "size_bytes", "error", "seen")
    readonly_fields = fields
    ordering = ("-id",)
    show_change_link = True


@admin.register(Token)
class TokenAdmin(ActionsAdmin, ExactSearch, MachineAdmin):
    list_display = (
        "number",
        "thumbnail",
        "state",
        "in_state_for",
        "minted",
        "author_link",
        "minter",
        "tries",
        "trouble",
    )
    list_display_links = ("number",)
    list_filter = ("status", AttentionFilter, FailedTodayFilter, "fallback_used")
    list_select_related = ("author", "image")
    ordering = ("-token_id",)
    sortable_by = ("number", "minted")
    search_ids = ("token_id",)
    search_wallets = ("prompt_author_wallet", "minter_address")
    search_hashes = ("reveal_tx_hash",)
    search_cids = ("image_cid", "metadata_cid")
    search_help_text = "Token number, wallet, transaction hash or CID"
    inlines = (JobInline, UploadInline)
    change_form_before_template = "admin/tokens/token/summary.html"
    fieldsets = (
        ("Mint", {"fields": ("mint", "block", "minter_link", "prompt_author", "mint_timestamp")}),
        (
            "Generation",
            {"fields": ("prompt_text", "fallback_used", "generation_attempts", "failure")},
        ),
        ("Storage", {"fields": ("image_url", "image_link", "metadata_link", "metadata_json")}),
        ("Reveal", {"fields": ("token_uri", "reveal", "revealed_at")}),
        (
            "Work",
            {
                "fields": (
                    "status_changed_at",
                    "attempts",
                    "held_at",
                    "hold_reason",
                    "next_attempt_at",
                    "lease_owner",
                    "lease_expires_at",
                    "errors",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Token]:
        found: QuerySet[Token] = super().get_queryset(request)
        # A page needs to know that bytes are there, never the bytes.
        found = found.defer("image__data").annotate(has_picture=Q(image__data__isnull=False))
        if not shows_list(request):
            return found.select_related("author", "mint_event", "image")
        texts = ("prompt", "author__prompt_text", "metadata_text", "error_log")
        return found.select_related("author", "image").defer(*texts)

    def get_urls(self) -> list[URLPattern]:
        see = self.admin_site.admin_view
        return [
            path(
                "<int:token_id>/picture/",
                see(picture, cacheable=True),
                name="tokens_token_picture",
            ),
            path(
                "<int:token_id>/thumbnail/",
                see(picture, cacheable=True),
                {"thumbnail": True},
                name="tokens_token_thumbnail",
            ),
            *super().get_urls(),
        ]

    def all_actions(self) -> Sequence[AdminAction]:
        return token_actions()

    def action_line(self, subject: Token) -> str:
        return f"It is {subject.status}."

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if (token := context.get("original")) is not None:
            context["summary"] = token_summary(token)
        page: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return page

    @display(description="Image")
    def thumbnail(self, token: Token) -> SafeString:
        if not getattr(token, "has_picture", False):
            return format_html('<span class="glisk-thumb glisk-thumb-{}"></span>', token.status)
        source = picture_url(token.pk, token.image.sha256, thumbnail=True)
        return format_html(
            '<img class="glisk-thumb" src="{}" alt="" width="40" height="40" loading="lazy">',
            source,
        )

    @display(description="Token", ordering="token_id")
    def number(self, token: Token) -> str:
        return f"#{token.pk}"

    @display(description="State", label=TOKEN_LABELS)
    def state(self, token: Token) -> str:
        return token.status

    @display(description="For")
    def in_state_for(self, token: Token) -> SafeString | str:
        return age(token.status_changed_at)

    @display(description="Age", ordering="-token_id")  # ids are given in the order of mints
    def minted(self, token: Token) -> SafeString | str:
        return age(token.mint_timestamp)

    @display(description="Author")
    def author_link(self, token: Token) -> SafeString:
        author = token.author
        label = author.twitter_handle or author.farcaster_handle
        if token.prompt_author_wallet.lower() != author.wallet_address.lower():
            return format_html("{} <small>unregistered</small>", short(token.prompt_author_wallet))
        return admin_link(author, f"@{label}" if label else shortened(token.prompt_author_wallet))

    @display(description="Minter")
    def minter(self, token: Token) -> SafeString | str:
        return short(token.minter_address)

    @display(description="Attempts")
    def tries(self, token: Token) -> int:
        return token.generation_attempts

    @display(description="Trouble")
    def trouble(self, token: Token) -> SafeString | str:
        held = f"Held: {token.hold_reason}" if token.held_at is not None else ""
        error = held or _trouble(token)
        if not error:
            return ""
        return format_html('<span class="glisk-two-lines" title="{}">{}</span>', error, error)

    @display(description="Reveal")
    def reveal(self, token: Token) -> SafeString | str:
        return hash_link(token.reveal_tx_hash, explorer_transaction_url(token.reveal_tx_hash))

    @display(description="Mint event")
    def mint(self, token: Token) -> SafeString | str:
        event = token.mint_event
        return NOTHING if event is None else admin_link(event)

    @display(description="Block")
    def block(self, token: Token) -> SafeString | str:
        event: MintEvent | None = token.mint_event
        if event is None:
            return NOTHING
        url = explorer_block_url(event.block_number)
        number = hash_link(str(event.block_number), url)
        paid, quantity = ether(event.total_paid_wei), event.quantity
        tokens = f"{quantity} token{'' if quantity == 1 else 's'}"
        return format_html("{} · {} paid for {}", number, paid, tokens)

    @display(description="Minter")
    def minter_link(self, token: Token) -> SafeString | str:
        wallet = token.minter_address
        return hash_link(wallet, explorer_address_url(wallet))

    @display(description="Prompt author")
    def prompt_author(self, token: Token) -> SafeString:
        wallet = token.prompt_author_wallet
        shown = hash_link(wallet, explorer_address_url(wallet))
        is_own = token.author.wallet_address.lower() == wallet.lower()
        owner = "the author" if is_own else "not registered: the default author's prompt"
        return format_html("{} · {}", shown, admin_link(token.author, owner))

    @display(description="Frozen prompt")
    def prompt_text(self, token: Token) -> SafeString | str:
        return text_block(token.prompt)

    @display(description="Error")
    def failure(self, token: Token) -> SafeString | str:
        text = ": ".join(filter(None, (token.error_class, token.generation_error)))
        return text_block(text)

    @display(description="Image CID")
    def image_link(self, token: Token) -> SafeString | str:
        return hash_link(token.image_cid, gateway_url(token.image_cid))

    @display(description="Metadata CID")
    def metadata_link(self, token: Token) -> SafeString | str:
        return hash_link(token.metadata_cid, gateway_url(token.metadata_cid))

    @display(description="Metadata")
    def metadata_json(self, token: Token) -> SafeString | str:
        return json_block(token.metadata_text)

    @display(description="Error log")
    def errors(self, token: Token) -> SafeString | str:
        return json_block(token.error_log)


def _trouble(token: Token) -> str:
    """Return a list's words for what is wrong: the vendor that is waited for, or the error."""
    error = token.generation_error or ""
    vendor, colon, _ = error.partition(":")
    waits = token.status != TokenStatus.FAILED and token.error_class in ("account", "vendor_down")
    if waits and colon and vendor.isalpha():
        return f"waits: {headline_for_breaker(vendor)}"
    return ": ".join(filter(None, (token.error_class.replace("_", " "), error)))
