"""Hand stored bytes to the node, and read what it says of them.

The texts differ between geth, reth, anvil and Alchemy; they are compared as substrings in lower
case, each with the node that emits it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from glisk.clients.chain import ChainClient
from glisk.errors import ProviderError, TransientError

_KNOWN: Final = (
    "already known",  # geth, reth, Alchemy
    "known transaction",  # older geth
    "already imported",  # anvil
)
_NONCE_SPENT: Final = (
    "nonce too low",  # geth, reth ("nonce too low: next nonce 4, tx nonce 3"), anvil
    "nonce is too low",
)
_UNDERPRICED: Final = (
    "underpriced",  # geth, reth: "replacement transaction underpriced"
    "less than block base fee",  # geth, reth
    "max fee per gas less than",
    "gas price too low",
    "could not replace existing tx",  # erigon, which some providers run
)
_NO_FUNDS: Final = ("insufficient funds",)  # all of them


class Verdict(Enum):
    ACCEPTED = "accepted"  # now, or before: the node has it
    NONCE_SPENT = "nonce_spent"  # a transaction of this nonce is mined: look for receipts
    UNDERPRICED = "underpriced"  # it needs higher fees
    NO_FUNDS = "no_funds"  # the keeper's balance does not cover it: it waits for a top-up


def broadcast(chain: ChainClient, raw: bytes) -> Verdict:
    """Send signed bytes. Sending them again and again is harmless.

    Raises `TransientError` if the node did not answer (it may have the transaction all the
    same), `ProviderError` for a refusal that no rule here knows.
    """
    try:
        chain.send_raw_transaction(raw)
    except TransientError:
        raise
    except ProviderError as error:
        verdict = classify(str(error))
        if verdict is None:
            raise
        return verdict
    return Verdict.ACCEPTED


def classify(message: str) -> Verdict | None:
    """Return what a node's refusal means, or None if it is not known."""
    lowered = message.lower()
    for texts, verdict in (
        (_KNOWN, Verdict.ACCEPTED),
        (_NONCE_SPENT, Verdict.NONCE_SPENT),
        (_UNDERPRICED, Verdict.UNDERPRICED),
        (_NO_FUNDS, Verdict.NO_FUNDS),
    ):
        if any(text in lowered for text in texts):
            return verdict
    return None
