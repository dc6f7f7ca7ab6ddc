"""Emulate a model that is served by Cog: synchronous predictions, images as data URIs."""

from sandbox.cog.emulator import CogEmulator, CogFaults

__all__ = ["CogEmulator", "CogFaults"]
