"""The only writer of tokens and their timeline (`tokens_s0`, `token_transitions`).

`status` moves tokens from one state to another, `claims` says who works on which token.
"""

# The notification channels by which a commit wakes the drain that has work now.
PIPELINE_CHANNEL = "glisk_pipeline"  # new tokens, and news of predictions
REVEAL_CHANNEL = "glisk_reveal"  # tokens that became ready
