"""Emulate Alchemy's Notify: follow the chain and send signed webhooks about mints."""
