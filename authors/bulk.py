"""Many authors at once: all of them or none, in a handful of statements."""

from collections.abc import Sequence

from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from authors.models import Author, PromptChange

# Sent within the transaction, with `authors`: those whose rows were written without post_save.
authors_written = Signal()

_COLUMNS = ("prompt_text", "twitter_handle", "farcaster_handle", "updated_at")


@transaction.atomic
def write_authors(*, new: Sequence[Author], changed: Sequence[Author], actor: str) -> None:
    """Insert the new ones and bring the changed ones up to date; their prompts enter the history.

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
