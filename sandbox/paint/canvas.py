"""Mix colours as the eye does; draw with smooth edges and soft light, cheaply, on a square.

The square goes from (0, 0) to (1, 1). Shapes are drawn larger and reduced at the end; clouds and
shadows are made small and enlarged. The colours of a picture are chosen by its prompt's words.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

Rgb = tuple[int, int, int]

# From linear RGB to the eye's cones and back (https://bottosson.github.io/posts/oklab/). The cube
# roots of their answers are mixed: there, equal steps look equal.
_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_FROM_CONES = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)
_LINEAR = [
    level / 255 / 12.92 if level / 255 <= 0.04045 else ((level / 255 + 0.055) / 1.055) ** 2.4
    for level in range(256)
]


def mix(one: Rgb, other: Rgb, amount: float) -> Rgb:
    """Go from one colour towards another; amount 0 to 1."""
    pairs = zip(_perceived(one), _perceived(other), strict=True)
    cones = [(start + (end - start) * amount) ** 3 for start, end in pairs]
    red, green, blue = (_encode(_product(row, cones)) for row in _FROM_CONES)
    return red, green, blue


def gradient(stops: Sequence[Rgb], steps: int) -> list[Rgb]:
    """Lay colours out evenly and fill the steps between them."""
    colours = []
    for step in range(steps):
        position = step * (len(stops) - 1) / (steps - 1)
        index = min(int(position), len(stops) - 2)
        colours.append(mix(stops[index], stops[index + 1], position - index))
    return colours


def _perceived(colour: Rgb) -> list[float]:
    linear = [_LINEAR[part] for part in colour]
    return [math.cbrt(_product(row, linear)) for row in _TO_CONES]


def _product(row: Sequence[float], values: Sequence[float]) -> float:
    return sum(factor * value for factor, value in zip(row, values, strict=True))


def _encode(part: float) -> int:
    part = min(1.0, max(0.0, part))
    encoded = 12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055
    return round(encoded * 255)


@dataclass(frozen=True)
class Palette:
    """Hold five colours from dark to light, and two that stand out against them."""

    ramp: tuple[Rgb, ...]
    accent: Rgb
    second_accent: Rgb

    @classmethod
    def parse(cls, text: str) -> Palette:
        """Read seven colours in hex digits."""
        colours = [(int(c[0:2], 16), int(c[2:4], 16), int(c[4:6], 16)) for c in text.split()]
        return cls(tuple(colours[:5]), colours[5], colours[6])

    @property
    def deep(self) -> Rgb:
        return self.ramp[0]

    @property
    def pale(self) -> Rgb:
        return self.ramp[-1]

    @property
    def sun(self) -> Rgb:
        """Return the accent that can give light, or a palest colour where both are dark."""
        brightest = max(self.accent, self.second_accent, key=sum)
        return brightest if sum(brightest) > 450 else mix(self.pale, (255, 222, 150), 0.5)

    def at(self, position: float) -> Rgb:
        """Return the colour at a place of the ramp, 0 (dark) to 1 (light)."""
        place = min(1.0, max(0.0, position)) * (len(self.ramp) - 1)
        index = min(int(place), len(self.ramp) - 2)
        return mix(self.ramp[index], self.ramp[index + 1], place - index)


# A palette, and the words of a prompt that call for it.
THEMES = {
    "2b1b3d 6d2e5b c9485b f5885b ffd9a0 ffe9c7 3f88a5": "sunset sunrise dusk dawn evening orange",
    "3a1d23 7c3b34 c46a45 e8a76c fbe4c0 f7f0e3 2f7f86": "desert dune sand canyon clay brown retro",
    "04173b 0a4174 1583b0 6cc5d9 dff5f2 ffb35c f2655e": "ocean sea wave lake river whale fish blue",
    "07211b 16473a 3b7a55 93bf7c eef3d2 f4a259 d95d39": "forest tree leaf fern moss green",
    "2a1a1f 6f2a26 b8522d e39a3c f7e3b0 4f6d5a 8c2f39": "autumn fall harvest fox dragon fire red",
    "221f3d 4d4375 8b79b3 c9b3d9 f6ecf3 ffc857 e8748b": "lavender dream magic wizard fairy violet",
    "0f0628 3a0e6b 8a1fbf e04fd0 ffc1ee 1de9d5 ffe14d": "neon cyberpunk robot glitch disco purple",
    "14213d 2f4a70 7f9fb8 d6dfda f8f2e4 d6402f e9a23b": "japan japanese samurai koi temple grey",
    "120e14 3d2a1d 8a5a2b d9a441 fdf0cd b33a3a 2f6f73": "golden royal king queen deco lion gold",
    "33142a 7a2a52 c25a7c eea0a6 fdebe3 f2c14e 4a7c8c": "love romantic cherry blossom heart pink",
    "0b1630 23406e 5a8bb8 a9d3e6 f2fafc f08a9b ffd27d": "winter snow ice frozen glacier white",
    "1c3324 3f6b3a 86a847 d6cf6f fbf6d9 e85d75 4f8fc0": "meadow spring garden field grass yellow",
    "062c30 05595b 12a08a 84d2a2 fff4c9 ff6f59 ffb627": "jungle tropical beach palm parrot teal",
    "070b1f 16204a 34437f 7b86bd d9dcf2 ffd98a f78fb3": "night midnight star galaxy moon cosmic",
}


def choose_palette(words: Iterable[str], rng: random.Random) -> Palette:
    """Choose by the words of a prompt, else by chance."""
    given = set(words)
    called = [text for text, calls in THEMES.items() if not given.isdisjoint(calls.split())]
    return Palette.parse(rng.choice(called or list(THEMES)))


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
        self._draw.polygon([(x * self.side, y * self.side) for x, y in points], fill)

    def disc(self, centre: Point, radius: float, fill: Rgb | int) -> None:
        self._draw.ellipse(self._around(centre, radius), fill)

    def ring(self, centre: Point, radius: float, width: float, fill: Rgb | int) -> None:
        around = self._around(centre, radius)
        self._draw.ellipse(around, outline=fill, width=max(1, round(width * self.side)))

    def slice(
        self, centre: Point, radius: float, start: float, end: float, fill: Rgb | int
    ) -> None:
        """Fill a slice of a circle; angles in degrees, clockwise from the right."""
        self._draw.pieslice(self._around(centre, radius), start, end, fill)

    def line(self, points: Sequence[Point], width: float, fill: Rgb | int) -> None:
        scaled = [(x * self.side, y * self.side) for x, y in points]
        self._draw.line(scaled, fill, max(1, round(width * self.side)), joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, fill: Rgb | int) -> None:
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
    steps = 160
    return [(step / steps, level + scale * height(step / steps)) for step in range(steps + 1)]


def under(line: Sequence[Point]) -> list[Point]:
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
