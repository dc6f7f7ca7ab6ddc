"""Name the styles and the words of a prompt that call for them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from PIL import Image

from sandbox.paint.canvas import Canvas
from sandbox.paint.styles import flora, flow, form, land, sky

Style = Callable[[Canvas], Image.Image]

STYLES: dict[str, Style] = {
    "ridges": land.ridges,
    "dunes": land.dunes,
    "paper-cut": land.paper_cut,
    "starry-night": sky.starry_night,
    "nebula": sky.nebula,
    "ribbons": flow.ribbons,
    "scalloped-sea": flow.scalloped_sea,
    "blossom": flora.blossom,
    "meadow": flora.meadow,
    "tiles": form.tiles,
    "facets": form.facets,
    "sunburst": form.sunburst,
    "city": form.city,
}

STYLE_WORDS: dict[str, str] = {
    "ridges": "landscape mountain alps peak hill valley mist fog horizon island castle",
    "dunes": "dune desert sand sahara camel pyramid mars",
    "paper-cut": "paper layer topographic map cave canyon organic cell lava agate",
    "starry-night": "night star starry moon aurora forest fir camp wolf owl winter",
    "nebula": "nebula space galaxy cosmos cosmic planet universe astronaut dream dreamy saturn",
    "ribbons": "silk ribbon flow fluid abstract music wind marble liquid dance river",
    "scalloped-sea": "sea ocean wave japan japanese koi fish whale boat ship ukiyo",
    "blossom": "flower blossom bloom rose lotus mandala petal botanical dahlia butterfly",
    "meadow": "meadow garden spring field grass poppy tulip bee rabbit wildflower",
    "tiles": "bauhaus geometric pattern tile mosaic minimal minimalist poster modern quilt",
    "facets": "crystal polygon diamond origami glass gem prism ice fox cat lion tiger",
    "sunburst": "sun sunset sunrise deco retro temple beach summer king queen phoenix",
    "city": "city skyline urban street tokyo cyberpunk neon building tower robot car",
}


def choose_style(words: Iterable[str], rng: random.Random) -> str:
    """Choose among the styles that the prompt's words call for, else by chance."""
    given = set(words)
    called = [name for name, calls in STYLE_WORDS.items() if not given.isdisjoint(calls.split())]
    return rng.choice(called or list(STYLES))
