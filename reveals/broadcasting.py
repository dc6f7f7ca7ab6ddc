"""Hand stored bytes to the node, and read what it says of them.

Every node says it in its own words ("underpriced", "FeeTooLowToCompete", "insufficient gas price
to replace existing transaction"), so the words are brought to one form, and the kind of a refusal
is known by what it speaks of: the nonce, the funds, the fee, or a transaction that is there.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from glisk.clients.chain import ChainClient
from glisk.errors import AccountError, ProviderError, TransientError

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")
# Whole words: a load balancer that asks to slow down says nothing of balances.
_TOO_LITTLE: Final = r"\b(?:low|lower|below|under|less|minimum|insufficient|small)\b"
_FUNDS: Final = r"\b(?:funds?|balances?)\b"
_NOT_ENOUGH: Final = r"\b(?:insufficient|exceed(?:s|ed|ing)?|enough|cover(?:s|ed)?|afford)\b"


class Verdict(Enum):
    ACCEPTED = "accepted"  # now, or before: the node has it
    NONCE_SPENT = "nonce_spent"  # a transaction of this nonce is mined: look for receipts
    UNDERPRICED = "underpriced"  # it needs higher fees
    NO_FUNDS = "no_funds"  # the keeper's balance does not cover it: it waits for a top-up


# In this order: "insufficient funds for gas * price" speaks of a price too, and a refusal of a
# replacement may name the nonce, or say that a transaction is there already.
_RULES: Final = tuple(
    (re.compile(pattern), verdict)
    for pattern, verdict in (
        # "nonce too low: next nonce 4, tx nonce 3", "OldNonce", "nonce has already been used"
        (
            r"\bnonces? (?:\w+ ){0,3}(?:low|lower|old|used|spent|stale)\b|\b(?:old|stale) nonce\b",
            Verdict.NONCE_SPENT,
        ),
        # "insufficient funds for …", "Upfront cost exceeds account balance", "not enough funds"
        (
            rf"{_NOT_ENOUGH}.*{_FUNDS}|\blow {_FUNDS}"
            rf"|{_FUNDS}.*(?:{_NOT_ENOUGH}|\b(?:sufficient|low|lower|below)\b)",
            Verdict.NO_FUNDS,
        ),
        # "replacement transaction underpriced", "max fee per gas less than block base fee",
        # "FeeTooLow…", "transaction priority fee below minimum required priority fee 5",
        # "could not replace existing tx"
        (
            rf"under ?priced|\b(?:fee|price|tip)s?\b.*{_TOO_LITTLE}"
            rf"|{_TOO_LITTLE}.*\b(?:fee|price|tip)s?\b|\breplac",
            Verdict.UNDERPRICED,
        ),
        # "already known", "AlreadyKnown", "transaction already imported", "known transaction: 0xab"
        (
            r"\balready (?:known|import|exist|in |pooled|received|submitted)"
            r"|\bknown transaction|\bsame hash",
            Verdict.ACCEPTED,
        ),
    )
)


def broadcast(chain: ChainClient, raw: bytes) -> Verdict:
    """Send signed bytes. Sending them again and again is harmless.

    Raises `TransientError` if the node did not answer (it may have the transaction all the
    same), `AccountError` for our account with the provider, and another `ProviderError` for a
    refusal that no rule here knows.
    """
    try:
        chain.send_raw_transaction(raw)
    except (TransientError, AccountError):
        raise
    except ProviderError as error:
        verdict = classify(error.said or str(error))
        if verdict is None:
            raise
        return verdict
    return Verdict.ACCEPTED


def classify(message: str) -> Verdict | None:
    """Return what a node's refusal means, or None if it is not known."""
    words = _SEPARATORS.sub(" ", _CAMEL.sub(" ", message).lower())
    return next((verdict for pattern, verdict in _RULES if pattern.search(words)), None)
