"""Mix colours as the eye does, and choose those of a picture by the words of its prompt."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
        """Return the darkest colour."""
        return self.ramp[0]

    @property
    def pale(self) -> Rgb:
        """Return the lightest colour."""
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
