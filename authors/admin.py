"""The author list and the author page."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from import_export.admin import ImportExportMixin
from unfold.contrib.import_export.forms import ExportForm, ImportForm
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from authors.figures import AuthorFigures, figures_of
from authors.models import PROMPT_MAX_LENGTH, Author
from authors.onboarding import (
    check_prompt,
    clean_farcaster_name,
    clean_wallet,
    clean_x_handle,
)
from authors.transfer import AuthorResource, AuthorsCSV, UnreadableFile
from glisk.admin.audit import actor_of
from glisk.admin.formatting import NOTHING, age, ether, external_link, hash_link, shortened
from glisk.admin.tables import ExactSearch, PlainChangeList
from glisk.clients.links import explorer_url

HISTORY_LENGTH = 20


class PromptWidget(UnfoldAdminTextareaWidget):
    """A text area that counts characters as the server does; glisk/prompt.js shows it.

    Without the attribute `maxlength`: browsers count an emoji as two, and cut silently.
    """

    class Media:
        js = ("glisk/prompt.js",)

    def __init__(self) -> None:
        super().__init__(attrs={"rows": 6, "data-prompt-limit": PROMPT_MAX_LENGTH})


class PromptField(forms.CharField):
    """A prompt; a browser's line ends count as one character, as they are stored."""

    widget = PromptWidget

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        return text.replace("\r\n", "\n").strip()

    def validate(self, value: str) -> None:
        super().validate(value)
        if value:
            check_prompt(value)


class AuthorForm(forms.ModelForm):
    """An author; a wallet in mixed case must carry its right EIP-55 checksum."""

    prompt_text = PromptField(
        label="Prompt",
        required=False,
        help_text="Mints from now on use it; earlier tokens keep theirs.",
    )

    class Meta:
        model = Author
        fields = ("wallet_address", "prompt_text", "twitter_handle", "farcaster_handle")

    def clean_wallet_address(self) -> str:
        return clean_wallet(self.cleaned_data["wallet_address"])

    def clean_twitter_handle(self) -> str | None:
        handle = self.cleaned_data["twitter_handle"]
        return clean_x_handle(handle) if handle else None

    def clean_farcaster_handle(self) -> str | None:
        name = self.cleaned_data["farcaster_handle"]
        return clean_farcaster_name(name) if name else None

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        if self.instance.pk is None and not found.get("prompt_text") and not self.errors:
            raise ValidationError({"prompt_text": "A new author needs a prompt."})
        return found


