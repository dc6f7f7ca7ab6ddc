"""Paint plain forms: Bauhaus tiles, facets, rays, cities."""

from __future__ import annotations

import math

from PIL import Image

from sandbox.paint.canvas import Canvas, Pen, vertical_gradient, vignette, wave
from sandbox.paint.colour import Rgb, mix


def tiles(canvas: Canvas) -> Image.Image:
    """Paint a grid of quarter circles, half circles, stripes and dots."""
    palette, rng = canvas.palette, canvas.rng
    paper = mix(palette.pale, (250, 244, 232), 0.5)
    across = rng.randint(4, 6)
    side = canvas.unit / across
    columns, rows = math.ceil(canvas.width / side), math.ceil(canvas.height / side)
    colours = [
        palette.deep,
        palette.ramp[1],
        palette.ramp[2],
        palette.ramp[3],
        palette.accent,
        palette.second_accent,
    ]

    def paint(pen: Pen) -> None:
        last = paper
        for row in range(rows):
            for column in range(columns):
                ground = rng.choice(
                    [colour for colour in (*colours, paper, paper) if colour != last]
                )
                last = ground
                ink = rng.choice([colour for colour in (*colours, paper) if colour != ground])
                other = rng.choice([colour for colour in colours if colour not in (ground, ink)])
                pen.box(column * side, row * side, (column + 1) * side, (row + 1) * side, ground)
                _tile(canvas, pen, column * side, row * side, side, ink, other, ground)

    return canvas.shapes(Image.new("RGB", (canvas.width, canvas.height), paper), paint)


