"""What authors' wallets have brought about, by the mint events."""

from collections.abc import Iterable

from django.db.models import Sum

from authors.figures import AuthorFigures
from tokens.models import MintEvent


def author_figures(wallets: Iterable[str]) -> dict[str, AuthorFigures]:
    """Return tokens and earnings of these wallets (EIP-55) by one read of an index.

    Attribution goes by the wallet on chain, registered or not.
    """
    found = (
        MintEvent.objects.filter(prompt_author__in=list(wallets))
        .order_by()
        .values_list("prompt_author")
        .annotate(minted=Sum("quantity"), paid=Sum("total_paid_wei"))
    )
    return {wallet: AuthorFigures(minted, int(paid) // 2) for wallet, minted, paid in found}
