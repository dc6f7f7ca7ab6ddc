"""The engine: a crash-only supervisor around django-q2, and resident drains that do the work.

docs/adr/0002-engine.md tells why. The engine knows no app: apps declare what runs (schedules.py).
"""
