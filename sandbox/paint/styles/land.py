"""Paint landscapes: ridges in haze, dunes, papery valleys."""

from __future__ import annotations

import math
from typing import cast

from PIL import Image, ImageChops

from sandbox.paint.canvas import (
    Canvas,
    Curve,
    Point,
    drop_shadow,
    height_field,
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
        shape = _below(canvas, outline)
        body = palette.at(0.78 * (1 - nearness) ** 0.85)
        first_row = max(0, int(top - reach))
        fill = vertical_gradient(
            (canvas.width, canvas.height - first_row),
            [
                mix(body, palette.ramp[3], 0.12),
                body,
                mix(body, palette.pale, 0.22 * (1 - nearness)),
            ],
        )
        box = (0, first_row, canvas.width, canvas.height)
        picture.paste(fill, (0, first_row), shape.crop(box))
    vignette(picture, 0.25, palette.deep)
    return picture


def _below(canvas: Canvas, outline: list[Point]) -> Image.Image:
    corners = [(canvas.width, canvas.height), (0, canvas.height)]
    return canvas.mask(lambda pen: pen.polygon([*outline, *corners], 255))


def _crest(canvas: Canvas, sharp: bool) -> Curve:
    smooth = wave(canvas.rng, 5 if sharp else 3, 0.55 if sharp else 0.42)
    if not sharp:
        return smooth
    fine = wave(canvas.rng, 7, 0.75)
    return lambda x: 1.1 - 2.0 * abs(smooth(x)) ** 0.8 + 0.22 * fine(x * 3)


def _sun(canvas: Canvas, picture: Image.Image, horizon: float) -> None:
    palette, rng = canvas.palette, canvas.rng
    radius = canvas.unit * rng.uniform(0.07, 0.15)
    centre = (canvas.width * rng.uniform(0.25, 0.75), horizon - radius * rng.uniform(0.3, 2.2))
    canvas.glow(picture, centre, radius * 5.5, mix(palette.pale, palette.sun, 0.4), 0.75)
    disc = canvas.mask(lambda pen: pen.disc(centre, radius, 255))
    picture.paste(mix(palette.sun, palette.pale, 0.2), (0, 0), disc)


def dunes(canvas: Canvas) -> Image.Image:
    """Paint dunes: each has a lit and a shaded side that meet in a winding crest."""
    palette, rng = canvas.palette, canvas.rng
    picture = canvas.vertical([palette.ramp[2], palette.ramp[3], palette.pale, palette.pale])
    horizon = canvas.height * rng.uniform(0.36, 0.46)
    _sun(canvas, picture, horizon)
    layers = 5
    side = rng.choice((-1, 1))
    for layer in range(layers):
        nearness = layer / (layers - 1)
        top = horizon + canvas.height * (0.02 + 0.42 * nearness**1.2)
        peak = 0.5 + side * rng.uniform(0.08, 0.42)
        side = -side
        _dune(canvas, picture, peak, top, 1 - nearness)
    vignette(picture, 0.2, palette.deep)
    return picture


def _dune(canvas: Canvas, picture: Image.Image, peak: float, top: float, distance: float) -> None:
    palette, rng, width, height = canvas.palette, canvas.rng, canvas.width, canvas.height
    rise = canvas.height * (0.06 + 0.1 * (1 - distance))
    spread, roll = rng.uniform(0.28, 0.42), wave(rng, 2)

    def crest(x: float) -> float:
        bell = 1 / (1 + ((x - peak) / spread) ** 2 * 2.2)
        return top - rise * (1.5 * bell + 0.22 * roll(x))

    outline = [(width * i / POINTS, crest(i / POINTS)) for i in range(POINTS + 1)]
    lit = mix(palette.at(0.68), palette.pale, 0.12 + 0.5 * distance)
    dark = mix(palette.at(0.24), palette.at(0.72), 0.75 * distance)
    first_row = max(0, int(min(y for _, y in outline)))
    size, box = (width, height - first_row), (0, first_row, width, height)
    shape = _below(canvas, outline)
    fill = vertical_gradient(size, [mix(lit, palette.pale, 0.3), lit, mix(lit, dark, 0.45)])
    picture.paste(fill, (0, first_row), shape.crop(box))
    # The edge between light and shade runs down from the peak in widening bends.
    bend, lean = rng.uniform(0.05, 0.1), rng.choice((-1, 1)) * rng.uniform(0.08, 0.3)
    bottom = height * 1.02
    edge = []
    for step in range(61):
        t = step / 60
        x = peak + bend * math.sin(t * 6.5) * t**0.7 + lean * t
        edge.append((width * x, crest(peak) + (bottom - crest(peak)) * t**1.25))
    beyond = [(x, y) for x, y in outline if x > width * peak]
    face = [
        *edge[::-1],
        *beyond,
        (width * 1.2, beyond[-1][1] if beyond else top),
        (width * 1.2, bottom),
    ]
    shade = ImageChops.multiply(canvas.mask(lambda pen: pen.polygon(face, 255)), shape)
    falling = vertical_gradient(size, [dark, mix(dark, lit, 0.12), mix(dark, lit, 0.6)])
    picture.paste(falling, (0, first_row), shade.crop(box))


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
    low, high = cast(tuple[float, float], field.getextrema())
    layers = rng.randint(6, 8)
    colours = palette.shades(layers + 1)
    if rng.random() < 0.5:
        colours.reverse()
    picture = Image.new("RGB", size, colours[0])
    for layer in range(layers):
        height = low + (high - low) * (layer + 0.6) / (layers + 0.6)
        mask = threshold(field, height, (high - low) * 0.004)
        dark = mix(colours[layer], (8, 6, 18), 0.8)
        drop_shadow(picture, mask, canvas.unit * 0.008, canvas.unit * 0.012, dark, 0.5)
        picture.paste(colours[layer + 1], (0, 0), mask)
    _paper_detail(canvas, picture)
    return picture


def _paper_detail(canvas: Canvas, picture: Image.Image) -> None:
    palette, rng = canvas.palette, canvas.rng
    radius = canvas.unit * rng.uniform(0.05, 0.09)
    centre = (canvas.width * rng.uniform(0.2, 0.8), canvas.height * rng.uniform(0.15, 0.5))

    disc = canvas.mask(lambda pen: pen.disc(centre, radius, 255))
    drop_shadow(picture, disc, radius * 0.1, canvas.unit * 0.012, palette.deep, 0.45)
    picture.paste(palette.accent, (0, 0), disc)
