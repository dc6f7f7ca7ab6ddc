"""The form of an author: the same rules as everywhere else that authors are taken in."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextareaWidget

from authors.models import PROMPT_MAX_LENGTH, Author
from authors.onboarding import check_prompt, clean_farcaster_name, clean_wallet, clean_x_handle


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
