"""Taking authors in, one or many: a wallet, a prompt and handles, checked and stored once."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from django.core.exceptions import ValidationError
from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from authors.models import PROMPT_MAX_LENGTH, Author, PromptChange
from glisk.config.addresses import is_miscased
from glisk.fields import ZERO_ADDRESS, normalise_address

Outcome = Literal["created", "updated", "unchanged"]
# New names have at most 15 characters; early accounts have longer ones, as X itself says.
_X_HANDLE = re.compile(r"[A-Za-z0-9_]{1,50}")
# A Farcaster name of its own (fname), or an ENS name such as name.eth or name.base.eth.
_FARCASTER_HANDLE = re.compile(r"[a-z0-9][a-z0-9-]{0,15}|([a-z0-9][a-z0-9-]*\.)+eth")
# Prompts of several lines are wanted; everything else of category Cc is no text.
_LAYOUT = frozenset("\n\r\t")
# Letters and symbols by their category that leave nothing to be seen: fillers and blanks.
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0\U0001d159")
# Sent within the transaction, with `authors`: those whose rows were written without post_save.
authors_written = Signal()
_COLUMNS = ("prompt_text", "twitter_handle", "farcaster_handle", "updated_at")


@dataclass(frozen=True)
class NewAuthor:
    """What is known of an author; None leaves what is stored as it is."""

    wallet: str
    prompt: str | None = None
    twitter_handle: str | None = None
    farcaster_handle: str | None = None

    def cleaned(self) -> "NewAuthor":
        """Return the author in stored form; raise `ValidationError` that names every fault."""
        cleaned: list[Any] = []
        faults: list[str] = []
        for clean, text in (
            (clean_wallet, self.wallet),
            (clean_prompt, self.prompt),
            (clean_x_handle, self.twitter_handle),
            (clean_farcaster_name, self.farcaster_handle),
        ):
            try:
                cleaned.append(None if text is None else clean(text))
            except ValidationError as error:
                faults += error.messages
        if faults:
            raise ValidationError(faults)
        return NewAuthor(*cleaned)


def onboard_author(
    new: NewAuthor, *, actor: str, needs_prompt: bool = True, dry_run: bool = False
) -> tuple[Author, Outcome]:
    """Create the author or bring what is stored up to date; say which.

    Tokens that were minted before keep the prompt that they were frozen with, but for those that
    wait for just this author (see tokens.minting.authorship). A changed prompt enters the history
    under the name of the actor.

    Raises:
        ValidationError: wallet, prompt or a handle is wrong, or a new author has no prompt
            although one is needed.
    """
    given = new.cleaned()
    values = {
        "prompt_text": given.prompt,
        "twitter_handle": given.twitter_handle,
        "farcaster_handle": given.farcaster_handle,
    }
    values = {name: value for name, value in values.items() if value is not None}
    with transaction.atomic():
        author = Author.objects.by_wallet(given.wallet).select_for_update().first()
        if author is None:
            if needs_prompt and not given.prompt:
                raise ValidationError("A new author needs a prompt.")
            if dry_run:
                return Author(wallet_address=given.wallet, **values), "created"
            author, is_new = Author.objects.get_or_create(
                wallet_address=given.wallet, defaults=values
            )
            if is_new:
                if given.prompt:
                    author.record_prompt(actor=actor)
                return author, "created"
        changed = [n for n, value in values.items() if not is_same(getattr(author, n), value)]
        for name in changed:
            setattr(author, name, values[name])
        if changed and not dry_run:
            author.save(update_fields=[*changed, "updated_at"])
            if "prompt_text" in changed:
                author.record_prompt(actor=actor)
    return author, "updated" if changed else "unchanged"


def clean_wallet(text: str) -> str:
    """Return the wallet with its checksum; raise `ValidationError` if it cannot be an author's."""
    address = normalise_address(text.strip())
    if is_miscased(text.strip()):
        raise ValidationError(
            "The wallet's letter case does not fit its EIP-55 checksum; look for a mistyped "
            "character."
        )
    if address == ZERO_ADDRESS:
        raise ValidationError("The zero address cannot be an author.")
    return address


def clean_prompt(text: str) -> str:
    """Return the prompt as it is stored; raise `ValidationError` if it can be none."""
    prompt = text.strip().replace("\r\n", "\n")
    check_prompt(prompt)
    return prompt


def is_same(stored: str | None, given: str | None) -> bool:
    """Tell whether a text, in stored form, is the stored one; older ones have other line ends."""
    return given in (stored, (stored or "").strip().replace("\r\n", "\n"))


def _clean_handle(pattern: re.Pattern[str], name: str, text: str) -> str:
    """Return a handle without its @; raise `ValidationError` if it is none."""
    handle = text.strip().removeprefix("@")
    if not pattern.fullmatch(handle):
        raise ValidationError(f"This is no {name}: {text}")
    return handle


clean_x_handle = partial(_clean_handle, _X_HANDLE, "X handle")
clean_farcaster_name = partial(_clean_handle, _FARCASTER_HANDLE, "Farcaster name")


def check_prompt(text: str) -> None:
    """Raise `ValidationError`, naming every fault, unless the text can be a prompt."""
    faults = []
    # A letter, number, sign or symbol leaves something to be seen; space, mark and control do not.
    if not any(unicodedata.category(c)[0] in "LNPS" and c not in _BLANKS for c in text):
        faults.append("The prompt is empty.")
    if len(text) > PROMPT_MAX_LENGTH:
        faults.append(f"The prompt has {len(text)} characters; {PROMPT_MAX_LENGTH} are allowed.")
    # Cs: half of a surrogate pair, which cannot be stored.
    for character in sorted(set(text) - _LAYOUT):
        if unicodedata.category(character) in ("Cc", "Cs"):
            faults.append(f"The prompt holds a control character (U+{ord(character):04X}).")
            break
    if faults:
        raise ValidationError(faults)


@transaction.atomic
def write_authors(*, new: Sequence[Author], changed: Sequence[Author], actor: str) -> None:
    """Insert many and bring many up to date, in a handful of statements: all of them or none.

    Their prompts enter the history.

    Raises:
        IntegrityError: somebody else took one of the new wallets in meanwhile.
    """
    prompts = dict(
        Author.objects.select_for_update()
        .filter(pk__in=[author.pk for author in changed])
        .values_list("pk", "prompt_text")
    )
    now = timezone.now()
    for author in changed:
        author.updated_at = now
    Author.objects.bulk_create(new)
    Author.objects.bulk_update(changed, _COLUMNS, batch_size=500)
    PromptChange.objects.bulk_create(
        PromptChange(author=author, prompt_text=author.prompt_text, actor=actor[:200])
        for author in (*new, *changed)
        if author.prompt_text != prompts.get(author.pk, "")
    )
    authors_written.send(sender=Author, authors=[*new, *changed])