class AuthorChangeList(PlainChangeList):
    """A page of authors with the figures of all of them, by one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        authors = list(self.result_list)
        found = figures_of(author.wallet_address for author in authors)
        for author in authors:
            author.figures = found.get(author.wallet_address, AuthorFigures())
        self.result_list = authors


@admin.register(Author)
class AuthorAdmin(ImportExportMixin, ExactSearch):
    form = AuthorForm
    resource_classes = (AuthorResource,)
    formats = (AuthorsCSV,)
    import_form_class = ImportForm
    export_form_class = ExportForm
    list_display = (
        "name",
        "wallet",
        "twitter",
        "farcaster",
        "prompt",
        "tokens",
        "earned",
        "since",
    )
    list_display_links = ("name",)
    ordering = ("-id",)
    sortable_by = ("since",)
    search_wallets = ("wallet_address",)
    search_texts = ("twitter_handle", "farcaster_handle")
    search_help_text = "Wallet or handle"
    actions = None
    fieldsets = (
        (None, {"fields": ("wallet_address", "prompt_text", "sample")}),
        ("Handles", {"fields": ("twitter_handle", "farcaster_handle")}),
        ("Prompt history", {"fields": ("prompt_history",)}),
        (
            "On chain",
            {"fields": ("kind", "wallet", "tokens", "earned", "created_at", "updated_at")},
        ),
    )
    readonly_fields = (
        "sample",
        "kind",
        "wallet",
        "tokens",
        "earned",
        "created_at",
        "updated_at",
        "prompt_history",
    )

    def get_fieldsets(self, request: HttpRequest, obj: Author | None = None) -> Any:
        if obj:
            return super().get_fieldsets(request, obj)
        return ((None, {"fields": ("wallet_address", "prompt_text")}), self.fieldsets[1])

    def get_readonly_fields(self, request: HttpRequest, obj: Author | None = None) -> Any:
        """An author is their wallet: another wallet is another author."""
        fields = super().get_readonly_fields(request, obj)
        return (*fields, "wallet_address") if obj else fields

    def save_model(self, request: HttpRequest, obj: Author, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "prompt_text" in form.changed_data:
            obj.record_prompt(actor=actor_of(request.user))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PlainChangeList]:
        return AuthorChangeList

    def get_import_data_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        """Have one bad row undo the whole file, also if it went bad after the preview."""
        return {**super().get_import_data_kwargs(**kwargs), "rollback_on_validation_errors": True}

    def process_result(self, result: Any, request: HttpRequest) -> HttpResponse:
        if result.has_errors() or result.has_validation_errors():
            messages.error(
                request,
                "Nothing was imported: what is stored changed after the preview. Look again.",
            )
            return redirect("admin:authors_author_import")
        answer: HttpResponse = super().process_result(result, request)
        return answer

    def add_data_read_fail_error_to_form(self, form: Any, error: Exception) -> None:
        text = str(error) if isinstance(error, UnreadableFile) else "This is no CSV file in UTF-8."
        form.add_error("import_file", text)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: tokens belong to their author for ever."""
        return False

    @display(description="Author")
    def name(self, author: Author) -> str:
        if author.is_default:
            return "Default author"
        handle = author.twitter_handle or author.farcaster_handle
        return f"@{handle}" if handle else shortened(author.wallet_address)

    @display(description="Kind", label={"default author": "info"})
    def kind(self, author: Author) -> str:
        """Tell the author who owns the tokens of unregistered wallets from the others."""
        return "default author" if author.is_default else ""

    @display(description="Wallet")
    def wallet(self, author: Author) -> SafeString | str:
        address = author.wallet_address
        return hash_link(address, explorer_url("address", address))

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

    @display(description="Sample")
    def sample(self, author: Author) -> SafeString:
        url = reverse("admin:tokens_promptsample_try", args=[author.pk])
        return format_html('<a class="glisk-link" href="{}">Try this prompt …</a>', url)

    @display(description="Prompts, newest first")
    def prompt_history(self, author: Author) -> SafeString | str:
        changes = list(author.prompt_changes.all()[: HISTORY_LENGTH + 1])
        lines = format_html_join(
            "",
            "<li><span>{} ago by <strong>{}</strong></span><p>{}</p></li>",
            (
                (age(change.created_at), change.actor, change.prompt_text or NOTHING)
                for change in changes[:HISTORY_LENGTH]
            ),
        )
        if not lines:
            return NOTHING
        more = "<li>… and older ones</li>" if len(changes) > HISTORY_LENGTH else ""
        return format_html('<ol class="glisk-history">{}{}</ol>', lines, mark_safe(more))  # noqa: S308 - constants

    @display(description="Tokens")
    def tokens(self, author: Author) -> SafeString:
        url = reverse("admin:tokens_token_changelist")
        number = f"{_figures(author).tokens:,}"
        return format_html(
            '<a class="glisk-link" href="{}?q={}">{}</a>', url, author.wallet_address, number
        )

    @display(description="Earned at most")
    def earned(self, author: Author) -> SafeString:
        """Half of what was paid; what somebody paid too much went to the treasury."""
        return format_html(
            '<span class="glisk-nowrap" title="Half of what collectors paid. The share of an '
            'overpaid mint is smaller.">{}</span>',
            ether(_figures(author).earned_at_most_wei),
        )

    @display(description="Since", ordering="id")
    def since(self, author: Author) -> SafeString | str:
        return age(author.created_at)


def _figures(author: Author) -> AuthorFigures:
    """Return an author's figures: those of the page, or asked for once on the author's own page."""
    known, wallet = vars(author), author.wallet_address
    if "figures" not in known:
        known["figures"] = figures_of([wallet]).get(wallet, AuthorFigures())
    found: AuthorFigures = known["figures"]
    return found
