"""Factories of authors, for the tests of every app."""

import factory

from authors.models import Author
from glisk.fields import normalise_address


def wallet(number: int) -> str:
    """Return an address of its own for every number, with its EIP-55 checksum."""
    return normalise_address(f"0x{number:040x}")


class AuthorFactory(factory.django.DjangoModelFactory[Author]):
    """An author with a prompt and no linked handles."""

    class Meta:
        model = Author

    wallet_address = factory.Sequence(lambda n: wallet(0xA0000000 + n))
    prompt_text = factory.Sequence(lambda n: f"A watercolour of lighthouse number {n}")
