"""What the public reads of a token that failed: never an operator's or a vendor's text."""

from typing import Final

from psycopg import sql

_BY_CLASS: Final = {
    "content_policy": "The image model refused the prompt.",
    "validation": "The author's prompt cannot be used.",
    "transient": "The image could not be generated; the operators have been told.",
    "artefact": "The image that was generated is not usable; the operators have been told.",
    "no_image": "The image model brought no image; the operators have been told.",
    "cid_mismatch": "The image could not be stored; the operators have been told.",
}
_OTHER: Final = "Something went wrong; the operators have been told."


def public_error(status: str, error_class: str) -> str | None:
    """Return a sentence for people about a failed token; None for any other."""
    return _BY_CLASS.get(error_class, _OTHER) if status == "failed" else None


def public_error_sql(alias: str) -> str:
    """Return `public_error` as an expression of SQL, for the token row `alias`."""
    texts = " ".join(
        f"WHEN {sql.quote(error_class)} THEN {sql.quote(text)}"
        for error_class, text in _BY_CLASS.items()
    )
    by_class = f"CASE {alias}.error_class {texts} ELSE {sql.quote(_OTHER)} END"
    return f"CASE {alias}.status WHEN 'failed' THEN {by_class} END"
