"""The admin's pages of tokens and of what the machine writes about them."""

from tokens.admin import records, samples, token

__all__ = ["records", "samples", "token"]
