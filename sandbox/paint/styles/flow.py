"""Paint what flows: ribbons of silk, stylised waves."""

from __future__ import annotations

import math

from PIL import Image

from sandbox.paint.canvas import Canvas, Pen, vignette, wave
from sandbox.paint.colour import Rgb, mix

POINTS = 110


def ribbons(canvas: Canvas) -> Image.Image:
    """Paint bands that follow each other like folds of silk."""
    palette, rng = canvas.palette, canvas.rng
    count = rng.randint(34, 52)
    base, bend, fold = wave(rng, 3, 0.45), wave(rng, 3, 0.5), wave(rng, 2)
    turns = rng.uniform(1.2, 2.4)
    accents = {rng.randrange(count) for _ in range(4)}

    def edge(band: float) -> list[tuple[float, float]]:
        place = band / count
        return [
            (
                canvas.width * x,
                canvas.height
                * (
                    1.5 * place
                    - 0.25
                    + 0.16 * base(x * 0.8 + 0.3 * place)
                    + 0.09 * bend(x * 0.9 - 0.8 * place) * (0.4 + place)
                    + 0.03 * fold(1.6 * x + 2 * place)
                ),
            )
            for x in (i / POINTS for i in range(POINTS + 1))
        ]

    def paint(pen: Pen) -> None:
        upper = edge(-1)
        for band in range(count + 1):
            lower = edge(band)
            cycle = 0.5 - 0.5 * math.cos(turns * math.tau * band / count)
            colour = palette.at(0.06 + 0.9 * cycle)
            if band in accents:
                colour = rng.choice((palette.accent, palette.second_accent))
            spill = [(x, y + 3) for x, y in reversed(lower)]
            pen.polygon([*upper, *spill], colour)
            pen.line(upper, mix(colour, palette.pale, 0.35), canvas.unit * 0.0016)
            shade = [(x, y - canvas.unit * 0.006) for x, y in reversed(lower)]
            pen.polygon([*[(x, y - 1) for x, y in lower], *shade], mix(colour, palette.deep, 0.22))
            upper = lower

    picture = canvas.shapes(Image.new("RGB", (canvas.width, canvas.height), palette.deep), paint)
    vignette(picture, 0.3, palette.deep)
    return picture


def scalloped_sea(canvas: Canvas) -> Image.Image:
    """Paint a sea of concentric scallops, as on Japanese cloth, under a large sun."""
    palette, rng = canvas.palette, canvas.rng
    horizon = canvas.height * rng.uniform(0.36, 0.5)
    sky = [mix(palette.ramp[3], palette.ramp[2], 0.4), palette.ramp[3], palette.pale, palette.pale]
    picture = canvas.vertical(sky)
    radius = canvas.unit * rng.uniform(0.15, 0.24)
    centre = (canvas.width * rng.uniform(0.3, 0.7), horizon - radius * rng.uniform(0.1, 0.9))
    canvas.glow(picture, centre, radius * 2.6, mix(palette.sun, palette.pale, 0.4), 0.6)

    def paint(pen: Pen) -> None:
        pen.disc(centre, radius, palette.sun)
        for _ in range(rng.randint(3, 5)):
            _cloud(canvas, pen, horizon)
        size = canvas.unit * rng.uniform(0.085, 0.12)
        row, y = 0, horizon
        while y - size < canvas.height:
            depth = (y - horizon) / (canvas.height - horizon)
            offset = (row % 2) * size - size
            for column in range(int(canvas.width / size / 2) + 3):
                place = (offset + column * size * 2, y + size * 0.55)
                _scallop(canvas, pen, place, size, depth)
            row += 1
            y += size * 0.5

    return canvas.shapes(picture, paint)


def _scallop(
    canvas: Canvas, pen: Pen, centre: tuple[float, float], size: float, depth: float
) -> None:
    palette = canvas.palette
    body = palette.at(0.62 - 0.52 * depth + canvas.rng.uniform(-0.05, 0.05))
    rim: Rgb = mix(palette.pale, body, 0.08)
    pen.disc(centre, size, rim)
    for ring in range(1, 5):
        inner = size * (1 - 0.2 * ring)
        pen.disc(centre, inner + size * 0.13, mix(body, palette.ramp[3], 0.12 * ring))
        pen.disc(centre, inner, rim)
    pen.disc(centre, size * 0.12, palette.accent if canvas.rng.random() < 0.06 else body)


def _cloud(canvas: Canvas, pen: Pen, horizon: float) -> None:
    rng = canvas.rng
    x, y = canvas.width * rng.random(), horizon * rng.uniform(0.12, 0.75)
    colour = mix(canvas.palette.pale, (255, 255, 255), 0.5)
    thickness = canvas.unit * rng.uniform(0.012, 0.02)
    for strip in range(rng.randint(2, 3)):
        length = canvas.unit * rng.uniform(0.1, 0.3)
        left = x + canvas.unit * rng.uniform(-0.1, 0.1)
        level = y + strip * thickness * 2.2
        pen.box(left, level - thickness, left + length, level + thickness, colour)
        pen.disc((left, level), thickness, colour)
        pen.disc((left + length, level), thickness, colour)
