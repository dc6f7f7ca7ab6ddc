"""Draw with smooth edges and soft light, cheaply, on a square from (0, 0) to (1, 1).

Shapes are drawn larger and reduced at the end; clouds and shadows are made small and enlarged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFilter

from sandbox.paint.colour import Palette, Rgb, gradient, mix

SUPERSAMPLING = 1.5
CLOUD_SIDE = 512  # pixels
SOFT_SIDE = 256

Point = tuple[float, float]
Curve = Callable[[float], float]
_DISTANCE = Image.radial_gradient("L")
_GLOW = _DISTANCE.point([round(255 * max(0.0, 1 - level / 181) ** 2) for level in range(256)])


class Pen:
    """Draw shapes; colours are RGB, or 0 to 255 on a mask."""

    def __init__(self, side: int, mode: str = "RGB") -> None:
        """Begin with a black picture; `side` is in pixels."""
        self.side = side
        self.image = Image.new(mode, (side, side))
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], fill: Rgb | int) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * self.side, y * self.side) for x, y in points], fill)

    def disc(self, centre: Point, radius: float, fill: Rgb | int) -> None:
        """Fill a circle."""
        self._draw.ellipse(self._around(centre, radius), fill)

    def ring(self, centre: Point, radius: float, width: float, fill: Rgb | int) -> None:
        """Draw a circle line."""
        around = self._around(centre, radius)
        self._draw.ellipse(around, outline=fill, width=max(1, round(width * self.side)))

    def slice(
        self, centre: Point, radius: float, start: float, end: float, fill: Rgb | int
    ) -> None:
        """Fill a slice of a circle; angles in degrees, clockwise from the right."""
        self._draw.pieslice(self._around(centre, radius), start, end, fill)

    def line(self, points: Sequence[Point], width: float, fill: Rgb | int) -> None:
        """Draw a line."""
        scaled = [(x * self.side, y * self.side) for x, y in points]
        self._draw.line(scaled, fill, max(1, round(width * self.side)), joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, fill: Rgb | int) -> None:
        """Fill a rectangle."""
        # The right and the lower edge belong to the next pixel; a thin box keeps one.
        x, y = left * self.side, top * self.side
        end = (max(x, right * self.side - 1), max(y, bottom * self.side - 1))
        self._draw.rectangle((x, y, *end), fill)

    def _around(self, centre: Point, radius: float) -> tuple[float, float, float, float]:
        (x, y), s = centre, self.side
        return (x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s


class Canvas(Pen):
    """Hold what a style paints with: a pen, the palette, chance, words of the prompt."""

    def __init__(
        self, side: int, palette: Palette, rng: random.Random, words: frozenset[str]
    ) -> None:
        super().__init__(round(side * SUPERSAMPLING))
        self._final_side = side
        self.palette, self.rng, self.words = palette, rng, words

    def finished(self, *, vignette: float = 0.25) -> Image.Image:
        """Return the picture at its size, with corners that much darker."""
        picture = self.image.resize((self._final_side, self._final_side), Image.Resampling.HAMMING)
        table = [round(max(0, level - 110) / 145 * 255 * vignette) for level in range(256)]
        shade = _DISTANCE.point(table).resize(picture.size, Image.Resampling.BILINEAR)
        picture.paste(self.palette.deep, (0, 0), shade)
        return picture

    def mask(self) -> Pen:
        """Begin a mask."""
        return Pen(self.side, "L")

    def paint(self, fill: Rgb | Image.Image, mask: Image.Image) -> None:
        """Fill what a mask leaves open with a colour or a picture, both of any size."""
        if isinstance(fill, Image.Image):
            fill = self._enlarged(fill)
        self.image.paste(fill, (0, 0), self._enlarged(mask))

    def _enlarged(self, image: Image.Image) -> Image.Image:
        return image.resize(self.image.size, Image.Resampling.BILINEAR)

    def gradient(self, stops: Sequence[Rgb], top: float = 0.0, below: Sequence[Point] = ()) -> None:
        """Fill all from `top` on, or what lies below a line, with colours from top to bottom."""
        column = Image.new("RGB", (1, 64))
        column.putdata(gradient(stops, 64))
        first = max(0, round(top * self.side))
        fill = column.resize((1, self.side - first), Image.Resampling.BICUBIC)
        fill = fill.resize((self.side, self.side - first))
        if not below:
            self.image.paste(fill, (0, first))
            return
        mask = self.mask()
        mask.polygon(under(below), 255)
        self.image.paste(fill, (0, first), mask.image.crop((0, first, self.side, self.side)))

    def glow(self, centre: Point, radius: float, colour: Rgb, strength: float) -> None:
        """Add light around a point; strength 0 to 1."""
        left, top, right, _ = (round(part) for part in self._around(centre, radius))
        light = _GLOW.point([round(level * strength) for level in range(256)])
        self.image.paste(colour, (left, top), light.resize((right - left, right - left)))

    def sun(self, horizon: float) -> None:
        """Set a sun or moon above the horizon."""
        radius = self.rng.uniform(0.07, 0.15)
        centre = (self.rng.uniform(0.25, 0.75), horizon - radius * self.rng.uniform(0.3, 2.2))
        sun, pale = self.palette.sun, self.palette.pale
        self.glow(centre, radius * 5.5, mix(pale, sun, 0.4), 0.75)
        self.disc(centre, radius, mix(sun, pale, 0.2))

    def shadow(self, shape: Image.Image, colour: Rgb, blur: float, strength: float) -> None:
        """Darken what is below a shape that is about to be laid on it."""
        small = shape.resize((SOFT_SIDE, SOFT_SIDE))
        fallen = Image.new("L", small.size)
        fallen.paste(small, (2, 4))
        dark = fallen.filter(ImageFilter.GaussianBlur(blur * SOFT_SIDE))
        self.paint(colour, dark.point([round(level * strength) for level in range(256)]))


def soft(mask: Image.Image, radius: float) -> Image.Image:
    """Blur a mask at a small size, which looks the same and costs far less."""
    small = mask.resize((SOFT_SIDE, SOFT_SIDE), Image.Resampling.BOX)
    return small.filter(ImageFilter.GaussianBlur(radius * SOFT_SIDE))


def curve(height: Curve, level: float = 0.0, scale: float = 1.0) -> list[Point]:
    """Draw a function from left to right, around a level."""
    steps = 160
    return [(step / steps, level + scale * height(step / steps)) for step in range(steps + 1)]


def under(line: Sequence[Point]) -> list[Point]:
    """Outline what lies below a line."""
    return [*line, (1.0, 1.0), (0.0, 1.0)]


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


def noise(rng: random.Random, cells: int, octaves: int, gain: float = 0.5) -> Image.Image:
    """Make cloudy grey noise; each octave is twice as fine and `gain` times as strong."""
    picture = Image.new("L", (CLOUD_SIDE, CLOUD_SIDE))
    total = 0.0
    for octave in range(octaves):
        across, weight = cells * 2**octave, gain**octave
        total += weight
        grain = Image.frombytes("L", (across, across), rng.randbytes(across * across))
        layer = grain.resize(picture.size, Image.Resampling.BICUBIC)
        picture = Image.blend(picture, layer, weight / total)
    return picture


def levels(grey: Image.Image, low: int, slope: float, high: int = 255) -> Image.Image:
    """Stretch the contrast of a grey picture."""
    return grey.point([min(high, max(0, round((level - low) * slope))) for level in range(256)])


def colourize(grey: Image.Image, stops: Sequence[Rgb]) -> Image.Image:
    """Give each level of grey a colour of a gradient."""
    table = gradient(stops, 256)
    bands = [grey.point([colour[band] for colour in table]) for band in range(3)]
    return Image.merge("RGB", bands)
