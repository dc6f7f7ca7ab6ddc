"""Factories of mints and tokens, for the tests of every app.

`TokenFactory(status=TokenStatus.READY)` makes a token in any state, with the columns that the
database demands of that state. Token ids count up, unless a test gives them.
"""





def hash32(number: int) -> str:
    """Return a 32-byte hash of its own for every number."""
    return f"0x{number:064x}"
