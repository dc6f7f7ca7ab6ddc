"""Many tokens, vendors that misbehave, workers that are killed: is every cent accounted for?"""
