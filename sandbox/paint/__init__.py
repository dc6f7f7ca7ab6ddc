"""Paint pictures from prompts, so that a local world has something to look at."""

from sandbox.paint.painter import Painter, black_file, paint_picture

__all__ = ["Painter", "black_file", "paint_picture"]
