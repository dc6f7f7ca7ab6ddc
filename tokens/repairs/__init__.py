"""What a person may do to tokens by hand; the admin, the API and the commands call these.

Every service takes token ids, the actor and a reason, decides for each token by itself, and
returns one `RepairResult` for each: what was done, or why nothing was. Doing it twice, or twice
at the same time, does it once. What is done writes one row into the timeline and wakes the stage.
"""

from tokens.repairs.hold import fail_by_hand, hold_tokens, release_tokens
from tokens.repairs.recheck import recheck_tokens
from tokens.repairs.regenerate import regenerate_tokens
from tokens.repairs.results import RepairResult
from tokens.repairs.retry import failed_token_ids, retry_tokens, retry_what_is_due

__all__ = [
    "RepairResult",
    "fail_by_hand",
    "failed_token_ids",
    "hold_tokens",
    "recheck_tokens",
    "regenerate_tokens",
    "release_tokens",
    "retry_tokens",
    "retry_what_is_due",
]
