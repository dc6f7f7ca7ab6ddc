"""Paint forms: cut paper, folded facets."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

from PIL import Image

from sandbox.paint.canvas import Canvas, Curve, Point, gradient, mix, wave


def paper_cut(canvas: Canvas) -> Image.Image:
    """Paint layers of cut paper, each with its shadow on the one below."""
    palette, rng = canvas.palette, canvas.rng
    bumps = [
        (rng.random(), rng.random(), rng.uniform(0.12, 0.34), rng.choice((-1.0, 1.0, 1.0)))
        for _ in range(9)
    ]
    cells = 24
    steps = [index / (cells - 1) for index in range(cells)]
    heights = Image.new("F", (cells, cells))
    heights.putdata(
        [
            sum(
                sign * math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * spread**2))
                for cx, cy, spread, sign in bumps
            )
            for y in steps
            for x in steps
        ]
    )
    field = heights.resize((canvas.side // 2, canvas.side // 2), Image.Resampling.BICUBIC)
    low, high = cast(tuple[float, float], field.getextrema())
    layers = rng.randint(6, 8)
    colours = gradient(palette.ramp, layers + 1)
    if rng.random() < 0.5:
        colours.reverse()
    canvas.gradient([colours[0], colours[0]])
    for layer in range(layers):
        level = low + (high - low) * (layer + 0.6) / (layers + 0.6)
        mask = _above(field, level, edge=(high - low) * 0.004)
        canvas.shadow(mask, mix(colours[layer], (8, 6, 18), 0.8), 0.012, 0.5)
        canvas.paint(colours[layer + 1], mask)
    disc = canvas.mask()
    disc.disc((rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.5)), rng.uniform(0.05, 0.09), 255)
    canvas.shadow(disc.image, palette.deep, 0.012, 0.45)
    canvas.paint(palette.accent, disc.image)
    return canvas.finished(vignette=0)


def _above(field: Image.Image, level: float, *, edge: float) -> Image.Image:
    """Make a mask of what lies above a level."""
    slope = 255 / edge
    return field.point(lambda value: value * slope + (127.5 - level * slope)).convert("L")


def facets(canvas: Canvas) -> Image.Image:
    """Paint a mesh of triangles that catch the light like folded paper."""
    rng = canvas.rng
    count, swell, sway = rng.randint(9, 13) + 2, wave(rng, 3), wave(rng, 3)
    rows = [
        [
            (
                (column - 1 + rng.uniform(-0.34, 0.34) + 0.5 * (row % 2)) / (count - 2),
                (row - 1 + rng.uniform(-0.34, 0.34)) / (count - 2),
            )
            for column in range(count + 1)
        ]
        for row in range(count + 1)
    ]
    for row, (upper, lower) in enumerate(pairwise(rows)):
        for (a, b), (c, d) in zip(pairwise(upper), pairwise(lower), strict=True):
            for points in ([a, b, d], [a, d, c]) if row % 2 else ([a, b, c], [b, d, c]):
                _facet(canvas, points, swell, sway)
    return canvas.finished()


def _facet(canvas: Canvas, points: list[Point], swell: Curve, sway: Curve) -> None:
    palette, rng = canvas.palette, canvas.rng
    x, y = (sum(point[axis] for point in points) / 3 for axis in (0, 1))
    level = 0.52 + 0.26 * swell(x + 0.35 * y) + 0.24 * sway(y - 0.3 * x)
    colour = palette.at(level + rng.uniform(-0.07, 0.07))
    chance = rng.random()
    if chance < 0.08:
        accent = palette.accent if chance < 0.05 else palette.second_accent
        colour = mix(accent, colour, 0.2)
    canvas.polygon(points, colour)
    canvas.line([*points, points[0]], 0.001, colour)
