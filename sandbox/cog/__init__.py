"""Emulate a model that is served by Cog: synchronous predictions, images as data URIs."""
