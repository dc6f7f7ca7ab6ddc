"""Paint places: ridges in haze, a night over firs, a rising sun, a city, clouds between stars."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageChops

from sandbox.paint.canvas import (
    Canvas,
    Curve,
    Rgb,
    colourize,
    curve,
    levels,
    mix,
    noise,
    soft,
    under,
    wave,
)

STAR_COLOURS: tuple[Rgb, ...] = ((255, 255, 255), (255, 236, 205), (208, 226, 255))


def ridges(canvas: Canvas) -> Image.Image:
    """Paint ranges of hills or mountains that pale with distance, under a sun or moon."""
    palette, rng = canvas.palette, canvas.rng
    sharp = not canvas.words.isdisjoint({"mountain", "alps", "peak"}) or rng.random() < 0.4
    horizon = rng.uniform(0.42, 0.58)
    sky = mix(palette.ramp[2], palette.ramp[1], 0.35)
    canvas.gradient([sky, palette.ramp[3], palette.pale, palette.pale])
    canvas.sun(horizon)
    layers = rng.randint(5, 7)
    for layer in range(layers):
        near = layer / (layers - 1)
        top = horizon + (1.02 - horizon) * near**1.25 * 0.82
        reach = 0.07 + 0.09 * (1 - abs(near - 0.4))
        line = curve(_crest(rng) if sharp else wave(rng, 3, 0.42), top, -reach)
        body = palette.at(0.78 * (1 - near) ** 0.85)
        haze = mix(body, palette.pale, 0.22 * (1 - near))
        canvas.gradient([mix(body, palette.ramp[3], 0.12), body, haze], top - reach, line)
    return canvas.finished()


def _crest(rng: random.Random) -> Curve:
    smooth, fine = wave(rng, 5, 0.55), wave(rng, 7, 0.75)
    return lambda x: 1.1 - 2.0 * abs(smooth(x)) ** 0.8 + 0.22 * fine(x * 3)


def starry_night(canvas: Canvas) -> Image.Image:
    """Paint a night over hills with firs: stars, a milky way or an aurora, a moon."""
    palette, rng = canvas.palette, canvas.rng
    night = mix(palette.deep, (6, 8, 24), 0.6)
    glow = mix(palette.ramp[2], palette.ramp[3], 0.3)
    canvas.gradient([night, palette.ramp[0], palette.ramp[1], glow])
    if "aurora" in canvas.words or rng.random() < 0.45:
        _aurora(canvas)
    else:
        _milky_way(canvas)
    _stars(canvas, 260)
    _moon(canvas)
    ground = mix(palette.deep, (4, 5, 14), 0.55)
    _firs(canvas, mix(ground, glow, 0.28), level=0.8, tall=0.05, count=46)
    _firs(canvas, ground, level=0.9, tall=0.13, count=26)
    return canvas.finished(vignette=0)


def _stars(canvas: Canvas, count: int) -> None:
    """Draw stars of many sizes; a few large ones have rays."""
    rng = canvas.rng
    for _ in range(count):
        x, y, size = rng.random(), rng.random(), 0.0006 + 0.0022 * rng.random() ** 5
        colour = mix(rng.choice(STAR_COLOURS), canvas.palette.ramp[2], rng.uniform(0, 0.55))
        canvas.disc((x, y), size, colour)
        if size > 0.0021:
            reaches = [size * (5 if corner % 2 == 0 else 0.8) for corner in range(8)]
            angles = [corner * math.pi / 4 for corner in range(8)]
            rays = [
                (x + reach * math.cos(angle), y + reach * math.sin(angle))
                for reach, angle in zip(reaches, angles, strict=True)
            ]
            canvas.polygon(rays, (255, 255, 255))


def _milky_way(canvas: Canvas) -> None:
    palette, rng = canvas.palette, canvas.rng
    rise, middle = rng.choice((-1, 1)) * rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.5)
    band = canvas.mask()
    band.line([(-0.1, middle + rise), (1.1, middle - rise)], 0.2, 255)
    cloud = levels(noise(rng, 5, 5, 0.62), 70, 1.6)
    light = ImageChops.multiply(soft(band.image, 0.08).resize(cloud.size), cloud)
    canvas.paint(mix(palette.ramp[3], palette.accent, 0.35), light)


def _aurora(canvas: Canvas) -> None:
    palette, rng = canvas.palette, canvas.rng
    strips, parts = 120, 6
    for colour in (palette.accent, palette.ramp[3], palette.second_accent):
        drift, base, curtain = wave(rng, 3), rng.uniform(0.3, 0.62), canvas.mask()
        for strip in range(strips):
            left, right = strip / strips, (strip + 1.5) / strips
            foot, tall = base + 0.12 * drift(left), rng.uniform(0.2, 0.34)
            curtain.box(left, foot, right, foot + tall * 0.06, 70)
            for part in range(parts):
                top, bottom = foot - tall * (part + 1) / parts, foot - tall * part / parts
                curtain.box(left, top, right, bottom, round(150 * (1 - part / parts) ** 1.3))
        canvas.paint(mix(colour, (255, 255, 255), 0.1), soft(curtain.image, 0.012))


def _moon(canvas: Canvas) -> None:
    rng, radius = canvas.rng, canvas.rng.uniform(0.045, 0.085)
    x, y = rng.uniform(0.18, 0.82), rng.uniform(0.14, 0.34)
    light = mix(canvas.palette.sun, (255, 252, 240), 0.5)
    canvas.glow((x, y), radius * 5, light, 0.55)
    shape = canvas.mask()
    shape.disc((x, y), radius, 255)
    if rng.random() < 0.5:  # a crescent
        shape.disc((x + radius * 0.45, y - radius * 0.2), radius * 0.85, 0)
    canvas.paint(light, shape.image)


def _firs(canvas: Canvas, colour: Rgb, *, level: float, tall: float, count: int) -> None:
    rng, line = canvas.rng, wave(canvas.rng, 3)
    canvas.polygon(under(curve(line, level, 0.035)), colour)
    for _ in range(count):
        x, size = rng.random(), tall * rng.uniform(0.5, 1.2)
        foot = level + 0.035 * line(x) + size * 0.08
        for storey in range(5):
            top, half = foot - size * (1 - storey * 0.17), size * (0.06 + 0.036 * storey)
            low = top + size * 0.32
            canvas.polygon(
                [(x, top), (x + half, low), (x, low - size * 0.05), (x - half, low)], colour
            )
        canvas.box(x - size * 0.015, foot - size * 0.1, x + size * 0.015, foot, colour)


def sunburst(canvas: Canvas) -> Image.Image:
    """Paint rays and arcs around a sun that rises from the sea, in the manner of Art Deco."""
    palette, rng = canvas.palette, canvas.rng
    centre = (rng.uniform(0.4, 0.6), rng.uniform(0.62, 0.78))
    count = rng.choice((24, 28, 32, 36))
    for ray in range(count):
        tone = mix(palette.ramp[1 if ray % 2 else 2], palette.deep, 0.15)
        canvas.slice(centre, 1.5, 360 * ray / count, 360 * (ray + 1) / count, tone)
    arcs = 9
    for arc in range(arcs):
        radius = 0.52 * (1 - arc / arcs)
        colour = palette.at(0.15 + 0.85 * arc / arcs)
        canvas.disc(centre, radius, mix(colour, palette.accent, 0 if arc % 3 else 0.35))
        canvas.ring(centre, radius, 0.003, palette.pale)
    rows = 7
    for row in range(rows):
        line = curve(wave(rng, 3), centre[1] + (1 - centre[1]) * row / rows, 0.014)
        colour = mix(palette.ramp[1], palette.deep, row / rows)
        canvas.polygon(under(line), colour)
        canvas.line(line, 0.003, mix(palette.ramp[3], colour, 0.15 + 0.1 * row))
    return canvas.finished()


def city(canvas: Canvas) -> Image.Image:
    """Paint a city at dusk with lit windows, mirrored in water."""
    palette, rng, side = canvas.palette, canvas.rng, canvas.side
    shore = rng.uniform(0.7, 0.78)
    canvas.gradient([palette.deep, palette.ramp[1], palette.ramp[2], palette.ramp[3]])
    radius, centre = rng.uniform(0.1, 0.2), (rng.uniform(0.25, 0.75), shore - rng.uniform(0.2, 0.4))
    canvas.glow(centre, radius * 3, palette.sun, 0.55)
    canvas.disc(centre, radius, mix(palette.sun, palette.pale, 0.3))
    for near in (0, 0.5, 1):
        _houses(canvas, shore, near)
    first = round(shore * side)
    above = canvas.image.crop((0, 2 * first - side, side, first))
    mirrored = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    canvas.gradient([mix(palette.ramp[2], palette.ramp[3], 0.5), palette.deep], shore)
    water = canvas.image.crop((0, first, side, side))
    canvas.image.paste(Image.blend(water, mirrored, 0.5), (0, first))
    canvas.box(0, shore - 0.004, 1, shore, mix(palette.deep, palette.ramp[1], 0.2))
    for _ in range(70):
        x, y, length = rng.random(), rng.random() ** 1.4, rng.uniform(0.02, 0.14)
        y = shore + (1 - shore) * y
        tone = mix(palette.deep, palette.ramp[2], rng.uniform(0.1, 0.6))
        canvas.line([(x, y), (x + length, y)], 0.002, tone)
    return canvas.finished(vignette=0)


def _houses(canvas: Canvas, shore: float, near: float) -> None:
    palette, rng = canvas.palette, canvas.rng
    wall = mix(mix(palette.ramp[2], palette.ramp[1], near), palette.deep, 0.25 + 0.6 * near)
    lamps = (palette.accent, palette.pale, palette.second_accent, palette.accent)
    x, pane = -0.02, 0.0075
    while x < 1:
        width, tall = rng.uniform(0.05, 0.11), rng.uniform(0.12, 0.5 - 0.22 * near)
        top, middle = shore - tall, x + width / 2
        canvas.box(x, top, x + width, shore, wall)
        if rng.random() < 0.25:
            canvas.polygon([(x, top), (middle, top - width * 0.6), (x + width, top)], wall)
        elif rng.random() < 0.3:
            canvas.line([(middle, top), (middle, top - 0.05)], 0.003, wall)
        for row in range(int(tall / (pane * 2.6)) - 1 if near else 0):
            for column in range(int(width / (pane * 2.2)) - 1):
                if rng.random() < 0.38:
                    left, upper = x + pane * (1.1 + 2.2 * column), top + pane * (1.4 + 2.6 * row)
                    lamp = mix(rng.choice(lamps), wall, rng.uniform(0, 0.5))
                    canvas.box(left, upper, left + pane, upper + pane * 1.5, lamp)
        x += width + rng.choice((0, 0, 0.006, 0.02))


def nebula(canvas: Canvas) -> Image.Image:
    """Paint clouds of light between stars."""
    palette, rng = canvas.palette, canvas.rng
    folds = levels(ImageChops.difference(noise(rng, 3, 6, 0.55), noise(rng, 4, 5)), 0, 2.6)
    clouds = levels(noise(rng, 3, 5), 60, 2)
    shape = ImageChops.multiply(ImageChops.invert(folds), clouds)
    space = mix(palette.deep, (4, 4, 16), 0.55)
    everywhere = Image.new("L", shape.size, 255)
    canvas.paint(colourize(shape, [space, *palette.ramp]), everywhere)
    tint = ImageChops.multiply(levels(noise(rng, 2, 2), 110, 3, 150), shape)
    canvas.paint(palette.accent, tint)
    for _ in range(3):
        canvas.glow((rng.random(), rng.random()), 0.12, (255, 255, 255), 0.35)
    _stars(canvas, 320)
    return canvas.finished(vignette=0.35)
