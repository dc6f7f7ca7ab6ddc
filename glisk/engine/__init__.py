"""The engine: a crash-only supervisor around django-q2, and resident drains that do the work.

docs/adr/0002-engine.md tells why it is built like this. The engine knows no app: apps declare
their drains, and say how their leases are given back (schedules.py).
"""
