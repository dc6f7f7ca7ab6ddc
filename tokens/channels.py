"""The notification channels by which a commit wakes the drain that has work now."""

PIPELINE_CHANNEL = "glisk_pipeline"  # new tokens, and news of predictions
REVEAL_CHANNEL = "glisk_reveal"  # tokens that became ready
