"""Paint skies: starry nights, nebulas with planets."""

from __future__ import annotations

import math
from functools import partial

from PIL import Image, ImageChops

from sandbox.paint.canvas import Canvas, Curve, Pen, Point, colourize, noise, soften, vignette, wave
from sandbox.paint.colour import Rgb, mix

POINTS = 120
STAR_COLOURS: tuple[Rgb, ...] = ((255, 255, 255), (255, 236, 205), (208, 226, 255))


def starry_night(canvas: Canvas) -> Image.Image:
    """Paint a night over hills with firs: stars, a milky way, a moon or an aurora."""
    palette, rng = canvas.palette, canvas.rng
    night = mix(palette.deep, (6, 8, 24), 0.6)
    glow = mix(palette.ramp[2], palette.ramp[3], 0.3)
    picture = canvas.vertical([night, palette.ramp[0], palette.ramp[1], glow])
    if canvas.has("aurora", "northern", "light") or rng.random() < 0.45:
        _aurora(canvas, picture)
    else:
        _milky_way(canvas, picture)
    picture = canvas.shapes(picture, lambda pen: scatter_stars(canvas, pen, 260))
    if not canvas.has("aurora"):
        _moon(canvas, picture)
    ground = mix(palette.deep, (4, 5, 14), 0.55)
    far = mix(ground, glow, 0.28)
    return canvas.shapes(picture, lambda pen: _firs(canvas, pen, far, ground))


def scatter_stars(canvas: Canvas, pen: Pen, count: int) -> None:
    """Draw stars of many sizes; a few large ones have rays."""
    rng, unit = canvas.rng, canvas.unit
    for _ in range(count):
        centre = (canvas.width * rng.random(), canvas.height * rng.random())
        size = unit * (0.0006 + 0.0022 * rng.random() ** 5)
        colour = mix(rng.choice(STAR_COLOURS), canvas.palette.ramp[2], rng.uniform(0, 0.55))
        pen.disc(centre, size, colour)
        if size > unit * 0.0021:
            star_rays(pen, centre, size * 5, size * 0.8, (255, 255, 255))


def star_rays(pen: Pen, centre: Point, length: float, width: float, colour: Rgb) -> None:
    """Draw a star with four rays."""
    x, y = centre
    points = []
    for corner in range(8):
        reach = length if corner % 2 == 0 else width
        angle = corner * math.pi / 4
        points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    pen.polygon(points, colour)


def _milky_way(canvas: Canvas, picture: Image.Image) -> None:
    palette, rng = canvas.palette, canvas.rng
    slope = rng.choice((-1, 1)) * rng.uniform(0.5, 1.1)
    middle = canvas.height * rng.uniform(0.3, 0.5)
    half = canvas.unit * 0.11

    def band(pen: Pen) -> None:
        rise = slope * canvas.width / 2
        pen.polygon(
            [
                (-canvas.width * 0.1, middle + rise * 1.2 - half),
                (canvas.width * 1.1, middle - rise * 1.2 - half),
                (canvas.width * 1.1, middle - rise * 1.2 + half),
                (-canvas.width * 0.1, middle + rise * 1.2 + half),
            ],
            255,
        )

    soft = soften(canvas.mask(band), canvas.unit * 0.08)
    cloud = noise(rng, picture.size, 5, 5, 0.62)
    cloud = cloud.point([min(255, max(0, (v - 70) * 2)) for v in range(256)])
    light = ImageChops.multiply(soft, cloud).point([round(v * 0.8) for v in range(256)])
    picture.paste(mix(palette.ramp[3], palette.accent, 0.35), (0, 0), light)


def _aurora(canvas: Canvas, picture: Image.Image) -> None:
    palette, rng = canvas.palette, canvas.rng
    for colour in (palette.accent, palette.ramp[3], palette.second_accent):
        drift, base = wave(rng, 3), canvas.height * rng.uniform(0.3, 0.62)
        mask = canvas.mask(partial(_curtain, canvas, drift, base))
        light = soften(mask, canvas.unit * 0.012)
        picture.paste(mix(colour, (255, 255, 255), 0.1), (0, 0), light)


def _curtain(canvas: Canvas, drift: Curve, base: float, pen: Pen) -> None:
    steps = 6
    for strip in range(POINTS):
        x = strip / POINTS
        foot = base + canvas.height * 0.12 * drift(x)
        tall = canvas.height * canvas.rng.uniform(0.2, 0.34)
        left, right = canvas.width * x, canvas.width * (x + 1.5 / POINTS)
        pen.box(left, foot, right, foot + tall * 0.06, 70)
        for part in range(steps):
            top, bottom = foot - tall * (part + 1) / steps, foot - tall * part / steps
            pen.box(left, top, right, bottom, round(150 * (1 - part / steps) ** 1.3))


def _moon(canvas: Canvas, picture: Image.Image) -> None:
    palette, rng = canvas.palette, canvas.rng
    radius = canvas.unit * rng.uniform(0.045, 0.085)
    centre = (canvas.width * rng.uniform(0.18, 0.82), canvas.height * rng.uniform(0.14, 0.34))
    light = mix(palette.sun, (255, 252, 240), 0.5)
    canvas.glow(picture, centre, radius * 5, light, 0.55)
    crescent = rng.random() < 0.5

    def shape(pen: Pen) -> None:
        pen.disc(centre, radius, 255)
        if crescent:
            pen.disc((centre[0] + radius * 0.45, centre[1] - radius * 0.2), radius * 0.85, 0)

    picture.paste(light, (0, 0), canvas.mask(shape))


