"""The list of reveal transactions, and the page of one."""

from datetime import datetime

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from glisk.admin.formatting import (
    NOTHING,
    admin_link,
    age,
    block_link,
    copyable,
    duration,
    ether,
    gwei,
    short,
    shortened,
    text_block,
    transaction_link,
    wallet_link,
)
from glisk.admin.tables import ExactSearch, MachineAdmin, column, folded, shows_list
from reveals.models import RevealTransaction, TransactionStatus
from tokens.admin.records import token_link

TRANSACTION_LABELS = {
    TransactionStatus.SIGNED: "default",
    TransactionStatus.BROADCAST: "info",
    TransactionStatus.CONFIRMED: "success",
    TransactionStatus.REVERTED: "danger",
    TransactionStatus.REPLACED: "warning",
}


def elapsed(start: datetime, end: datetime | None) -> str:
    return NOTHING if end is None else duration((end - start).total_seconds())


def page_link(row: RevealTransaction) -> SafeString:
    """Return a link to a transaction's page here, with its hash to copy."""
    return copyable(row.tx_hash, admin_link(row, shortened(row.tx_hash)))


class TransactionColumns:
    """What the page of a transaction and that of its batch both show."""

    state = column("State", lambda row: row.status, label=TRANSACTION_LABELS)
    fee_cap = column("Fee cap per gas", lambda row: gwei(row.max_fee_per_gas_wei))
    price = column("Price per gas", lambda row: gwei(row.effective_gas_price_wei))
    used = column("Gas used", lambda row: f"{row.gas_used:,}" if row.gas_used else NOTHING)
    cost = column("Cost", lambda row: ether(row.cost_wei))
    signed = column("Signed", lambda row: age(row.signed_at), ordering="signed_at")


_FACTS = ("explorer", "state", "failure", "batch_link", "replaces_link", "replacements")


@admin.register(RevealTransaction)
class RevealTransactionAdmin(TransactionColumns, ExactSearch, MachineAdmin):
    list_display = ("name", "state", "nonce", "size", "gas", "cost", "signed", "took")
    list_display_links = None  # the hash is a link, with a button beside it
    list_filter = ("status",)
    ordering = ("-signed_at",)
    sortable_by = ("signed",)
    search_ids = ("nonce", "block_number")
    search_hashes = ("tx_hash",)
    search_wallets = ("keeper",)
    search_help_text = "Transaction hash, nonce, block or keeper"
    when_empty = "Each transaction that the keeper signs stands here."
    fieldsets = (
        (None, {"fields": _FACTS}),
        ("Tokens", {"fields": ("token_links", "uris")}),
        folded("Fees", "gas", "fee_cap", "priority_cap", "price", "cost", "l1_fee"),
        folded("Chain", "keeper_link", "nonce", "block", "hash_of_block", "raw_size"),
        ("Times", {"fields": ("signed_at", "broadcast_at", "confirmed_at", "took")}),
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

    name = column("Transaction", page_link)
    explorer = column("Transaction", lambda row: transaction_link(row.tx_hash))
    batch_link = column("Batch", lambda row: admin_link(row.batch))
    replaces_link = column(
        "Replaces", lambda row: page_link(row.replaces) if row.replaces else NOTHING
    )
    size = column("Tokens", lambda row: len(row.token_ids))
    uris = column("Metadata URIs", lambda row: text_block("\n".join(row.metadata_uris)))
    priority_cap = column("Priority fee cap", lambda row: gwei(row.max_priority_fee_per_gas_wei))
    l1_fee = column("L1 data fee", lambda row: ether(row.l1_fee_wei))
    keeper_link = column("Keeper", lambda row: wallet_link(row.keeper))
    block = column("Block", lambda row: block_link(row.block_number))
    hash_of_block = column("Block hash", lambda row: short(row.block_hash))
    raw_size = column("Signed transaction", lambda row: f"{len(row.raw_transaction):,} bytes")
    took = column("Mined after", lambda row: elapsed(row.signed_at, row.confirmed_at))
    failure = column("Error", lambda row: text_block(row.error))

    @display(description="Replaced by")
    def replacements(self, transaction: RevealTransaction) -> SafeString | str:
        later = ((page_link(other),) for other in transaction.replaced_by.all())
        return format_html_join(" ", "{}", later) or NOTHING

    @display(description="Tokens")
    def token_links(self, transaction: RevealTransaction) -> SafeString:
        return format_html_join(" ", "{}", ((token_link(i),) for i in transaction.token_ids))

    @display(description="Gas used of limit")
    def gas(self, transaction: RevealTransaction) -> str:
        used = NOTHING if transaction.gas_used is None else f"{transaction.gas_used:,}"
        return f"{used} of {transaction.gas_limit:,}"
