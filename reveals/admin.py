"""The admin's pages of reveal batches and their transactions."""

from django.contrib import admin
from django.db.models import Count, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from glisk.admin_tables import ExactSearch, MachineAdmin, MachineInline, as_hash, as_id, shows_list
from glisk.display import (
    NOTHING,
    admin_link,
    age,
    duration,
    ether,
    gwei,
    hash_link,
    short,
    text_block,
)
from glisk.links import explorer_address_url, explorer_block_url, explorer_transaction_url
from reveals.models import (
    BatchStatus,
    RevealBatch,
    RevealBatchToken,
    RevealTransaction,
    TransactionStatus,
)

BATCH_LABELS = {
    BatchStatus.OPEN: "info",
    BatchStatus.CONFIRMED: "success",
    BatchStatus.REVERTED: "danger",
}
TRANSACTION_LABELS = {
    TransactionStatus.SIGNED: "default",
    TransactionStatus.BROADCAST: "info",
    TransactionStatus.CONFIRMED: "success",
    TransactionStatus.REVERTED: "danger",
    TransactionStatus.REPLACED: "warning",
}


class TransactionInline(MachineInline):
    model = RevealTransaction
    verbose_name_plural = "Transactions"
    fields = ("link", "state", "fee_cap", "paid_price", "gas_used", "cost", "signed")
    readonly_fields = fields
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RevealTransaction]:
        found: QuerySet[RevealTransaction] = super().get_queryset(request)
        return found.defer("raw_transaction", "metadata_uris")

    @display(description="Transaction")
    def link(self, transaction: RevealTransaction) -> SafeString:
        return admin_link(transaction, f"{transaction.tx_hash[:12]}…")

    @display(description="State", label=TRANSACTION_LABELS)
    def state(self, transaction: RevealTransaction) -> str:
        return transaction.status

    @display(description="Fee cap")
    def fee_cap(self, transaction: RevealTransaction) -> str:
        return gwei(transaction.max_fee_per_gas_wei)

    @display(description="Paid per gas")
    def paid_price(self, transaction: RevealTransaction) -> str:
        return gwei(transaction.effective_gas_price_wei)

    @display(description="Cost")
    def cost(self, transaction: RevealTransaction) -> str:
        return ether(transaction.cost_wei)

    @display(description="Signed")
    def signed(self, transaction: RevealTransaction) -> SafeString | str:
        return age(transaction.signed_at)


class ItemInline(MachineInline):
    model = RevealBatchToken
    verbose_name_plural = "Tokens"
    fields = ("position", "token_link", "metadata_uri", "is_open")
    readonly_fields = fields
    ordering = ("position",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RevealBatchToken]:
        found: QuerySet[RevealBatchToken] = super().get_queryset(request)
        return found.select_related("token")

    @display(description="Token")
    def token_link(self, item: RevealBatchToken) -> SafeString:
        return admin_link(item.token, f"#{item.token_id}")


@admin.register(RevealBatch)
class RevealBatchAdmin(ExactSearch, MachineAdmin):
    list_display = ("number", "state", "nonce", "size", "keeper_short", "opened", "took")
    list_filter = ("status",)
    ordering = ("-id",)
    search_ids = ("nonce",)
    search_wallets = ("keeper",)
    search_help_text = "Nonce, token number, keeper or transaction hash"
    fields = ("state", "nonce", "keeper_link", "size", "created_at", "closed_at", "took")
    inlines = (ItemInline, TransactionInline)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RevealBatch]:
        items = RevealBatchToken.objects.filter(batch=OuterRef("pk")).order_by().values("batch")
        counted = items.annotate(number=Count("pk")).values("number")
        found: QuerySet[RevealBatch] = super().get_queryset(request)
        return found.annotate(item_count=Coalesce(Subquery(counted), 0))

    def search_conditions(self, term: str) -> Q:
        """Look for tokens and transactions apart: a join would read those of every batch."""
        wanted = super().search_conditions(term)
        if (token_id := as_id(term)) is not None:
            items = RevealBatchToken.objects.filter(token_id=token_id)
            wanted |= Q(pk__in=items.values("batch"))
        if (tx_hash := as_hash(term)) is not None:
            sent = RevealTransaction.objects.filter(tx_hash=tx_hash)
            wanted |= Q(pk__in=sent.values("batch"))
        return wanted

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow the link from a token's page."""
        return lookup == "items__token__token_id" or super().lookup_allowed(lookup, value, request)

    @display(description="Batch", ordering="id")
    def number(self, batch: RevealBatch) -> str:
        return f"Batch {batch.pk}"

    @display(description="State", label=BATCH_LABELS)
    def state(self, batch: RevealBatch) -> str:
        return batch.status

    @display(description="Tokens")
    def size(self, batch: RevealBatch) -> int:
        return int(getattr(batch, "item_count", 0))

    @display(description="Keeper")
    def keeper_short(self, batch: RevealBatch) -> SafeString | str:
        return short(batch.keeper)

    @display(description="Keeper")
    def keeper_link(self, batch: RevealBatch) -> SafeString | str:
        return hash_link(batch.keeper, explorer_address_url(batch.keeper))

    @display(description="Age", ordering="id")
    def opened(self, batch: RevealBatch) -> SafeString | str:
        return age(batch.created_at)

    @display(description="Took")
    def took(self, batch: RevealBatch) -> str:
        if batch.closed_at is None:
            return NOTHING
        return duration((batch.closed_at - batch.created_at).total_seconds())


