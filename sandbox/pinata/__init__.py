"""Emulate Pinata: pinning, its content store, its errors."""