def _firs(canvas: Canvas, pen: Pen, far: Rgb, near: Rgb) -> None:
    rng = canvas.rng
    for colour, level, tall, count in ((far, 0.8, 0.05, 46), (near, 0.9, 0.13, 26)):
        line = wave(rng, 3)

        def ground(x: float, line: Curve = line, level: float = level) -> float:
            return canvas.height * (level + 0.035 * line(x))

        outline = [(canvas.width * i / 60, ground(i / 60)) for i in range(61)]
        bottom = [(canvas.width, canvas.height), (0, canvas.height)]
        pen.polygon([*outline, *bottom], colour)
        for _ in range(count):
            x = rng.random()
            size = canvas.height * tall * rng.uniform(0.5, 1.2)
            fir(pen, (canvas.width * x, ground(x) + size * 0.08), size, colour)


def fir(pen: Pen, foot: Point, height: float, colour: Rgb) -> None:
    """Draw a fir tree as a silhouette."""
    x, y = foot
    for storey in range(5):
        top = y - height * (1 - storey * 0.17)
        low = top + height * 0.32
        half = height * (0.06 + 0.036 * storey)
        pen.polygon([(x, top), (x + half, low), (x, low - height * 0.05), (x - half, low)], colour)
    pen.box(x - height * 0.015, y - height * 0.1, x + height * 0.015, y, colour)


def nebula(canvas: Canvas) -> Image.Image:
    """Paint clouds of light between stars, and often a planet."""
    palette, rng = canvas.palette, canvas.rng
    size = (canvas.width, canvas.height)
    folds = ImageChops.difference(noise(rng, size, 3, 6, 0.55), noise(rng, size, 4, 5, 0.5))
    folds = folds.point([min(255, round(v * 2.6)) for v in range(256)])
    clouds = noise(rng, size, 3, 5, 0.5).point([min(255, max(0, (v - 60) * 2)) for v in range(256)])
    shape = ImageChops.multiply(ImageChops.invert(folds), clouds)
    space = mix(palette.deep, (4, 4, 16), 0.55)
    colours = [
        space,
        palette.ramp[0],
        palette.ramp[1],
        palette.ramp[2],
        palette.ramp[3],
        palette.pale,
    ]
    picture = colourize(shape, colours)
    hue = noise(rng, size, 2, 2).point([max(0, min(150, (v - 110) * 3)) for v in range(256)])
    tint = ImageChops.multiply(hue, shape)
    picture.paste(palette.accent, (0, 0), tint)
    for _ in range(3):
        place = (canvas.width * rng.random(), canvas.height * rng.random())
        canvas.glow(picture, place, canvas.unit * 0.12, (255, 255, 255), 0.35)
    picture = canvas.shapes(picture, lambda pen: scatter_stars(canvas, pen, 320))
    if canvas.has("planet", "saturn", "space", "cosmos", "world", "orbit") or rng.random() < 0.6:
        picture = planet(canvas, picture)
    vignette(picture, 0.35)
    return picture


def planet(canvas: Canvas, picture: Image.Image) -> Image.Image:
    """Paint a banded planet, lit from one side, with rings on every second one."""
    palette, rng = canvas.palette, canvas.rng
    radius = canvas.unit * rng.uniform(0.14, 0.24)
    centre = (canvas.width * rng.uniform(0.32, 0.68), canvas.height * rng.uniform(0.35, 0.65))
    side = round(radius * 2)
    box = (round(centre[0] - radius), round(centre[1] - radius))
    bands = noise(rng, (side, side), 2, 4).resize((3, side)).resize((side, side))
    swirl = Image.blend(bands, noise(rng, (side, side), 3, 4), 0.22)
    body = colourize(
        swirl, [palette.ramp[1], palette.accent, palette.ramp[3], palette.second_accent]
    )
    light = Image.radial_gradient("L").resize((side * 2, side * 2))
    corner = (round(side * 0.78), round(side * 0.72))
    shade = light.crop((*corner, corner[0] + side, corner[1] + side))
    body.paste(mix(palette.deep, (0, 0, 8), 0.7), (0, 0), shade.point(_shade_table()))
    disc = canvas.mask(lambda pen: pen.disc(centre, radius, 255))
    canvas.glow(picture, centre, radius * 2.1, palette.ramp[3], 0.4)
    ringed = rng.random() < 0.6
    tilt = rng.uniform(-0.5, 0.5)
    if ringed:
        picture = canvas.shapes(
            picture, lambda pen: _rings(canvas, pen, centre, radius, tilt, back=True)
        )
    picture.paste(body, box, disc.crop((*box, box[0] + side, box[1] + side)))
    if ringed:
        picture = canvas.shapes(
            picture, lambda pen: _rings(canvas, pen, centre, radius, tilt, back=False)
        )
    return picture


def _shade_table() -> list[int]:
    return [min(235, max(0, round((v - 45) * 2.3))) for v in range(256)]


def _rings(
    canvas: Canvas, pen: Pen, centre: Point, radius: float, tilt: float, *, back: bool
) -> None:
    palette = canvas.palette
    for ring in range(7):
        reach = radius * (1.45 + 0.11 * ring)
        colour = mix(palette.pale, palette.ramp[1 + ring % 3], 0.25 + 0.09 * ring)
        points = []
        for step in range(61):
            angle = math.pi * step / 60 + (math.pi if back else 0)
            x, y = reach * math.cos(angle), reach * 0.24 * math.sin(angle)
            points.append(
                (
                    centre[0] + x * math.cos(tilt) - y * math.sin(tilt),
                    centre[1] + x * math.sin(tilt) + y * math.cos(tilt),
                )
            )
        pen.line(points, colour, radius * (0.03 if ring % 3 else 0.055))
