"""The admin's pages of authors."""

from authors.admin.author import AuthorAdmin

__all__ = ["AuthorAdmin"]
