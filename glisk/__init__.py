"""The ground that the apps stand on."""

# pyproject.toml and the Dockerfile repeat it; a test holds them equal.
__version__ = "1.0.0"
