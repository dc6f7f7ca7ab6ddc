"""Paint what grows: blossoms of many petals, meadows of stems."""

from __future__ import annotations

import math

from PIL import Image

from sandbox.paint.canvas import Canvas, Pen, Point, soften, vignette
from sandbox.paint.colour import Rgb, mix


def petal(
    centre: Point, angle: float, start: float, length: float, width: float, tip: float
) -> list[Point]:
    """Outline a petal; `tip` is 0 for a round one and 1 for a pointed one."""
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    left, right = [], []
    steps = 18
    for step in range(steps + 1):
        t = step / steps
        bulge = math.sin(math.pi * t**0.8) ** (0.8 + 0.5 * tip)
        reach, half = start + length * t, width * bulge / 2
        x, y = centre[0] + along[0] * reach, centre[1] + along[1] * reach
        left.append((x + across[0] * half, y + across[1] * half))
        right.append((x - across[0] * half, y - across[1] * half))
    return left + right[::-1]


def blossom(canvas: Canvas) -> Image.Image:
    """Paint one great blossom, seen from above, ring within ring."""
    palette, rng = canvas.palette, canvas.rng
    dark = rng.random() < 0.6
    back = (
        [palette.ramp[1], palette.deep]
        if dark
        else [palette.pale, mix(palette.pale, palette.ramp[3], 0.5)]
    )
    picture = canvas.vertical(back)
    middle = (canvas.width / 2, canvas.height / 2)
    canvas.glow(picture, middle, canvas.unit * 0.75, palette.ramp[2 if dark else 4], 0.7)
    rings = rng.randint(6, 8)
    fold = rng.choice((8, 10, 12, 14, 16))
    tip = rng.uniform(0.2, 1)
    hues = [
        palette.ramp[1],
        palette.ramp[2],
        palette.ramp[3],
        palette.second_accent,
        palette.accent,
        palette.pale,
    ]
    rng.shuffle(hues)
    shadow = canvas.mask(
        lambda pen: pen.disc((middle[0], middle[1] * 1.02), canvas.unit * 0.44, 190)
    )
    picture.paste(mix(palette.deep, (0, 0, 0), 0.4), (0, 0), soften(shadow, canvas.unit * 0.03))

    def paint(pen: Pen) -> None:
        _leaves(canvas, pen, middle, fold)
        for ring in range(rings):
            outer = canvas.unit * 0.46 * (1 - ring / rings) ** 0.9
            colour = hues[ring % len(hues)]
            turn = math.pi / fold * (ring % 2)
            for index in range(fold):
                angle = math.tau * index / fold + turn
                _petal(canvas, pen, middle, angle, outer, fold, tip, colour)
        _heart(canvas, pen, middle, canvas.unit * 0.055)

    picture = canvas.shapes(picture, paint)
    vignette(picture, 0.3, palette.deep)
    return picture


def _petal(
    canvas: Canvas,
    pen: Pen,
    middle: Point,
    angle: float,
    outer: float,
    fold: int,
    tip: float,
    colour: Rgb,
) -> None:
    palette = canvas.palette
    start = outer * 0.08
    width = outer * math.tau / fold * 1.12
    edge = mix(colour, palette.deep, 0.38)
    pen.polygon(petal(middle, angle, start, outer - start, width, tip), edge)
    for inset in range(4):
        part = 1 - 0.1 - 0.17 * inset
        tone = mix(mix(colour, palette.deep, 0.1), palette.pale, 0.13 * inset)
        pen.polygon(
            petal(middle, angle, start, (outer - start) * (0.975 - 0.1 * inset), width * part, tip),
            tone,
        )
    foot = (middle[0] + math.cos(angle) * outer * 0.3, middle[1] + math.sin(angle) * outer * 0.3)
    end = (middle[0] + math.cos(angle) * outer * 0.8, middle[1] + math.sin(angle) * outer * 0.8)
    pen.line([foot, end], edge, canvas.unit * 0.0018)


