"""The token list and the token page."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, Q, QuerySet
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
    block_link,
    cid_link,
    copyable,
    ether,
    external_link,
    json_block,
    short,
    shortened,
    text_block,
    transaction_link,
)
from glisk.admin.tables import (
    ExactSearch,
    MachineAdmin,
    MachineInline,
    PlainChangeList,
    column,
    folded,
    shows_list,
)
from tokens.admin.actions import TOKEN_ACTIONS
from tokens.admin.filters import AttentionFilter, FailedTodayFilter
from tokens.admin.pictures import picture, picture_url
from tokens.admin.records import JobColumns, UploadColumns, fault
from tokens.admin.summary import STATES_WAIT, pinned, token_summary
from tokens.admin.timeline import TOKEN_LABELS, is_worker
from tokens.models import ImageGenerationJob, IPFSUploadRecord, MintEvent, Token


class JobInline(JobColumns, MachineInline):
    model = ImageGenerationJob
    verbose_name_plural = "Generation jobs"
    fields = ("attempt_number", "state", "service", "prediction", "cost", "error", "seen")
    readonly_fields = fields
    ordering = ("-id",)
    show_change_link = True


class UploadInline(UploadColumns, MachineInline):
    model = IPFSUploadRecord
    verbose_name_plural = "Uploads"
    fields = ("upload_type", "attempt_number", "state", "cid", "size", "error", "seen")
    readonly_fields = fields
    ordering = ("-id",)
    show_change_link = True


@admin.register(Token)
class TokenAdmin(ActionsAdmin, ExactSearch, MachineAdmin):
    list_display = (
        "number", "thumbnail", "state", "in_state_for", "problem", "author_link", "minted",
    )  # fmt: skip
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
    when_empty = "Each token stands here seconds after its mint."
    inlines = (JobInline, UploadInline)
    change_form_before_template = "admin/tokens/token/summary.html"
    # All of it folded: what matters first stands above, in the summary.
    fieldsets = (
        folded("Mint", "mint", "block", "mint_timestamp"),
        folded("Files", "image_link", "metadata_link", "metadata_json", "source"),
        folded("Reveal", "uri", "reveal", "revealed_at"),
        folded(
            "Work", "failure", "paid_calls", "claims", "status_changed_at", "held_at",
            "hold_reason", "next_attempt_at", "lease_owner", "lease_expires_at",
            "workers", "errors",
        ),
    )  # fmt: skip

    number = column("Token", lambda token: f"#{token.pk}", ordering="token_id")
    state = column("State", lambda token: token.status, label=TOKEN_LABELS)
    in_state_for = column("For", lambda token: age(token.status_changed_at))
    # ids are given in the order of mints
    minted = column("Age", lambda token: age(token.mint_timestamp), ordering="-token_id")
    paid_calls = column("Paid calls", lambda token: token.generation_attempts or NOTHING)
    claims = column("Attempts in this state", lambda token: token.attempts or NOTHING)
    reveal = column("Reveal", lambda token: transaction_link(token.reveal_tx_hash))
    mint = column("Mint event", lambda t: _mint_link(t.mint_event) if t.mint_event else NOTHING)
    uri = column("Token URI", lambda token: token.token_uri)
    source = column("Address at the vendor", lambda token: _vendor_link(token.image_url))
    failure = column("Error", lambda t: text_block(fault(t.error_class, t.generation_error)))
    image_link = column("Image CID", lambda token: _file_link(token, token.image_cid))
    metadata_link = column("Metadata CID", lambda token: _file_link(token, token.metadata_cid))
    metadata_json = column("Metadata", lambda token: json_block(token.metadata_text))
    errors = column("Error log", lambda token: json_block(token.error_log))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Token]:
        found: QuerySet[Token] = super().get_queryset(request)
        # A page needs to know that bytes are there, never the bytes.
        found = found.defer("image__data").annotate(has_picture=Q(image__data__isnull=False))
        if not shows_list(request):
            jobs = ImageGenerationJob.objects.defer("input", "prompt", "output_url").order_by("id")
            uploads = IPFSUploadRecord.objects.order_by("id")
            return found.select_related("author", "mint_event", "image").prefetch_related(
                "transitions",
                Prefetch("generation_jobs", queryset=jobs),
                Prefetch("upload_records", queryset=uploads),
            )
        texts = ("prompt", "author__prompt_text", "metadata_text", "error_log")
        return found.select_related("author", "image").defer(*texts)

    def get_urls(self) -> list[URLPattern]:
        see = self.admin_site.admin_view(picture, cacheable=True)
        return [
            path("<int:token_id>/picture/", see, name="tokens_token_picture"),
            path("<int:token_id>/thumbnail/", see, {"thumbnail": True}, "tokens_token_thumbnail"),
            *super().get_urls(),
        ]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PlainChangeList]:
        return TokenChangeList

    def all_actions(self) -> Sequence[AdminAction]:
        return TOKEN_ACTIONS

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

    @display(description="Author")
    def author_link(self, token: Token) -> SafeString:
        author = token.author
        if token.prompt_author_wallet.lower() != author.wallet_address.lower():
            return format_html("{} <small>unregistered</small>", short(token.prompt_author_wallet))
        return admin_link(author, author.handle or shortened(token.prompt_author_wallet))

    @display(description="Problem")
    def problem(self, token: Token) -> SafeString | str:
        error = fault(token.error_class.replace("_", " "), token.generation_error)
        if token.held_at is not None:
            error = f"Held: {token.hold_reason}"
        elif waits := getattr(token, "waits_for", ""):
            error = waits
        if not error:
            return ""
        return format_html('<span class="glisk-two-lines" title="{}">{}</span>', error, error)

    @display(description="Block")
    def block(self, token: Token) -> SafeString | str:
        event: MintEvent | None = token.mint_event
        if event is None:
            return NOTHING
        tokens = f"{event.quantity} token{'' if event.quantity == 1 else 's'}"
        paid = ether(event.total_paid_wei)
        return format_html("{} · {} paid for {}", block_link(event.block_number), paid, tokens)

    @display(description="Workers")
    def workers(self, token: Token) -> SafeString | str:
        """Return the names of those who worked on it: machine, processes and stage."""
        actors = {move.actor for move in token.transitions.all() if is_worker(move.actor)}
        return text_block("\n".join(sorted(actors)))


def _mint_link(event: MintEvent) -> SafeString:
    return copyable(event.tx_hash, admin_link(event, shortened(event.tx_hash)))


def _vendor_link(url: str | None) -> SafeString | str:
    if not url or url.startswith("data:"):  # megabytes
        return NOTHING
    return copyable(url, external_link(url, "Image"))


def _file_link(token: Token, cid: str | None) -> SafeString | str:
    """Return a CID to copy; as a link once the file is pinned."""
    return cid_link(cid) if pinned(token, cid) else short(cid)


class TokenChangeList(PlainChangeList):
    """The list, with what the tokens of a state wait for."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        waits = {status: why for source in STATES_WAIT for status, why in source().items()}
        for token in self.result_list:
            token.waits_for = waits.get(token.status, "")
