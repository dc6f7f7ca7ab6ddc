"""Text that PostgreSQL can hold, whatever a vendor sent."""


def storable_text(text: str) -> str:
    """Return a text without the NUL bytes and lone surrogates that PostgreSQL refuses.

    JSON can carry both. A row that cannot be saved would end the worker that tries it.
    """
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
