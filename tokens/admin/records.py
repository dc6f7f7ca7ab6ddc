"""Mint events, generation jobs and upload records."""

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from glisk.admin.formatting import (
    admin_link,
    age,
    duration,
    ether,
    external_link,
    hash_link,
    json_block,
    short,
    text_block,
)
from glisk.admin.tables import ExactSearch, MachineAdmin, shows_list
from glisk.clients.links import (
    explorer_address_url,
    explorer_block_url,
    explorer_transaction_url,
    gateway_url,
)
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

Record = ImageGenerationJob | IPFSUploadRecord


def token_link(token_id: int) -> SafeString:
    """Return a link to a token's page, without a look at the token."""
    url = reverse("admin:tokens_token_change", args=[token_id])
    return format_html('<a href="{}" class="glisk-link">#{}</a>', url, token_id)


@admin.register(MintEvent)
class MintEventAdmin(ExactSearch, MachineAdmin):
    list_display = ("name", "tokens_minted", "minter_short", "author", "paid", "source", "seen")
    list_filter = ("source",)
    ordering = ("-block_number", "-log_index")
    sortable_by = ()
    search_ids = ("block_number", "start_token_id")
    search_wallets = ("minter", "prompt_author")
    search_hashes = ("tx_hash",)
    search_help_text = "Block, first token, wallet or transaction hash"
    fields = (
        "transaction",
        "log_index",
        "block",
        "block_hash",
        "block_timestamp",
        "minter_link",
        "author_link",
        "token_links",
        "paid",
        "source",
        "created_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[MintEvent]:
        found: QuerySet[MintEvent] = super().get_queryset(request)
        tokens = Token.objects.only("token_id", "mint_event").order_by("token_id")
        return (
            found
            if shows_list(request)
            else found.prefetch_related(Prefetch("tokens", queryset=tokens))
        )

    @display(description="Block")
    def name(self, event: MintEvent) -> str:
        return f"{event.block_number} · {event.log_index}"

    @display(description="Tokens")
    def tokens_minted(self, event: MintEvent) -> str:
        ids = event.token_ids
        return f"#{ids[0]}" if event.quantity == 1 else f"#{ids[0]} – #{ids[-1]}"

    @display(description="Minter")
    def minter_short(self, event: MintEvent) -> SafeString | str:
        return short(event.minter)

    @display(description="Author")
    def author(self, event: MintEvent) -> SafeString | str:
        return short(event.prompt_author)

    @display(description="Paid")
    def paid(self, event: MintEvent) -> str:
        return ether(event.total_paid_wei)

    @display(description="Age")
    def seen(self, event: MintEvent) -> SafeString | str:
        return age(event.block_timestamp)

    @display(description="Transaction")
    def transaction(self, event: MintEvent) -> SafeString | str:
        return hash_link(event.tx_hash, explorer_transaction_url(event.tx_hash))

    @display(description="Block")
    def block(self, event: MintEvent) -> SafeString | str:
        return hash_link(str(event.block_number), explorer_block_url(event.block_number))

    @display(description="Minter")
    def minter_link(self, event: MintEvent) -> SafeString | str:
        return hash_link(event.minter, explorer_address_url(event.minter))

    @display(description="Prompt author")
    def author_link(self, event: MintEvent) -> SafeString | str:
        return hash_link(event.prompt_author, explorer_address_url(event.prompt_author))

    @display(description="Tokens")
    def token_links(self, event: MintEvent) -> SafeString:
        tokens = ((admin_link(token, f"#{token.pk}"),) for token in event.tokens.all())
        return format_html_join(" ", "{}", tokens)


class RecordColumns:
    """What the lists and pages of generation jobs and of uploads tell alike."""

    @display(description="Record")
    def name(self, record: Record) -> str:
        return f"{record.pk}"

    @display(description="Token")
    def token_number(self, record: Record) -> SafeString:
        return token_link(record.token_id)

    @display(description="Trouble")
    def why(self, record: Record) -> SafeString:
        text = record.error
        return format_html('<span class="glisk-clip" title="{}">{}</span>', text, text)

    @display(description="Age")
    def seen(self, record: Record) -> SafeString | str:
        return age(record.created_at)

    @display(description="Error")
    def failure(self, record: Record) -> SafeString | str:
        return text_block(": ".join(filter(None, (record.error_class, record.error))))


class JobColumns(RecordColumns):
    @display(description="State", label=JOB_LABELS)
    def state(self, job: ImageGenerationJob) -> str:
        return job.status


class UploadColumns(RecordColumns):
    @display(description="State", label=UPLOAD_LABELS)
    def state(self, record: IPFSUploadRecord) -> str:
        return record.status

    @display(description="Computed CID")
    def cid(self, record: IPFSUploadRecord) -> SafeString | str:
        return hash_link(record.computed_cid, gateway_url(record.computed_cid))


@admin.register(ImageGenerationJob)
class ImageGenerationJobAdmin(JobColumns, ExactSearch, MachineAdmin):
    list_display = (
        "name",
        "token_number",
        "state",
        "prediction",
        "cost_usd",
        "took",
        "why",
        "seen",
    )
    list_filter = ("status", "service")
    ordering = ("-id",)
    sortable_by = ()
    search_ids = ("token_id",)
    search_texts = ("external_id",)
    search_help_text = "Token number or prediction id"
    fields = (
        "token_number",
        "state",
        "attempt_number",
        "service",
        "model",
        "external_id",
        "prompt_text",
        "input_json",
        "output",
        "cost_usd",
        "predict_time_seconds",
        "failure",
        "created_at",
        "submitted_at",
        "completed_at",
    )

    @display(description="Prediction")
    def prediction(self, job: ImageGenerationJob) -> SafeString | str:
        return short(job.external_id)

    @display(description="Took")
    def took(self, job: ImageGenerationJob) -> str:
        if job.submitted_at is None or job.completed_at is None:
            return duration(None)
        return duration((job.completed_at - job.submitted_at).total_seconds())

    @display(description="Prompt")
    def prompt_text(self, job: ImageGenerationJob) -> SafeString | str:
        return text_block(job.prompt)

    @display(description="Input")
    def input_json(self, job: ImageGenerationJob) -> SafeString | str:
        return json_block(job.input)

    @display(description="Output")
    def output(self, job: ImageGenerationJob) -> SafeString | str:
        url = job.output_url or ""
        if url.startswith("data:"):  # megabytes, until the image is collected
            url = url.partition(",")[0]
        return external_link(url, url)


@admin.register(IPFSUploadRecord)
class IPFSUploadRecordAdmin(UploadColumns, ExactSearch, MachineAdmin):
    list_display = ("name", "token_number", "upload_type", "state", "cid", "size", "why", "seen")
    list_filter = ("status", "upload_type")
    ordering = ("-id",)
    sortable_by = ()
    search_ids = ("token_id",)
    search_cids = ("computed_cid",)
    search_help_text = "Token number or CID"
    fields = (
        "token_number",
        "upload_type",
        "state",
        "attempt_number",
        "cid",
        "returned_cid",
        "size",
        "failure",
        "created_at",
    )

    @display(description="Size")
    def size(self, record: IPFSUploadRecord) -> str:
        return f"{record.size_bytes:,} bytes"
