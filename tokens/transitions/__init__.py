"""The only writer of tokens and their timeline (`tokens_s0`, `token_transitions`).

| Module | What it writes |
|---|---|
| `creation` | new tokens; their mint and author; their end with a mint that is gone |
| `status` | the moves from one state to another |
| `claims` | who works on which token, and for how long |
| `delays` | when a token is taken up again: retries, refusals, holds |
| `reveal` | which transaction revealed it, and what a reorg changes about that |
| `timeline` | what happens to a token without a move |
"""

# The notification channels by which a commit wakes the drain that has work now.
PIPELINE_CHANNEL = "glisk_pipeline"  # new tokens, and news of predictions
UPLOAD_CHANNEL = "glisk_upload"  # tokens whose image waits for its upload
REVEAL_CHANNEL = "glisk_reveal"  # tokens that became ready