@admin.register(RevealTransaction)
class RevealTransactionAdmin(ExactSearch, MachineAdmin):
    list_display = ("name", "state", "nonce", "size", "gas", "price", "cost", "signed", "took")
    list_filter = ("status",)
    ordering = ("-signed_at",)
    search_ids = ("nonce", "block_number")
    search_hashes = ("tx_hash",)
    search_wallets = ("keeper",)
    search_help_text = "Transaction hash, nonce, block or keeper"
    fieldsets = (
        (
            None,
            {"fields": ("explorer", "state", "batch_link", "replaces_link", "replacements")},
        ),
        ("Tokens", {"fields": ("token_links", "uris")}),
        (
            "Fees",
            {"fields": ("gas", "fee_cap", "priority_cap", "price", "cost", "cost_wei", "l1_fee")},
        ),
        ("Chain", {"fields": ("keeper_link", "nonce", "block", "block_hash", "raw_size")}),
        ("Times", {"fields": ("signed_at", "broadcast_at", "confirmed_at", "took")}),
        ("Error", {"fields": ("failure",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[RevealTransaction]:
        found: QuerySet[RevealTransaction] = super().get_queryset(request)
        if shows_list(request):
            return found.defer("raw_transaction", "metadata_uris", "error")
        later = RevealTransaction.objects.only("tx_hash", "replaces").order_by("id")
        return (
            found.select_related("batch", "replaces")
            .defer("replaces__raw_transaction", "replaces__metadata_uris")
            .prefetch_related(Prefetch("replaced_by", queryset=later))
        )

    @display(description="Transaction")
    def name(self, transaction: RevealTransaction) -> SafeString | str:
        return short(transaction.tx_hash)

    @display(description="Transaction")
    def explorer(self, transaction: RevealTransaction) -> SafeString | str:
        return hash_link(transaction.tx_hash, explorer_transaction_url(transaction.tx_hash))

    @display(description="State", label=TRANSACTION_LABELS)
    def state(self, transaction: RevealTransaction) -> str:
        return transaction.status

    @display(description="Batch")
    def batch_link(self, transaction: RevealTransaction) -> SafeString:
        return admin_link(transaction.batch)

    @display(description="Replaces")
    def replaces_link(self, transaction: RevealTransaction) -> SafeString | str:
        return admin_link(transaction.replaces) if transaction.replaces else NOTHING

    @display(description="Replaced by")
    def replacements(self, transaction: RevealTransaction) -> SafeString | str:
        later = ((admin_link(other),) for other in transaction.replaced_by.all())
        return format_html_join(" ", "{}", later) or NOTHING

    @display(description="Tokens")
    def size(self, transaction: RevealTransaction) -> int:
        return len(transaction.token_ids)

    @display(description="Tokens")
    def token_links(self, transaction: RevealTransaction) -> SafeString:
        addresses = (
            (reverse("admin:tokens_token_change", args=[token_id]), token_id)
            for token_id in transaction.token_ids
        )
        return format_html_join(" ", '<a class="glisk-link" href="{}">#{}</a>', addresses)

    @display(description="Metadata URIs")
    def uris(self, transaction: RevealTransaction) -> SafeString | str:
        return text_block("\n".join(transaction.metadata_uris))

    @display(description="Gas used of limit")
    def gas(self, transaction: RevealTransaction) -> str:
        used = NOTHING if transaction.gas_used is None else f"{transaction.gas_used:,}"
        return f"{used} of {transaction.gas_limit:,}"

    @display(description="Price per gas")
    def price(self, transaction: RevealTransaction) -> str:
        return gwei(transaction.effective_gas_price_wei)

    @display(description="Fee cap per gas")
    def fee_cap(self, transaction: RevealTransaction) -> str:
        return gwei(transaction.max_fee_per_gas_wei)

    @display(description="Priority fee cap")
    def priority_cap(self, transaction: RevealTransaction) -> str:
        return gwei(transaction.max_priority_fee_per_gas_wei)

    @display(description="Cost")
    def cost(self, transaction: RevealTransaction) -> SafeString | str:
        wei = transaction.cost_wei
        if wei is None:
            return NOTHING
        return format_html('<span title="{}">{}</span>', gwei(wei), ether(wei))

    @display(description="Cost in gwei")
    def cost_wei(self, transaction: RevealTransaction) -> str:
        return gwei(transaction.cost_wei)

    @display(description="L1 data fee")
    def l1_fee(self, transaction: RevealTransaction) -> str:
        return ether(transaction.l1_fee_wei)

    @display(description="Keeper")
    def keeper_link(self, transaction: RevealTransaction) -> SafeString | str:
        return hash_link(transaction.keeper, explorer_address_url(transaction.keeper))

    @display(description="Block")
    def block(self, transaction: RevealTransaction) -> SafeString | str:
        number = transaction.block_number
        if number is None:
            return NOTHING
        return hash_link(str(number), explorer_block_url(number))

    @display(description="Signed transaction")
    def raw_size(self, transaction: RevealTransaction) -> str:
        return f"{len(transaction.raw_transaction):,} bytes"

    @display(description="Signed", ordering="signed_at")
    def signed(self, transaction: RevealTransaction) -> SafeString | str:
        return age(transaction.signed_at)

    @display(description="Signed to mined")
    def took(self, transaction: RevealTransaction) -> str:
        if transaction.confirmed_at is None:
            return NOTHING
        return duration((transaction.confirmed_at - transaction.signed_at).total_seconds())

    @display(description="Error")
    def failure(self, transaction: RevealTransaction) -> SafeString | str:
        return text_block(transaction.error)