def _tile(
    canvas: Canvas, pen: Pen, x: float, y: float, side: float, ink: Rgb, other: Rgb, ground: Rgb
) -> None:
    rng = canvas.rng
    kind, quarter = rng.randrange(8), rng.randrange(4)
    corner = ((x, y), (x + side, y), (x + side, y + side), (x, y + side))[quarter]
    middle = (x + side / 2, y + side / 2)
    start = quarter * 90
    match kind:
        case 0 | 1:
            pen.slice(corner, side, start, start + 90, ink)
            pen.slice(corner, side * 0.62, start, start + 90, other)
            pen.slice(corner, side * 0.28, start, start + 90, ground)
        case 2:
            pen.slice(corner, side, start, start + 90, ink)
        case 3:
            pen.disc(middle, side * 0.4, ink)
            pen.slice(middle, side * 0.4, start, start + 180, other)
        case 4:
            for stripe in range(4):
                top = y + side * stripe / 4
                pen.box(x, top, x + side, top + side / 8, ink)
        case 5:
            for dot in range(9):
                place = (x + side * (dot % 3 + 0.5) / 3, y + side * (dot // 3 + 0.5) / 3)
                pen.disc(place, side * 0.09, other if dot == 4 else ink)
        case 6:
            ends = ((x, y), (x + side, y), (x + side, y + side), (x, y + side))
            pen.polygon([ends[quarter], ends[(quarter + 1) % 4], ends[(quarter + 2) % 4]], ink)
            pen.disc(ends[quarter - 1], 0, ink)
        case _:
            pen.ring(middle, side * 0.42, side * 0.12, ink)
            pen.disc(middle, side * 0.16, other)


def facets(canvas: Canvas) -> Image.Image:
    """Paint a mesh of triangles that catch the light like folded paper."""
    palette, rng = canvas.palette, canvas.rng
    side = canvas.unit / rng.randint(9, 13)
    columns, rows = math.ceil(canvas.width / side) + 2, math.ceil(canvas.height / side) + 2
    swell, sway = wave(rng, 3), wave(rng, 3)
    corners = {
        (column, row): (
            (column - 1 + rng.uniform(-0.34, 0.34) + 0.5 * (row % 2)) * side,
            (row - 1 + rng.uniform(-0.34, 0.34)) * side,
        )
        for row in range(rows + 1)
        for column in range(columns + 1)
    }

    def shade(points: list[tuple[float, float]]) -> Rgb:
        x = sum(point[0] for point in points) / 3 / canvas.width
        y = sum(point[1] for point in points) / 3 / canvas.height
        level = 0.52 + 0.26 * swell(x + 0.35 * y) + 0.24 * sway(y - 0.3 * x)
        colour = palette.at(level + rng.uniform(-0.07, 0.07))
        chance = rng.random()
        if chance < 0.05:
            return mix(palette.accent, colour, 0.15)
        return mix(palette.second_accent, colour, 0.3) if chance < 0.08 else colour

    def paint(pen: Pen) -> None:
        for row in range(rows):
            for column in range(columns):
                a, b = corners[column, row], corners[column + 1, row]
                c, d = corners[column, row + 1], corners[column + 1, row + 1]
                halves = ([a, b, d], [a, d, c]) if row % 2 else ([a, b, c], [b, d, c])
                for points in halves:
                    colour = shade(points)
                    pen.polygon(points, colour)
                    pen.line([*points, points[0]], colour, 1)

    picture = canvas.shapes(Image.new("RGB", (canvas.width, canvas.height), palette.ramp[2]), paint)
    vignette(picture, 0.25, palette.deep)
    return picture


def sunburst(canvas: Canvas) -> Image.Image:
    """Paint rays and arcs around a rising sun, in the manner of Art Deco."""
    palette, rng = canvas.palette, canvas.rng
    centre = (canvas.width * rng.uniform(0.4, 0.6), canvas.height * rng.uniform(0.62, 0.78))
    reach = math.hypot(canvas.width, canvas.height)
    count = rng.choice((24, 28, 32, 36))
    picture = canvas.vertical([palette.deep, palette.ramp[1]])

    def paint(pen: Pen) -> None:
        for ray in range(count):
            start = 360 * ray / count
            tone = palette.ramp[1] if ray % 2 else palette.ramp[2]
            pen.slice(centre, reach, start, start + 360 / count, mix(tone, palette.deep, 0.15))
        steps = 9
        for step in range(steps):
            radius = canvas.unit * 0.52 * (1 - step / steps)
            colour = mix(
                palette.at(0.15 + 0.85 * step / steps), palette.accent, 0.35 if step % 3 == 0 else 0
            )
            pen.disc(centre, radius, colour)
            pen.ring(centre, radius, canvas.unit * 0.003, palette.pale)
        _sea(canvas, pen, centre[1])

    picture = canvas.shapes(picture, paint)
    vignette(picture, 0.3, palette.deep)
    return picture


def _sea(canvas: Canvas, pen: Pen, level: float) -> None:
    palette = canvas.palette
    rows = 7
    for row in range(rows):
        top = level + (canvas.height - level) * row / rows
        line = wave(canvas.rng, 2)
        outline = [
            (canvas.width * i / 60, top + canvas.unit * 0.014 * line(i / 60 * 2)) for i in range(61)
        ]
        colour = mix(palette.ramp[1], palette.deep, row / rows)
        pen.polygon([*outline, (canvas.width, canvas.height), (0, canvas.height)], colour)
        pen.line(outline, mix(palette.ramp[3], colour, 0.15 + 0.1 * row), canvas.unit * 0.003)


def city(canvas: Canvas) -> Image.Image:
    """Paint a city at dusk with lit windows, mirrored in water."""
    palette, rng = canvas.palette, canvas.rng
    shore = round(canvas.height * rng.uniform(0.7, 0.78))
    picture = canvas.vertical([palette.deep, palette.ramp[1], palette.ramp[2], palette.ramp[3]])
    radius = canvas.unit * rng.uniform(0.1, 0.2)
    centre = (
        canvas.width * rng.uniform(0.25, 0.75),
        shore - canvas.height * rng.uniform(0.25, 0.4),
    )
    canvas.glow(picture, centre, radius * 3, palette.sun, 0.55)

    def paint(pen: Pen) -> None:
        pen.disc(centre, radius, mix(palette.sun, palette.pale, 0.3))
        for depth in range(3):
            _blocks(canvas, pen, shore, depth / 2)

    picture = canvas.shapes(picture, paint)
    mirrored = picture.crop((0, max(0, 2 * shore - canvas.height), canvas.width, shore))
    water = mirrored.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize(
        (canvas.width, canvas.height - shore)
    )
    sheen = vertical_gradient(
        water.size, [mix(palette.ramp[2], palette.ramp[3], 0.5), palette.deep]
    )
    picture.paste(Image.blend(water, sheen, 0.5), (0, shore))

    def ripples(pen: Pen) -> None:
        pen.box(
            0,
            shore - canvas.unit * 0.004,
            canvas.width,
            shore,
            mix(palette.deep, palette.ramp[1], 0.2),
        )
        for _ in range(70):
            y = shore + (canvas.height - shore) * rng.random() ** 1.4
            x, length = canvas.width * rng.random(), canvas.unit * rng.uniform(0.02, 0.14)
            colour = mix(palette.deep, palette.ramp[2], rng.uniform(0.1, 0.6))
            pen.line([(x, y), (x + length, y)], colour, canvas.unit * 0.002)

    return canvas.shapes(picture, ripples)


def _blocks(canvas: Canvas, pen: Pen, shore: float, nearness: float) -> None:
    palette, rng, unit = canvas.palette, canvas.rng, canvas.unit
    wall = mix(mix(palette.ramp[2], palette.ramp[1], nearness), palette.deep, 0.25 + 0.6 * nearness)
    lamps = (palette.accent, palette.pale, palette.second_accent, palette.accent)
    x = -unit * 0.02
    while x < canvas.width:
        width = unit * rng.uniform(0.05, 0.11)
        tall = canvas.height * rng.uniform(0.12, 0.5 - 0.22 * nearness)
        top = shore - tall
        pen.box(x, top, x + width, shore, wall)
        if rng.random() < 0.25:
            pen.polygon([(x, top), (x + width / 2, top - width * 0.6), (x + width, top)], wall)
        elif rng.random() < 0.3:
            pen.line([(x + width / 2, top), (x + width / 2, top - unit * 0.05)], wall, unit * 0.003)
        if nearness > 0:
            pane = unit * 0.0075
            for row in range(int(tall / (pane * 2.6)) - 1):
                for column in range(int(width / (pane * 2.2)) - 1):
                    if rng.random() < 0.38:
                        left = x + pane * (1.1 + 2.2 * column)
                        upper = top + pane * (1.4 + 2.6 * row)
                        lamp = mix(rng.choice(lamps), wall, rng.uniform(0, 0.5))
                        pen.box(left, upper, left + pane, upper + pane * 1.5, lamp)
        x += width + unit * rng.choice((0, 0, 0.006, 0.02))
