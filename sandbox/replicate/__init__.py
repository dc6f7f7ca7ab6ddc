"""Emulate Replicate: predictions, images, webhooks, a bill."""

from sandbox.replicate.emulator import SANDBOX_TOKEN, SANDBOX_WEBHOOK_SECRET, ReplicateEmulator

__all__ = ["SANDBOX_TOKEN", "SANDBOX_WEBHOOK_SECRET", "ReplicateEmulator"]
