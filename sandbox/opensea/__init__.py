"""Emulate OpenSea's metadata refresh."""
