"""Paint forms: cut paper, a blossom, folded facets."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

from PIL import Image

from sandbox.paint.canvas import Canvas, Curve, Point, Rgb, gradient, mix, soft, wave


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


def blossom(canvas: Canvas) -> Image.Image:
    """Paint one great blossom, seen from above, ring within ring."""
    palette, rng = canvas.palette, canvas.rng
    dark, middle = rng.random() < 0.6, (0.5, 0.5)
    light = [palette.pale, mix(palette.pale, palette.ramp[3], 0.5)]
    canvas.gradient([palette.ramp[1], palette.deep] if dark else light)
    canvas.glow(middle, 0.75, palette.ramp[2 if dark else 4], 0.7)
    shadow = canvas.mask()
    shadow.disc((0.5, 0.51), 0.44, 190)
    canvas.paint(mix(palette.deep, (0, 0, 0), 0.4), soft(shadow.image, 0.03))
    rings, fold, tip = rng.randint(6, 8), rng.choice((8, 10, 12, 14, 16)), rng.uniform(0.2, 1)
    colours = [*palette.ramp[1:], palette.second_accent, palette.accent]
    rng.shuffle(colours)
    for index in range(fold // 2):  # leaves
        angle = math.tau * (index + 0.5) / (fold // 2)
        for amount, size in ((0, 1.0), (0.6, 0.72)):
            leaf = _petal(angle, 0.28, 0.36 * size, 0.13 * size, 1)
            canvas.polygon(leaf, mix(palette.ramp[1], palette.ramp[2], amount))
    for ring in range(rings):
        outer = 0.46 * (1 - ring / rings) ** 0.9
        for index in range(fold):
            angle = math.tau * index / fold + math.pi / fold * (ring % 2)
            _draw_petal(canvas, angle, outer, fold, tip, colours[ring % len(colours)])
    canvas.disc(middle, 0.055, mix(palette.deep, palette.accent, 0.25))
    golden = math.pi * (3 - math.sqrt(5))
    for seed in range(70):
        reach, angle = 0.05 * math.sqrt(seed / 70), seed * golden
        place = (0.5 + reach * math.cos(angle), 0.5 + reach * math.sin(angle))
        canvas.disc(place, 0.0036, mix(palette.accent, palette.pale, seed / 70))
    return canvas.finished(vignette=0.3)


def _petal(angle: float, start: float, length: float, width: float, tip: float) -> list[Point]:
    """Outline a petal around the middle; `tip` is 0 for a round one and 1 for a pointed one."""
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    left, right = [], []
    for step in range(19):
        t = step / 18
        half = width * math.sin(math.pi * t**0.8) ** (0.8 + 0.5 * tip) / 2
        x, y = 0.5 + along[0] * (start + length * t), 0.5 + along[1] * (start + length * t)
        left.append((x + across[0] * half, y + across[1] * half))
        right.append((x - across[0] * half, y - across[1] * half))
    return left + right[::-1]


def _draw_petal(
    canvas: Canvas, angle: float, outer: float, fold: int, tip: float, colour: Rgb
) -> None:
    palette, start = canvas.palette, outer * 0.08
    length, width = outer - start, outer * math.tau / fold * 1.12
    edge = mix(colour, palette.deep, 0.38)
    canvas.polygon(_petal(angle, start, length, width, tip), edge)
    for inset in range(4):
        tone = mix(mix(colour, palette.deep, 0.1), palette.pale, 0.13 * inset)
        part, reach = 0.9 - 0.17 * inset, length * (0.975 - 0.1 * inset)
        canvas.polygon(_petal(angle, start, reach, width * part, tip), tone)
    vein = [
        (0.5 + math.cos(angle) * outer * at, 0.5 + math.sin(angle) * outer * at)
        for at in (0.3, 0.8)
    ]
    canvas.line(vein, 0.0018, edge)


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
