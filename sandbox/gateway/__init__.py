"""Emulate the IPFS gateway that serves what Pinata holds."""

from sandbox.gateway.emulator import GatewayEmulator

__all__ = ["GatewayEmulator"]
