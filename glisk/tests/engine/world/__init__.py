"""A small app whose drains move rows of their own: what the engine's tests run in qcluster."""
