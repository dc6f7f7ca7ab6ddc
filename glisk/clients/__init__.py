"""Clients of the outside services: one module per vendor, no Django model, no retry policy.

They are built from the settings, called by services only and never inside `atomic()`, return
frozen dataclasses, and raise nothing but the tree of `glisk.errors`.
"""
