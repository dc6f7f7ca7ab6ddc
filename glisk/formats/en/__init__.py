"""The only language of the admin."""
