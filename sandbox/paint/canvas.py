"""Draw with smooth edges and soft light, cheaply.

Shapes are drawn at twice the size and reduced; gradients and glows are made tiny and enlarged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from sandbox.paint.colour import Rgb, gradient
from sandbox.paint.palette import Palette

SUPERSAMPLING = 2
GRADIENT_STEPS = 64

Point = tuple[float, float]
Curve = Callable[[float], float]


@dataclass(frozen=True)
class Canvas:
    """Hold what a style paints with: size in pixels, palette, chance, words of the prompt."""

    width: int
    height: int
    palette: Palette
    rng: random.Random
    words: frozenset[str]

    @property
    def unit(self) -> float:
        """Return the shorter side: sizes are given as parts of it."""
        return min(self.width, self.height)

    def has(self, *words: str) -> bool:
        """Say whether the prompt has one of the words."""
        return not self.words.isdisjoint(words)

    def vertical(self, stops: Sequence[Rgb]) -> Image.Image:
        """Fill the canvas with a gradient from top to bottom."""
        return vertical_gradient((self.width, self.height), stops)

    def shapes(self, picture: Image.Image, draw: Callable[[Pen], None]) -> Image.Image:
        """Draw on top of a picture at twice its size; return the result at its own."""
        size = (self.width * SUPERSAMPLING, self.height * SUPERSAMPLING)
        large = picture.resize(size, Image.Resampling.NEAREST)
        draw(Pen(ImageDraw.Draw(large), SUPERSAMPLING))
        return large.reduce(SUPERSAMPLING)

    def mask(self, draw: Callable[[Pen], None]) -> Image.Image:
        """Draw a mask with smooth edges; the pen's colours are 0 to 255."""
        size = (self.width * SUPERSAMPLING, self.height * SUPERSAMPLING)
        large = Image.new("L", size)
        draw(Pen(ImageDraw.Draw(large), SUPERSAMPLING))
        return large.reduce(SUPERSAMPLING)

    def glow(
        self, picture: Image.Image, centre: Point, radius: float, colour: Rgb, strength: float
    ) -> None:
        """Add light around a point; radius in pixels, strength 0 to 1."""
        x, y = centre
        box = [round(part) for part in (x - radius, y - radius, x + radius, y + radius)]
        side = max(1, box[2] - box[0])
        light = _GLOW.point([round(level * strength) for level in range(256)])
        enlarged = light.resize((side, side), Image.Resampling.BILINEAR)
        picture.paste(colour, (box[0], box[1]), enlarged)


