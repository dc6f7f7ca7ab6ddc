from sandbox.testing import anvil_binary

__all__ = ["anvil_binary"]
