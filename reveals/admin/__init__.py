"""The admin's pages of reveals, and what they add to the pages of tokens."""

from reveals.admin.batches import RevealBatchAdmin
from reveals.admin.tokens import REVEAL_TOKENS, reveals_of, waiting_for_gas
from reveals.admin.transactions import RevealTransactionAdmin
from tokens.admin.actions import register_token_action
from tokens.admin.filters import register_attention
from tokens.admin.summary import register_timeline_source

__all__ = ["RevealBatchAdmin", "RevealTransactionAdmin"]

register_token_action(REVEAL_TOKENS)
register_attention("gas", "Waiting for gas", waiting_for_gas)
register_timeline_source(reveals_of)
