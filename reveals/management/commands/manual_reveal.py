"""Another name of `reveal_tokens`: `manage.py manual_reveal --token-ids 42 43 44`."""

from reveals.management.commands.reveal_tokens import Command

__all__ = ["Command"]
