"""Paint landscapes: ridges in haze, dunes, papery valleys."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image

from sandbox.paint.canvas import (
    Canvas,
    Pen,
    height_field,
    soften,
    threshold,
    vertical_gradient,
    vignette,
    wave,
)
from sandbox.paint.colour import mix

POINTS = 160


def ridges(canvas: Canvas) -> Image.Image:
    """Paint ranges of hills or mountains that pale with distance, under a sun or moon."""
    palette, rng = canvas.palette, canvas.rng
    sharp = canvas.has("mountain", "alps", "peak", "cliff", "rock") or rng.random() < 0.4
    horizon = canvas.height * rng.uniform(0.42, 0.58)
    sky = [mix(palette.ramp[2], palette.ramp[1], 0.35), palette.ramp[3], palette.pale]
    picture = canvas.vertical([*sky, palette.pale])
    _sun(canvas, picture, horizon)
    layers = rng.randint(5, 7)
    for layer in range(layers):
        nearness = layer / (layers - 1)
        top = horizon + (canvas.height * 1.02 - horizon) * nearness**1.25 * 0.82
        reach = canvas.height * (0.07 + 0.09 * (1 - abs(nearness - 0.4)))
        line = _crest(canvas, sharp)
        outline = [
            (canvas.width * i / POINTS, top - reach * line(i / POINTS)) for i in range(POINTS + 1)
        ]
        shape = canvas.mask(
            lambda pen, outline=outline: pen.polygon(
                [*outline, (canvas.width, canvas.height), (0, canvas.height)], 255
            )
        )
        body = palette.at(0.78 * (1 - nearness) ** 0.85)
        fill = canvas.vertical([mix(body, palette.accent, 0.16), body, mix(body, palette.pale, 0.3)])
        first_row = max(0, int(top - reach))
        fill = vertical_gradient(
            (canvas.width, canvas.height - first_row),
            [mix(body, palette.ramp[3], 0.12), body, mix(body, palette.pale, 0.22 * (1 - nearness))],
        )
        box = (0, first_row, canvas.width, canvas.height)
        picture.paste(fill, (0, first_row), shape.crop(box))
    vignette(picture, 0.25, palette.deep)
    return picture


def _crest(canvas: Canvas, sharp: bool) -> Callable[[float], float]:
    smooth = wave(canvas.rng, 5 if sharp else 3, 0.55 if sharp else 0.42)
    if not sharp:
        return smooth
    fine = wave(canvas.rng, 7, 0.75)
    return lambda x: 1.1 - 2.0 * abs(smooth(x)) ** 0.8 + 0.22 * fine(x * 3)


def _sun(canvas: Canvas, picture: Image.Image, horizon: float) -> None:
    palette, rng = canvas.palette, canvas.rng
    radius = canvas.unit * rng.uniform(0.07, 0.15)
    centre = (canvas.width * rng.uniform(0.25, 0.75), horizon - radius * rng.uniform(0.3, 2.2))
    light = mix(palette.pale, palette.accent, 0.35)
    canvas.glow(picture, centre, radius * 5.5, light, 0.75)
    disc = canvas.mask(lambda pen: pen.disc(centre, radius, 255))
    picture.paste(mix(palette.accent, palette.pale, 0.25), (0, 0), disc)


def dunes(canvas: Canvas) -> Image.Image:
    """Paint dunes: each has a lit and a shaded side that meet in a curving crest."""
    palette, rng = canvas.palette, canvas.rng
    picture = canvas.vertical([palette.ramp[2], palette.ramp[3], palette.pale, palette.pale])
    horizon = canvas.height * rng.uniform(0.34, 0.46)
    _sun(canvas, picture, horizon)
    layers = 5
    for layer in range(layers):
        nearness = layer / (layers - 1)
        top = horizon + canvas.height * (0.03 + 0.5 * nearness**1.3)
        peak = rng.uniform(0.15, 0.85)
        width = rng.uniform(0.22, 0.4)
        rise = canvas.height * (0.05 + 0.12 * nearness)
        roll = wave(rng, 2)

        def crest(x: float, peak: float = peak, width: float = width, roll: object = roll) -> float:
            return math.exp(-(((x - peak) / width) ** 2)) * 1.6 + 0.35 * roll(x)  # type: ignore[operator]

        _dune(canvas, picture, crest, top, rise, peak, 1 - nearness)
    vignette(picture, 0.2, palette.deep)
    return picture


def _dune(
    canvas: Canvas,
    picture: Image.Image,
    crest: Callable[[float], float],
    top: float,
    rise: float,
    peak: float,
    distance: float,
) -> None:
    palette, width, height = canvas.palette, canvas.width, canvas.height
    outline = [(width * i / POINTS, top - rise * crest(i / POINTS)) for i in range(POINTS + 1)]
    lit = mix(palette.at(0.62), palette.pale, 0.45 * distance)
    dark = mix(palette.at(0.3), palette.at(0.7), 0.55 * distance)
    shape = canvas.mask(lambda pen: pen.polygon([*outline, (width, height), (0, height)], 255))
    fill = canvas.vertical([lit, lit, mix(lit, palette.at(0.42), 0.55)])
    picture.paste(fill, (0, 0), shape)
    sway = wave(canvas.rng, 2)
    ridge = [
        (
            width * (peak + 0.06 * sway(t * 0.7) * t + 0.16 * t * t),
            top - rise * crest(peak) + (height - top + rise * crest(peak)) * t,
        )
        for t in (i / 40 for i in range(41))
    ]
    after = [point for point in outline if point[0] > width * peak]
    face = [*ridge[::-1], *after, (width, height)]
    shade = canvas.mask(lambda pen: pen.polygon(face, 255))
    falling = canvas.vertical([dark, mix(dark, palette.deep, 0.25), mix(dark, lit, 0.35)])
    picture.paste(falling, (0, 0), shade)


def paper_cut(canvas: Canvas) -> Image.Image:
    """Paint layers of cut paper, each with its shadow on the one below."""
    palette, rng = canvas.palette, canvas.rng
    size = (canvas.width, canvas.height)
    bumps = [
        (rng.random(), rng.random(), rng.uniform(0.12, 0.34), rng.choice((-1.0, 1.0, 1.0)))
        for _ in range(9)
    ]
    aspect = canvas.width / canvas.height

    def level(x: float, y: float) -> float:
        return sum(
            sign * math.exp(-(((x - cx) * aspect) ** 2 + (y - cy) ** 2) / (2 * spread**2))
            for cx, cy, spread, sign in bumps
        )

    field = height_field(size, level)
    low, high = field.getextrema()
    layers = rng.randint(7, 9)
    colours = palette.shades(layers + 1)
    if rng.random() < 0.5:
        colours.reverse()
    picture = Image.new("RGB", size, colours[0])
    shift = round(canvas.unit * 0.008)
    for layer in range(layers):
        height = low + (high - low) * (layer + 0.6) / (layers + 0.6)
        mask = threshold(field, height, (high - low) * 0.004)
        shadow = Image.new("L", size)
        shadow.paste(mask, (shift, shift * 2))
        dark = soften(shadow, canvas.unit * 0.012).point([round(v * 0.5) for v in range(256)])
        picture.paste(mix(colours[layer], (8, 6, 18), 0.8), (0, 0), dark)
        picture.paste(colours[layer + 1], (0, 0), mask)
    _paper_detail(canvas, picture)
    return picture


def _paper_detail(canvas: Canvas, picture: Image.Image) -> None:
    palette, rng = canvas.palette, canvas.rng
    radius = canvas.unit * rng.uniform(0.05, 0.09)
    centre = (canvas.width * rng.uniform(0.2, 0.8), canvas.height * rng.uniform(0.15, 0.5))

    def sun(pen: Pen) -> None:
        pen.disc(centre, radius, 255)

    disc = canvas.mask(sun)
    shadow = Image.new("L", picture.size)
    shadow.paste(disc, (round(radius * 0.1), round(radius * 0.2)))
    dark = soften(shadow, canvas.unit * 0.012).point([round(v * 0.45) for v in range(256)])
    picture.paste(palette.deep, (0, 0), dark)
    picture.paste(palette.accent, (0, 0), disc)
