"""The list of reveal transactions, and the page of one."""

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
    duration,
    ether,
    gwei,
    hash_link,
    short,
    text_block,
)
from glisk.admin.tables import ExactSearch, MachineAdmin, shows_list
from glisk.clients.links import explorer_address_url, explorer_block_url, explorer_transaction_url
from reveals.models import RevealTransaction, TransactionStatus

TRANSACTION_LABELS = {
    TransactionStatus.SIGNED: "default",
    TransactionStatus.BROADCAST: "info",
    TransactionStatus.CONFIRMED: "success",
    TransactionStatus.REVERTED: "danger",
    TransactionStatus.REPLACED: "warning",
}


@admin.register(RevealTransaction)
class RevealTransactionAdmin(ExactSearch, MachineAdmin):
    list_display = ("name", "state", "nonce", "size", "gas", "price", "cost", "signed", "took")
    list_filter = ("status",)
    ordering = ("-signed_at",)
    sortable_by = ("signed",)
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
