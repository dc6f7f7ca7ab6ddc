"""The only writer of tokens and their timeline (`tokens_s0`, `token_transitions`).

| Module | What it writes |
|---|---|
| `chain` | what follows the chain: new tokens, their mint and author, who revealed them |
| `status` | the moves from one state to another; what happens to a token without a move |
| `claims` | who works on which token, for how long; when it is taken up again, and holds |
"""

# The notification channels by which a commit wakes the drain that has work now.
PIPELINE_CHANNEL = "glisk_pipeline"  # new tokens, and news of predictions
UPLOAD_CHANNEL = "glisk_upload"  # tokens whose image waits for its upload
REVEAL_CHANNEL = "glisk_reveal"  # tokens that became ready