@dataclass(frozen=True)
class Pen:
    """Draw on an enlarged canvas by the coordinates of the real one."""

    draw: ImageDraw.ImageDraw
    scale: int

    def polygon(self, points: Sequence[Point], fill: Rgb | int) -> None:
        """Fill a polygon."""
        self.draw.polygon([(x * self.scale, y * self.scale) for x, y in points], fill)

    def disc(self, centre: Point, radius: float, fill: Rgb | int) -> None:
        """Fill a circle."""
        self.draw.ellipse(self._box(centre, radius), fill)

    def ring(self, centre: Point, radius: float, width: float, fill: Rgb | int) -> None:
        """Draw a circle line."""
        thickness = max(1, round(width * self.scale))
        self.draw.ellipse(self._box(centre, radius), outline=fill, width=thickness)

    def slice(
        self, centre: Point, radius: float, start: float, end: float, fill: Rgb | int
    ) -> None:
        """Fill a slice of a circle; angles in degrees, clockwise from the right."""
        self.draw.pieslice(self._box(centre, radius), start, end, fill)

    def line(self, points: Sequence[Point], fill: Rgb | int, width: float) -> None:
        """Draw a line."""
        scaled = [(x * self.scale, y * self.scale) for x, y in points]
        self.draw.line(scaled, fill, max(1, round(width * self.scale)), joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, fill: Rgb | int) -> None:
        """Fill a rectangle."""
        # The right and the lower edge belong to the next pixel; a thin box keeps one.
        x, y = left * self.scale, top * self.scale
        end = (max(x, right * self.scale - 1), max(y, bottom * self.scale - 1))
        self.draw.rectangle((x, y, *end), fill)

    def _box(self, centre: Point, radius: float) -> tuple[float, float, float, float]:
        (x, y), s = centre, self.scale
        return (x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s


def vertical_gradient(size: tuple[int, int], stops: Sequence[Rgb]) -> Image.Image:
    """Make a picture that goes through colours from top to bottom."""
    column = Image.new("RGB", (1, GRADIENT_STEPS))
    column.putdata(gradient(stops, GRADIENT_STEPS))
    return column.resize((1, size[1]), Image.Resampling.BICUBIC).resize(size)


def height_field(
    size: tuple[int, int], level: Callable[[float, float], float], cells: int = 24
) -> Image.Image:
    """Compute a smooth field in floats; `level` takes coordinates 0 to 1."""
    field = Image.new("F", (cells, cells))
    steps = [index / (cells - 1) for index in range(cells)]
    field.putdata([level(x, y) for y in steps for x in steps])
    return field.resize(size, Image.Resampling.BICUBIC)


def threshold(field: Image.Image, level: float, softness: float) -> Image.Image:
    """Make a mask of what lies above a level; softness is the width of the edge in levels."""
    slope = 255 / max(softness, 1e-6)
    return field.point(lambda value: value * slope + (127.5 - level * slope)).convert("L")


def noise(
    rng: random.Random, size: tuple[int, int], cells: int, octaves: int, gain: float = 0.5
) -> Image.Image:
    """Make cloudy grey noise; each octave is twice as fine and `gain` times as strong."""
    picture: Image.Image | None = None
    weight = total = 1.0
    for octave in range(octaves):
        across = cells * 2**octave
        grain = Image.frombytes("L", (across, across), rng.randbytes(across * across))
        layer = grain.resize(size, Image.Resampling.BICUBIC)
        if picture is None:
            picture = layer
        else:
            weight *= gain
            total += weight
            picture = Image.blend(picture, layer, weight / total)
    assert picture is not None
    return picture


def colourize(grey: Image.Image, stops: Sequence[Rgb]) -> Image.Image:
    """Give each level of grey a colour of a gradient."""
    table = gradient(stops, 256)
    bands = [grey.point([colour[band] for colour in table]) for band in range(3)]
    return Image.merge("RGB", bands)


def wave(rng: random.Random, octaves: int = 4, roughness: float = 0.5) -> Curve:
    """Make a smooth random curve over 0 to 1 with values of about -1 to 1."""
    parts = [
        (roughness**index, rng.uniform(0.7, 1.4) * 1.9**index, rng.uniform(0, math.tau))
        for index in range(octaves)
    ]
    total = sum(part[0] for part in parts)
    return lambda x: (
        sum(size * math.sin(math.tau * pace * x + phase) for size, pace, phase in parts) / total
    )


def soften(picture: Image.Image, radius: float) -> Image.Image:
    """Blur at a quarter of the size, which looks the same and costs far less."""
    small = picture.reduce(4) if min(picture.size) >= 64 else picture
    blurred = small.filter(ImageFilter.GaussianBlur(radius * small.width / picture.width))
    return blurred.resize(picture.size, Image.Resampling.BILINEAR)


def drop_shadow(
    picture: Image.Image,
    shape: Image.Image,
    shift: float,
    blur: float,
    colour: Rgb,
    strength: float,
) -> None:
    """Darken a picture below a shape that is about to be laid on it; lengths in pixels."""
    factor = 4 if min(shape.size) >= 64 else 1
    small = shape.reduce(factor)
    fallen = Image.new("L", small.size)
    fallen.paste(small, (round(shift / factor), round(2 * shift / factor)))
    dark = fallen.filter(ImageFilter.GaussianBlur(blur / factor))
    dark = dark.point([round(level * strength) for level in range(256)])
    picture.paste(colour, (0, 0), dark.resize(picture.size, Image.Resampling.BILINEAR))


def vignette(picture: Image.Image, strength: float, colour: Rgb = (0, 0, 0)) -> None:
    """Darken the corners; strength 0 to 1."""
    table = [round(max(0, level - 110) / 145 * 255 * strength) for level in range(256)]
    shade = _DISTANCE.point(table).resize(picture.size, Image.Resampling.BILINEAR)
    picture.paste(colour, (0, 0), shade)


_DISTANCE = Image.radial_gradient("L")
_GLOW = _DISTANCE.point([round(255 * max(0.0, 1 - level / 181) ** 2) for level in range(256)])
