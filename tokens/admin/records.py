"""Mint events, generation jobs and upload records."""

from datetime import datetime
from decimal import Decimal

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from glisk.admin.formatting import (
    NOTHING,
    admin_link,
    age,
    block_link,
    cid_link,
    clipped,
    duration,
    ether,
    external_link,
    json_block,
    short,
    text_block,
    transaction_link,
    wallet_link,
)
from glisk.admin.tables import ExactSearch, MachineAdmin, column, shows_list
from tokens.models import ImageGenerationJob, IPFSUploadRecord, MintEvent, Token
from tokens.models.artefact import UploadStatus
from tokens.models.job import JobStatus

JOB_LABELS = {
    JobStatus.CREATED: "default",
    JobStatus.SUBMITTED: "info",
    JobStatus.SUCCEEDED: "primary",
    JobStatus.CAPTURED: "success",
    JobStatus.FAILED: "danger",
    JobStatus.REJECTED: "warning",
}
UPLOAD_LABELS = {
    UploadStatus.SUCCEEDED: "success",
    UploadStatus.FAILED: "danger",
    UploadStatus.MISMATCH: "danger",
}


def token_link(token_id: int) -> SafeString:
    """Return a link to a token's page, without a look at the token."""
    url = reverse("admin:tokens_token_change", args=[token_id])
    return format_html('<a href="{}" class="glisk-link">#{}</a>', url, token_id)


@admin.register(MintEvent)
class MintEventAdmin(ExactSearch, MachineAdmin):
    list_display = (
        "name", "tokens_minted", "minter_short", "author_short", "paid", "source", "seen",
    )  # fmt: skip
    list_filter = ("source",)
    ordering = ("-block_number", "-log_index")
    sortable_by = ()
    search_ids = ("block_number", "start_token_id")
    search_wallets = ("minter", "prompt_author")
    search_hashes = ("tx_hash",)
    search_help_text = "Block, first token, wallet or transaction hash"
    when_empty = "Each mint of the contract stands here once its block is known."
    fields = (
        "transaction", "log_index", "block", "hash_of_block", "block_timestamp", "minter_link",
        "author_link", "token_links", "paid", "source", "created_at",
    )  # fmt: skip

    name = column("Block", lambda event: f"{event.block_number} · {event.log_index}")
    minter_short = column("Minter", lambda event: short(event.minter))
    author_short = column("Author", lambda event: short(event.prompt_author))
    paid = column("Paid", lambda event: ether(event.total_paid_wei))
    seen = column("Age", lambda event: age(event.block_timestamp))
    transaction = column("Transaction", lambda event: transaction_link(event.tx_hash))
    block = column("Block", lambda event: block_link(event.block_number))
    hash_of_block = column("Block hash", lambda event: short(event.block_hash))
    minter_link = column("Minter", lambda event: wallet_link(event.minter))
    author_link = column("Prompt author", lambda event: wallet_link(event.prompt_author))

    def get_queryset(self, request: HttpRequest) -> QuerySet[MintEvent]:
        found: QuerySet[MintEvent] = super().get_queryset(request)
        if shows_list(request):
            return found
        tokens = Token.objects.only("token_id", "mint_event").order_by("token_id")
        return found.prefetch_related(Prefetch("tokens", queryset=tokens))

    @display(description="Tokens")
    def tokens_minted(self, event: MintEvent) -> str:
        ids = event.token_ids
        return f"#{ids[0]}" if event.quantity == 1 else f"#{ids[0]} – #{ids[-1]}"

    @display(description="Tokens")
    def token_links(self, event: MintEvent) -> SafeString:
        tokens = ((admin_link(token, f"#{token.pk}"),) for token in event.tokens.all())
        return format_html_join(" ", "{}", tokens)


class RecordColumns:
    """What the lists and pages of generation jobs and of uploads tell alike."""

    number = column("Token", lambda record: token_link(record.token_id))
    why = column("Problem", lambda record: clipped(record.error))
    seen = column("Age", lambda record: age(record.created_at))
    failure = column("Error", lambda record: text_block(fault(record.error_class, record.error)))


def between(begin: datetime | None, end: datetime | None) -> str:
    return "" if begin is None or end is None else duration((end - begin).total_seconds())


def fault(error_class: str, error: str | None) -> str:
    return ": ".join(filter(None, (error_class, error)))


def usd(amount: Decimal | None) -> str:
    """Return an amount in US dollars with the digits that matter, empty if it is not known."""
    return "" if amount is None else f"{amount.normalize():f} USD"


class JobColumns(RecordColumns):
    state = column("State", lambda job: job.status, label=JOB_LABELS)
    cost = column("Cost", lambda job: usd(job.cost_usd))
    prediction = column("Prediction", lambda job: short(job.external_id))


class UploadColumns(RecordColumns):
    state = column("State", lambda record: record.status, label=UPLOAD_LABELS)
    size = column("Size", lambda record: f"{record.size_bytes:,} bytes")

    @display(description="CID")
    def cid(self, record: IPFSUploadRecord) -> SafeString | str:
        """Return the CID that we computed; as a link once the file is pinned."""
        is_pinned = record.status == UploadStatus.SUCCEEDED
        return cid_link(record.computed_cid) if is_pinned else short(record.computed_cid)


@admin.register(ImageGenerationJob)
class ImageGenerationJobAdmin(JobColumns, ExactSearch, MachineAdmin):
    list_display = ("id", "number", "state", "prediction", "cost", "took", "why", "seen")
    list_filter = ("status", "service")
    ordering = ("-id",)
    sortable_by = ()
    search_ids = ("token_id",)
    search_texts = ("external_id",)
    search_help_text = "Token number or prediction id"
    when_empty = "Each image that is ordered for a token stands here, with what it cost."
    fields = (
        "number", "state", "failure", "prompt_block", "cost", "attempt_number", "service",
        "model", "prediction", "input_json", "output", "prediction_time", "created_at",
        "submitted_at", "completed_at",
    )  # fmt: skip

    prompt_block = column("Prompt", lambda job: text_block(job.prompt))
    input_json = column("Input", lambda job: json_block(job.input))
    prediction_time = column("Prediction time", lambda job: duration(job.predict_time_seconds))
    took = column("Took", lambda job: between(job.submitted_at, job.completed_at) or NOTHING)

    @display(description="Output")
    def output(self, job: ImageGenerationJob) -> SafeString | str:
        url = job.output_url or ""
        if url.startswith("data:"):  # megabytes, until the image is collected
            url = url.partition(",")[0]
        return external_link(url, url)


@admin.register(IPFSUploadRecord)
class IPFSUploadRecordAdmin(UploadColumns, ExactSearch, MachineAdmin):
    list_display = ("id", "number", "upload_type", "state", "cid", "size", "why", "seen")
    list_filter = ("status", "upload_type")
    ordering = ("-id",)
    sortable_by = ()
    search_ids = ("token_id",)
    search_cids = ("computed_cid",)
    search_help_text = "Token number or CID"
    when_empty = "Each attempt to pin a file of a token stands here."
    fields = (
        "number", "upload_type", "state", "failure", "attempt_number", "cid", "stored_cid",
        "size", "created_at",
    )  # fmt: skip

    stored_cid = column(
        "CID at Pinata",
        lambda record: (
            short(record.returned_cid) if record.returned_cid != record.computed_cid else NOTHING
        ),
    )
