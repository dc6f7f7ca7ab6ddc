"""Practise for the bad day: mint into a running local world, and let its vendors fail."""
