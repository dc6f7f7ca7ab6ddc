"""The steps from ready to revealed, one module each, in the order of a token's way."""
