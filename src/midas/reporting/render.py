"""Render the content as HTML: one template with inlined style and script, and the plot's data as JSON."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.reporting.pictures import draw_curves, draw_mosaic, short

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.reporting.content import Content, Plot

_FILES = "midas.reporting.page"
# Only these could end a <script> element or start a comment; U+2028 and U+2029 end a line of JavaScript.
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(content: Content) -> str:
    """Write the page."""
    import jinja2  # noqa: PLC0415 - optional

    def refuse(_: str) -> str:
        raise jinja2.TemplateNotFound(_)

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: _file(name) if name.endswith(".html") else refuse(name)),
    )
    environment.filters["short"] = short
    template = environment.get_template("page.html")
    text: str = template.render(
        content=content,
        mosaic=draw_mosaic(content.summary),
        curves=draw_curves(content.training.history, content.training.best),
        style=_file("page.css"),
        scripts=[_file("scatter.js"), _file("page.js")],
        data=to_json(payload(content.plot)),
    )
    return text


def payload(plot: Plot) -> dict[str, Any]:
    """Data for the script, as plain values."""
    return {
        "xy": base64.b64encode(_square(plot.xy).tobytes()).decode("ascii"),
        "n": len(plot.xy),
        "names": list(plot.names),
        "columns": [asdict(column) for column in plot.columns],
        "features": [asdict(feature) for feature in plot.features],
        "label": plot.label,
    }


def to_json(values: object) -> str:
    """JSON that is safe inside a script element, whatever text it contains."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, code in _UNSAFE.items():
        text = text.replace(character, code)
    # Unpaired surrogates cannot be encoded as UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def _square(xy: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Coordinates in 65,535 steps, with one scale for both axes."""
    if not len(xy):
        return np.zeros((0, 2), dtype="<u2")
    low, high = xy.min(0), xy.max(0)
    size = max(float((high - low).max()), 1e-9)
    middle = (low + high) / 2
    return np.asarray(np.round(np.clip((xy - middle) / size + 0.5, 0, 1) * 65535), dtype="<u2")


def _file(name: str) -> str:
    return resources.files(_FILES).joinpath(name).read_text(encoding="utf-8")
