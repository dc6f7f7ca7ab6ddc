"""Try a prompt: a form that states the cost, and the samples that were made."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe
from unfold.decorators import display

from authors.admin import PromptField
from authors.models import Author
from glisk.admin.audit import actor_of
from glisk.admin.formatting import (
    NOTHING,
    admin_link,
    age,
    clipped,
    duration,
    short,
    shortened,
    text_block,
)
from glisk.admin.tables import ExactSearch, MachineAdmin, column
from glisk.permissions import TRY_PROMPT
from tokens.admin.pictures import image_response, kept_image
from tokens.admin.records import usd
from tokens.models import PromptSample
from tokens.models.job import SampleStatus
from tokens.pipeline.image_vendors import cap_reason
from tokens.pipeline.samples import SampleRefused, request_sample, sample_cost_usd

SAMPLE_LABELS = {
    SampleStatus.CREATED: "default",
    SampleStatus.CALLING: "info",
    SampleStatus.SUBMITTED: "info",
    SampleStatus.DONE: "success",
    SampleStatus.FAILED: "danger",
}


class SampleForm(forms.Form):
    prompt = PromptField(label="Prompt", help_text="It is only tried: the author's stays.")


@admin.register(PromptSample)
class PromptSampleAdmin(ExactSearch, MachineAdmin):
    list_display = ("id", "state", "author_link", "prompt_start", "cost", "actor", "asked")
    list_filter = ("status",)
    list_select_related = ("author",)
    ordering = ("-id",)
    sortable_by = ()
    search_wallets = ("author__wallet_address",)
    search_help_text = "Author's wallet"
    when_empty = "Each image by which an author's prompt was tried stands here."
    change_form_before_template = "admin/tokens/promptsample/waiting.html"
    fields = (
        "picture", "state", "prompt_text", "author_link", "actor", "cost", "failure",
        "prediction", "created_at", "completed_at",
    )  # fmt: skip

    state = column("State", lambda sample: sample.status, label=SAMPLE_LABELS)
    author_link = column(
        "Author", lambda sample: admin_link(sample.author, shortened(str(sample.author)))
    )
    cost = column("Cost", lambda sample: usd(sample.cost_usd))
    prediction = column("Prediction", lambda sample: short(sample.external_id))
    prompt_start = column("Prompt", lambda sample: clipped(sample.prompt))
    prompt_text = column("Prompt", lambda sample: text_block(sample.prompt))
    failure = column("Error", lambda sample: text_block(sample.error))
    asked = column("Age", lambda sample: age(sample.created_at))

    def get_queryset(self, request: HttpRequest) -> QuerySet[PromptSample]:
        found: QuerySet[PromptSample] = super().get_queryset(request)
        return found.defer("data")

    def get_urls(self) -> list[URLPattern]:
        see = self.admin_site.admin_view
        return [
            path("try/<int:author_id>/", see(self.try_view), name="tokens_promptsample_try"),
            path(
                "<int:sample_id>/picture/",
                see(sample_picture, cacheable=True),
                name="tokens_promptsample_picture",
            ),
            *super().get_urls(),
        ]

    def try_view(self, request: HttpRequest, author_id: int) -> HttpResponse:
        """Show the prompt and what a sample costs; ask for one on POST."""
        if not request.user.has_perm(TRY_PROMPT):
            raise PermissionDenied
        author = get_object_or_404(Author, pk=author_id)
        form = SampleForm(request.POST or None, initial={"prompt": author.prompt_text})
        if request.method == "POST" and form.is_valid():
            try:
                prompt = form.cleaned_data["prompt"]
                sample = request_sample(author=author, prompt=prompt, actor=actor_of(request.user))
            except (SampleRefused, ValidationError) as error:
                messages.error(request, str(error))
            else:
                return redirect("admin:tokens_promptsample_change", sample.pk)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": "Try a prompt",
            "form": form,
            "media": self.media + form.media,
            "author": author,
            "cost_usd": sample_cost_usd(),
            "refusal": cap_reason(),
        }
        return TemplateResponse(request, "admin/tokens/promptsample/try.html", context)

    @display(description="Image")
    def picture(self, sample: PromptSample) -> SafeString | str:
        if sample.status != SampleStatus.DONE:
            return NOTHING
        if not PromptSample.objects.filter(pk=sample.pk, data__isnull=False).exists():
            kept_for = duration(settings.SAMPLE_RETENTION_DAYS * 86_400)
            return f"It was deleted {kept_for} after it was made."
        url = reverse("admin:tokens_promptsample_picture", args=[sample.pk])
        return format_html('<img class="glisk-sample" src="{}" alt="The sample">', url)


@require_safe
def sample_picture(request: HttpRequest, sample_id: int) -> HttpResponse:
    """Answer with the sample's bytes; 403 without the right to see samples."""
    rows = PromptSample.objects.filter(pk=sample_id)
    return image_response(*kept_image(rows, request.user, "tokens.view_promptsample"))
