"""Emulate the IPFS gateway that serves what Pinata holds."""