def _leaves(canvas: Canvas, pen: Pen, middle: Point, fold: int) -> None:
    palette = canvas.palette
    count = fold // 2
    for index in range(count):
        angle = math.tau * (index + 0.5) / count
        for colour, size in (
            (palette.ramp[1], 1.0),
            (mix(palette.ramp[1], palette.ramp[2], 0.6), 0.72),
        ):
            length = canvas.unit * 0.36 * size
            pen.polygon(
                petal(middle, angle, canvas.unit * 0.28, length, canvas.unit * 0.13 * size, 1),
                colour,
            )


def _heart(canvas: Canvas, pen: Pen, middle: Point, radius: float) -> None:
    palette = canvas.palette
    pen.disc(middle, radius, mix(palette.deep, palette.accent, 0.25))
    golden = math.pi * (3 - math.sqrt(5))
    for seed in range(70):
        reach = radius * 0.92 * math.sqrt(seed / 70)
        place = (
            middle[0] + reach * math.cos(seed * golden),
            middle[1] + reach * math.sin(seed * golden),
        )
        pen.disc(place, radius * 0.065, mix(palette.accent, palette.pale, seed / 70))


def meadow(canvas: Canvas) -> Image.Image:
    """Paint stems with blossoms against the light."""
    palette, rng = canvas.palette, canvas.rng
    picture = canvas.vertical(
        [palette.pale, mix(palette.pale, palette.ramp[3], 0.6), palette.ramp[3]]
    )
    centre = (canvas.width * rng.uniform(0.3, 0.7), canvas.height * rng.uniform(0.25, 0.4))
    canvas.glow(picture, centre, canvas.unit * 0.55, mix(palette.sun, (255, 255, 255), 0.5), 0.85)
    flowers = (palette.accent, palette.second_accent, palette.ramp[2], palette.pale)
    for depth in range(3):
        nearness = depth / 2

        def paint(pen: Pen, nearness: float = nearness) -> None:
            for _ in range(26 - round(10 * nearness)):
                _stem(canvas, pen, nearness, rng.choice(flowers))

        picture = canvas.shapes(picture, paint)
        if depth == 0:
            picture = soften(picture, canvas.unit * 0.004)
    vignette(picture, 0.2, palette.deep)
    return picture


def _stem(canvas: Canvas, pen: Pen, nearness: float, flower: Rgb) -> None:
    palette, rng, unit = canvas.palette, canvas.rng, canvas.unit
    x, foot = canvas.width * rng.random(), canvas.height * 1.02
    tall = canvas.height * rng.uniform(0.25, 0.5) * (0.75 + 0.6 * nearness)
    lean = unit * rng.uniform(-0.1, 0.1)
    points = [(x + lean * t * t, foot - tall * t) for t in (i / 14 for i in range(15))]
    green = mix(palette.at(0.12 + 0.4 * (1 - nearness)), palette.ramp[3], 0.35 * (1 - nearness))
    pen.line(points, green, unit * (0.003 + 0.003 * nearness))
    for joint in (5, 8):
        angle = -math.pi / 2 + rng.choice((-1, 1)) * rng.uniform(0.5, 0.9)
        pen.polygon(petal(points[joint], angle, 0, unit * 0.1, unit * 0.022, 1), green)
    size = unit * rng.uniform(0.03, 0.055) * (0.7 + 0.5 * nearness)
    tone = mix(flower, palette.ramp[3], 0.45 * (1 - nearness))
    count = rng.choice((5, 6, 8, 9))
    turn = rng.random()
    for index in range(count):
        angle = math.tau * (index + turn) / count
        pen.polygon(
            petal(points[-1], angle, 0, size, size * 3.6 / count, 0.2),
            mix(tone, palette.deep, 0.12),
        )
        pen.polygon(petal(points[-1], angle, 0, size * 0.9, size * 2.7 / count, 0.2), tone)
    pen.disc(points[-1], size * 0.26, mix(palette.accent, palette.deep, 0.35))
