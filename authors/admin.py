"""The author list and the author page."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from import_export.admin import ImportExportMixin
from unfold.contrib.import_export.forms import ExportForm, ImportForm
from unfold.widgets import UnfoldAdminTextareaWidget

from authors.figures import AuthorFigures, figures_of
from authors.models import PROMPT_MAX_LENGTH, Author
from authors.onboarding import (
    clean_farcaster_name,
    clean_prompt,
    clean_wallet,
    clean_x_handle,
)
from authors.transfer import AuthorResource, AuthorsCSV, UnreadableFile
from glisk.admin.audit import actor_of
from glisk.admin.formatting import (
    NOTHING,
    age,
    clipped,
    ether,
    shortened,
    wallet_link,
)
from glisk.admin.tables import ExactSearch, PlainChangeList, column

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
        text: str = super().to_python(value) or ""
        return clean_prompt(text) if text.strip() else ""


_CLEAN: dict[str, Callable[[str], str]] = {
    "wallet_address": clean_wallet,
    "twitter_handle": clean_x_handle,
    "farcaster_handle": clean_farcaster_name,
}


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
        labels = {"twitter_handle": "X handle", "farcaster_handle": "Farcaster name"}

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        for name, clean in _CLEAN.items():
            if found.get(name):
                try:
                    found[name] = clean(found[name])
                except ValidationError as error:
                    self.add_error(name, error)
        if self.instance.pk is None and not found.get("prompt_text") and not self.errors:
            raise ValidationError({"prompt_text": "A new author needs a prompt."})
        return found


class AuthorChangeList(PlainChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        _add_figures(*self.result_list)


def _add_figures(*authors: Any) -> None:
    """Give each author their `figures`, by one query for all."""
    found = figures_of(author.wallet_address for author in authors)
    for author in authors:
        author.figures = found.get(author.wallet_address, AuthorFigures())


def _name(author: Author) -> str:
    if author.is_default:
        return "Default author"
    return author.handle or shortened(author.wallet_address)


def _tokens_link(author: Any) -> SafeString:
    url = f"{reverse('admin:tokens_token_changelist')}?q={author.wallet_address}"
    number = f"{author.figures.tokens:,}"
    return format_html('<a class="glisk-link" href="{}">{}</a>', url, number)


def _earned(author: Any) -> SafeString:
    """Half of what was paid; what somebody paid too much went to the treasury."""
    return format_html(
        '<span class="glisk-nowrap" title="Half of what collectors paid. The share of an '
        'overpaid mint is smaller.">{}</span>',
        ether(author.figures.earned_at_most_wei),
    )


def _sample_link(author: Author) -> SafeString:
    url = reverse("admin:tokens_promptsample_try", args=[author.pk])
    return format_html('<a class="glisk-link" href="{}">Try this prompt …</a>', url)


def _history(author: Author) -> SafeString | str:
    lines = format_html_join(
        "",
        "<li><span>{} ago by <strong>{}</strong></span><p>{}</p></li>",
        (
            (age(change.created_at), change.actor, change.prompt_text or NOTHING)
            for change in author.prompt_changes.all()[:HISTORY_LENGTH]
        ),
    )
    return format_html('<ol class="glisk-history">{}</ol>', lines) if lines else NOTHING


@admin.register(Author)
class AuthorAdmin(ImportExportMixin, ExactSearch):
    form = AuthorForm
    resource_classes = (AuthorResource,)
    formats = (AuthorsCSV,)
    import_form_class = ImportForm
    export_form_class = ExportForm
    list_display = ("name", "wallet", "prompt", "tokens", "earned", "since")
    list_display_links = ("name",)
    ordering = ("-id",)
    sortable_by = ("since",)
    search_wallets = ("wallet_address",)
    search_texts = ("twitter_handle", "farcaster_handle")
    search_help_text = "Wallet or handle"
    when_empty = "Each author stands here once they sign a prompt, or are added or imported."
    actions = None
    fieldsets = (
        (None, {"fields": ("name", "wallet", "prompt_text", "prompt_is_public", "sample")}),
        ("Handles", {"fields": ("twitter_handle", "farcaster_handle")}),
        ("Prompt history", {"fields": ("prompt_history",)}),
        ("On chain", {"fields": ("tokens", "earned", "created_at", "updated_at")}),
    )
    readonly_fields = (
        "sample", "name", "wallet", "tokens", "earned", "created_at", "updated_at",
        "prompt_history",
    )  # fmt: skip
    name = column("Author", _name)
    wallet = column("Wallet", lambda author: wallet_link(author.wallet_address))
    prompt = column("Prompt", lambda author: clipped(author.prompt_text))
    sample = column("Sample", _sample_link)
    tokens = column("Tokens", _tokens_link)
    earned = column("Earned at most", _earned)
    prompt_history = column("Prompts, newest first", _history)
    since = column("Since", lambda author: age(author.created_at), ordering="id")

    def get_fieldsets(self, request: HttpRequest, obj: Author | None = None) -> Any:
        if obj:  # an author is their wallet: another wallet is another author
            return super().get_fieldsets(request, obj)
        return ((None, {"fields": ("wallet_address", "prompt_text")}), self.fieldsets[1])

    def get_object(self, *args: Any, **kwargs: Any) -> Author | None:
        author: Author | None = super().get_object(*args, **kwargs)
        if author is not None:
            _add_figures(author)
        return author

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
                "Nothing was imported: what is stored changed after the preview. Upload it again.",
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
