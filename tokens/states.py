"""The life of a token: its states and the moves that are allowed between them.

docs/state-machine.md draws this map; a test holds the two together.
"""

from collections.abc import Mapping

from django.db import models


class TokenStatus(models.TextChoices):
    DETECTED = "detected"
    GENERATING = "generating"
    UPLOADING = "uploading"
    READY = "ready"
    REVEALED = "revealed"
    FAILED = "failed"


Map = Mapping[TokenStatus, frozenset[TokenStatus]]

TRANSITIONS: Map = {
    TokenStatus.DETECTED: frozenset({TokenStatus.GENERATING, TokenStatus.FAILED}),
    TokenStatus.GENERATING: frozenset({TokenStatus.UPLOADING, TokenStatus.FAILED}),
    TokenStatus.UPLOADING: frozenset({TokenStatus.READY, TokenStatus.FAILED}),
    TokenStatus.READY: frozenset({TokenStatus.REVEALED, TokenStatus.FAILED}),
    TokenStatus.REVEALED: frozenset(),
    TokenStatus.FAILED: frozenset(),
}
ACTIVE = frozenset(state for state, targets in TRANSITIONS.items() if targets)
TERMINAL = frozenset(TokenStatus) - ACTIVE

# Besides the map: a token that others revealed on chain is revealed, whatever it was here.
ADOPTIONS: Map = {
    state: frozenset({TokenStatus.REVEALED})
    for state in TokenStatus
    if state is not TokenStatus.REVEALED
}

# And the other way round: a reorg took our reveal back, and it is pending again.
RECALLS: Map = {TokenStatus.REVEALED: frozenset({TokenStatus.READY})}


class Repair(models.TextChoices):
    """What a person may do by hand (tokens.repairs); nothing of it touches a revealed token."""

    RETRY = "retry"
    REGENERATE = "regenerate"


# Besides the map, too. A retry leads back to the stage that the token failed in; only a new
# generation leads back to before an image that was paid for.
REPAIRS: dict[Repair, Map] = {
    Repair.RETRY: {TokenStatus.FAILED: ACTIVE},
    Repair.REGENERATE: {
        state: frozenset({TokenStatus.GENERATING})
        for state in (TokenStatus.UPLOADING, TokenStatus.READY, TokenStatus.FAILED)
    },
}


class InvalidStateTransition(Exception):
    """A move that the map does not allow, or that somebody else made first."""

    def __init__(self, current: str, target: str, *, token_id: int | None = None) -> None:
        self.current, self.target, self.token_id = current, target, token_id
        subject = "Token" if token_id is None else f"Token {token_id}"
        super().__init__(f"{subject} cannot go from {current} to {target}.")
