"""Emulate Replicate: predictions, images, webhooks, a bill."""
