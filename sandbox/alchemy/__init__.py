"""Emulate Alchemy's Notify: follow the chain and send signed webhooks about mints."""

from sandbox.alchemy.emulator import SANDBOX_SIGNING_KEY, SANDBOX_WEBHOOK_ID, AlchemyEmulator
from sandbox.alchemy.envelope import sign

__all__ = ["SANDBOX_SIGNING_KEY", "SANDBOX_WEBHOOK_ID", "AlchemyEmulator", "sign"]
