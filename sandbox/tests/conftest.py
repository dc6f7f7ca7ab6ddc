from sandbox.tests.nodes import anvil_binary

__all__ = ["anvil_binary"]
