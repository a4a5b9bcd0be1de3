"""Sphinx configuration. Build with ``python dev.py docs``."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import midas

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "midas-mosaic"
author = "The midas-mosaic developers"
copyright = "2026, the midas-mosaic developers"  # noqa: A001 - Sphinx's name
version = release = midas.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "sphinx_book_theme"
html_title = f"midas-mosaic {release}"
html_show_sourcelink = False
# The book theme has its search and menu in the sidebar; the strip on top that its parent brings would hold them once more.
html_theme_options = {"navbar_persistent": [], "navbar_start": [], "navbar_center": [], "navbar_end": []}
html_static_path = ["_css"]
html_css_files = ["custom.css"]

myst_enable_extensions = ["amsmath", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False

napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_attr_annotations = False  # the signature has the types
# A result is described in a sentence; numpydoc would take its first line for a type.
napoleon_custom_sections = [("Returns", "text"), ("Yields", "text")]


def _differences() -> str:
    """Table of the settings in which the default differs from the paper, so that the page is never out of date."""
    default, paper = midas.Config().to_dict(), midas.Config.paper().to_dict()
    rows = [
        f"| `{table}.{key}` | {_shown(value)} | {_shown(paper[table][key])} |"
        for table, values in default.items()
        for key, value in values.items()
        if value != paper[table][key]
    ]
    return "\n".join(["| setting | `Config()` | `Config.paper()` |", "|---|---|---|", *rows])


def _shown(value: object) -> str:
    return " ".join(f"{size:,}" for size in value) if isinstance(value, list) else f"`{value}`"


myst_substitutions = {"differences": _differences()}


# What a signature shows of types and defaults that only the code knows: pattern, replacement.
_PLAIN = (
    (r"[~\w.]*MuData \| [~\w.]*AnnData \| [~\w.]*Mapping\[str, [~\w.]*MuData \| [~\w.]*AnnData\]", "MosaicData"),
    (r"~?numpy\.ndarray\[tuple\[~?typing\.Any, \.\.\.\], ~?numpy\.dtype\[~?numpy\.(\w+)\]\]", r"NDArray[np.\1]"),
    (r"(?<![\w.])~?(?:[a-z_]\w*\.)+(?=[A-Z])", ""),  # midas.data.schema.MosaicSchema, pandas.core.frame.DataFrame
    (r" ?= ?(?:<[^<>]*>|\w+Path\('[^']*'\))", " = ..."),  # <factory>, <function f>, a folder of this machine
)
# Modules of which every public name has to be on a page; constants and submodules apart.
_WHOLE = ("pp", "transfer", "tl", "pl", "metrics", "metrics.tasks", "bridging", "bench")


def _check_all_documented(_: Sphinx) -> None:
    """Refuse a public name that the API pages lack."""
    pages = Path(__file__).parent.glob("api/*.md")
    words = set(re.findall(r"midas(?:\.\w+)+", "\n".join(page.read_text(encoding="utf-8") for page in pages)))
    wanted = [f"midas.{name}" for name in midas.__all__]
    for part in _WHOLE:
        names = import_module(f"midas.{part}").__all__
        wanted += [f"midas.{part}.{name}" for name in names if not name.isupper() and name != "tasks"]
    missing = [name for name in wanted if name not in words]
    if missing:
        msg = f"Expected every public name on a page of docs/api/, found none of: {', '.join(missing)}."
        raise ValueError(msg)


def _split_names(_app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Give each of ``a, b`` under Attributes an entry of its own, as napoleon does under Parameters."""
    if "Attributes" not in lines:
        return
    start = lines.index("Attributes") + 2
    split, rest = lines[:start], lines[start:]
    while rest:
        names = rest[0].split(", ")
        size = next((i for i, line in enumerate(rest) if i and line and not line.startswith(" ")), len(rest))
        entry = rest[1:size]
        split += (
            [line for name in names for line in (name, *entry)] if all(map(str.isidentifier, names)) else rest[:size]
        )
        rest = rest[size:]
    lines[:] = split


def _name_aliases(  # as `autodoc_type_aliases` should, but for unions
    _app: Sphinx,
    _what: str,
    _name: str,
    _object: object,
    _options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Write the long union of what can be read by its name, other types by their last name, and no default that is a place."""
    return signature and _plain(signature), returned and _plain(returned)


def _plain(signature: str) -> str:
    for pattern, replacement in _PLAIN:
        signature = re.sub(pattern, replacement, signature)
    return signature


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("builder-inited", _check_all_documented)
    app.connect("autodoc-process-docstring", _split_names, priority=400)  # before napoleon, at 500
    app.connect("autodoc-process-signature", _name_aliases)
