"""Emulate Pinata: pinning, its content store, its errors."""

from sandbox.pinata.emulator import SANDBOX_JWT, PinataEmulator
from sandbox.pinata.store import ContentStore

__all__ = ["SANDBOX_JWT", "ContentStore", "PinataEmulator"]
