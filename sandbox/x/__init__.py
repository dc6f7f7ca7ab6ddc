"""Emulate X's sign-in (OAuth 2.0 with PKCE)."""
