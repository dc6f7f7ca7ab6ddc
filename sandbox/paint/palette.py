"""Choose the colours of a picture by the words of its prompt."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.paint.colour import Rgb, from_hex, from_oklch, gradient, lightness, mix


@dataclass(frozen=True)
class Palette:
    """Hold five colours from dark to light, and two that stand out against them."""

    ramp: tuple[Rgb, ...]
    accent: Rgb
    second_accent: Rgb

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
        """Return the accent that can give light, or the palest colour where both are dark."""
        brightest = max(self.accent, self.second_accent, key=lightness)
        return brightest if lightness(brightest) > 0.7 else mix(self.pale, (255, 222, 150), 0.5)

    def shades(self, count: int) -> list[Rgb]:
        """Return so many colours from dark to light."""
        return gradient(self.ramp, count)

    def at(self, position: float) -> Rgb:
        """Return the colour at a place of the ramp, 0 (dark) to 1 (light)."""
        place = min(1.0, max(0.0, position)) * (len(self.ramp) - 1)
        index = min(int(place), len(self.ramp) - 2)
        return mix(self.ramp[index], self.ramp[index + 1], place - index)


def _palette(colours: str) -> Palette:
    first, second, third, fourth, fifth, accent, second_accent = map(from_hex, colours.split())
    return Palette((first, second, third, fourth, fifth), accent, second_accent)


THEMES: dict[str, Palette] = {
    "sunset": _palette("2b1b3d 6d2e5b c9485b f5885b ffd9a0 ffe9c7 3f88a5"),
    "desert": _palette("3a1d23 7c3b34 c46a45 e8a76c fbe4c0 f7f0e3 2f7f86"),
    "ocean": _palette("04173b 0a4174 1583b0 6cc5d9 dff5f2 ffb35c f2655e"),
    "forest": _palette("07211b 16473a 3b7a55 93bf7c eef3d2 f4a259 d95d39"),
    "autumn": _palette("2a1a1f 6f2a26 b8522d e39a3c f7e3b0 4f6d5a 8c2f39"),
    "lavender": _palette("221f3d 4d4375 8b79b3 c9b3d9 f6ecf3 ffc857 e8748b"),
    "neon": _palette("0f0628 3a0e6b 8a1fbf e04fd0 ffc1ee 1de9d5 ffe14d"),
    "japan": _palette("14213d 2f4a70 7f9fb8 d6dfda f8f2e4 d6402f e9a23b"),
    "gold": _palette("120e14 3d2a1d 8a5a2b d9a441 fdf0cd b33a3a 2f6f73"),
    "rose": _palette("33142a 7a2a52 c25a7c eea0a6 fdebe3 f2c14e 4a7c8c"),
    "ice": _palette("0b1630 23406e 5a8bb8 a9d3e6 f2fafc f08a9b ffd27d"),
    "meadow": _palette("1c3324 3f6b3a 86a847 d6cf6f fbf6d9 e85d75 4f8fc0"),
    "terracotta": _palette("2d2a32 5d4a4c a86454 dd9c7a f6e7d3 3d7068 f2b84b"),
    "candy": _palette("3c1d5a 7f3fa0 e06fae ffad9f fff1d0 3fc1c9 ffd166"),
    "tropics": _palette("062c30 05595b 12a08a 84d2a2 fff4c9 ff6f59 ffb627"),
    "midnight": _palette("070b1f 16204a 34437f 7b86bd d9dcf2 ffd98a f78fb3"),
    "volcano": _palette("170b12 4a1022 9e1f2b ea5a2e ffd07a ffefc2 5a6f8f"),
    "moss": _palette("1b1f1a 40462f 77784a b7b27a efe9cf c8553d 588b8b"),
}

_THEME_WORDS: dict[str, str] = {
    "sunset": "sunset sunrise dusk dawn evening",
    "desert": "desert dune sand sahara canyon",
    "ocean": "ocean sea wave water underwater lake river whale fish",
    "forest": "forest tree leaf fern",
    "tropics": "jungle tropical beach palm parrot",
    "autumn": "autumn fall harvest fox",
    "lavender": "lavender dream dreamy magic wizard fairy mystic",
    "neon": "neon cyberpunk synthwave vaporwave robot hologram glitch disco",
    "japan": "japan japanese samurai zen koi temple ukiyo kyoto",
    "gold": "golden royal king queen deco baroque lion",
    "volcano": "dragon fire lava volcano flame phoenix",
    "rose": "love romantic cherry blossom heart",
    "ice": "winter snow ice frozen arctic glacier",
    "meadow": "meadow spring garden field grass",
    "terracotta": "clay ceramic rustic mediterranean retro",
    "candy": "candy cute playful toy kawaii",
    "midnight": "night midnight star galaxy space moon cosmic cosmos",
    "moss": "moss vintage ancient ruin",
}
THEME_WORDS: dict[str, str] = {
    word: theme for theme, words in _THEME_WORDS.items() for word in words.split()
}

COLOUR_HUES: dict[str, tuple[float, float]] = {
    "red": (25, 0.19), "crimson": (18, 0.19), "scarlet": (28, 0.2), "pink": (355, 0.15),
    "magenta": (335, 0.2), "orange": (55, 0.16), "coral": (35, 0.15), "amber": (75, 0.15),
    "yellow": (98, 0.15), "gold": (85, 0.13), "lime": (125, 0.17), "green": (148, 0.14),
    "emerald": (160, 0.13), "teal": (190, 0.1), "turquoise": (195, 0.11), "cyan": (210, 0.12),
    "blue": (255, 0.15), "azure": (245, 0.13), "indigo": (280, 0.16), "violet": (300, 0.17),
    "purple": (310, 0.17), "brown": (55, 0.07), "silver": (260, 0.015), "grey": (260, 0.012),
    "gray": (260, 0.012), "monochrome": (270, 0.008), "black": (290, 0.025), "white": (230, 0.02),
}  # fmt: skip


def choose_palette(words: Iterable[str], rng: random.Random) -> Palette:
    """Choose by colours that the prompt names, else by its themes, else by chance."""
    listed = list(words)
    hues = [COLOUR_HUES[word] for word in listed if word in COLOUR_HUES]
    if hues:
        return _from_hues(hues, rng)
    themes = [THEME_WORDS[word] for word in listed if word in THEME_WORDS]
    return THEMES[rng.choice(themes or list(THEMES))]


def _from_hues(hues: list[tuple[float, float]], rng: random.Random) -> Palette:
    hue, chroma = hues[0]
    drift = rng.choice((-1, 1)) * rng.uniform(15, 45)
    ramp = tuple(
        from_oklch(light, chroma * strength, hue + drift * (position / 4 - 0.5))
        for position, (light, strength) in enumerate(
            ((0.2, 0.6), (0.38, 0.95), (0.57, 1.0), (0.77, 0.75), (0.95, 0.25))
        )
    )
    if len(hues) > 1:
        accent = from_oklch(0.72, max(0.1, hues[1][1]), hues[1][0])
    else:
        accent = from_oklch(0.76, 0.14, hue + rng.choice((150, 180, 210)))
    return Palette(ramp, accent, from_oklch(0.66, 0.15, hue + rng.choice((-75, 75))))
