"""The admin's pages of reveals, and what they add to the pages of tokens."""

from reveals.admin.batches import RevealBatchAdmin
from reveals.admin.tokens import REVEAL_TOKENS, reveals_of, waiting_for_gas
from reveals.admin.transactions import RevealTransactionAdmin
from tokens.admin.actions import TOKEN_ACTIONS
from tokens.admin.filters import QUESTIONS
from tokens.admin.timeline import TIMELINE_SOURCES

__all__ = ["RevealBatchAdmin", "RevealTransactionAdmin"]

TOKEN_ACTIONS.insert(0, REVEAL_TOKENS)
QUESTIONS["gas"] = ("Waiting for gas", waiting_for_gas)
TIMELINE_SOURCES.append(reveals_of)
