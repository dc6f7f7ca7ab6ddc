"""Mix colours in OKLab, where equal steps look equal (https://bottosson.github.io/posts/oklab/)."""

from __future__ import annotations

import math
from collections.abc import Sequence

Rgb = tuple[int, int, int]
Lab = tuple[float, float, float]


def from_hex(text: str) -> Rgb:
    """Parse "rrggbb"."""
    return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)


def from_oklch(lightness: float, chroma: float, hue: float) -> Rgb:
    """Make a colour: lightness 0 to 1, chroma 0 to about 0.3, hue in degrees.

    A colour that screens cannot show loses chroma until they can.
    """
    angle = math.radians(hue)
    while True:
        linear = _to_linear((lightness, chroma * math.cos(angle), chroma * math.sin(angle)))
        if all(-0.002 <= part <= 1.002 for part in linear) or chroma < 0.01:
            return _to_rgb(linear)
        chroma *= 0.92


def mix(one: Rgb, other: Rgb, amount: float) -> Rgb:
    """Go from one colour towards another; amount 0 to 1."""
    a, b = _to_lab(one), _to_lab(other)
    lightness, green_red, blue_yellow = (
        start + (end - start) * amount for start, end in zip(a, b, strict=True)
    )
    return _to_rgb(_to_linear((lightness, green_red, blue_yellow)))


def lightness(colour: Rgb) -> float:
    """Return how light a colour looks, 0 to 1."""
    return _to_lab(colour)[0]


def gradient(stops: Sequence[Rgb], steps: int) -> list[Rgb]:
    """Lay colours out evenly and fill the steps between them."""
    if steps == 1:
        return [stops[0]]
    colours = []
    for step in range(steps):
        position = step * (len(stops) - 1) / (steps - 1)
        index = min(int(position), len(stops) - 2)
        colours.append(mix(stops[index], stops[index + 1], position - index))
    return colours


def _to_lab(colour: Rgb) -> Lab:
    r, g, b = (_LINEAR[part] for part in colour)
    long = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    medium = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    short = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _to_linear(lab: Lab) -> tuple[float, float, float]:
    light, a, b = lab
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _to_rgb(linear: tuple[float, float, float]) -> Rgb:
    red, green, blue = (_encode(part) for part in linear)
    return red, green, blue


def _encode(part: float) -> int:
    part = min(1.0, max(0.0, part))
    encoded = 12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055
    return round(encoded * 255)


_LINEAR = [
    level / 255 / 12.92 if level / 255 <= 0.04045 else ((level / 255 + 0.055) / 1.055) ** 2.4
    for level in range(256)
]
