"""Paint pictures from prompts, so that a local world has something to look at."""

from sandbox.paint.painter import Painter, paint_picture

__all__ = ["Painter", "paint_picture"]
