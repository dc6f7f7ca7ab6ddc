"""What a mint needs of its author: one lean query on the webhook's way.

Building the same query by the ORM takes longer than PostgreSQL needs to answer it (0.4 ms an
event, an eighth of the intake's CPU).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection


@dataclass(frozen=True, slots=True)
class AuthorPrompt:
    """An author's key and current prompt."""

    pk: int
    prompt_text: str

    @property
    def has_prompt(self) -> bool:
        return bool(self.prompt_text.strip())


def prompts_by_wallet(wallets: Iterable[str]) -> dict[str, AuthorPrompt]:
    """Return the known authors' prompts by lower-case wallet, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT lower(wallet_address), id, prompt_text FROM authors "
            "WHERE lower(wallet_address) = ANY (%s)",
            [sorted({wallet.lower() for wallet in wallets})],
        )
        return {wallet: AuthorPrompt(pk, prompt) for wallet, pk, prompt in cursor.fetchall()}
