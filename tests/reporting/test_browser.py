"""The page in a real browser: it draws, answers, fits a phone, and asks nothing of the network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE

playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: no program chromium on PATH, nor named by CHROMIUM"
)

DRAWN = "() => window.midasPlot && midasPlot.lastMs > 0 && !midasPlot.waiting"
COLOURS = """() => { const seen = new Set(); for (const p of midasPlot.pixels) seen.add(p); return seen.size }"""
SUM = """() => { let h = 0; for (const p of midasPlot.pixels) h = (Math.imul(h, 31) + p) | 0; return h }"""
PIXELS = """() => { const c = midasPlot.canvas, image = c.getContext("2d").getImageData(0, 0, c.width, c.height);
  const d = new Uint32Array(image.data.buffer); return d.reduce((n, p) => n + (p !== d[0]), 0) }"""
PLACE = "i => { const [x, y] = midasPlot.toScreen(i), b = midasPlot.canvas.getBoundingClientRect(); return [b.x + x, b.y + y] }"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


class Visit:
    """An open page, and what it said and asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        )
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_function(DRAWN)

    def run(self, script: str, *arguments: object) -> Any:
        return self.page.evaluate(script, *arguments)


@pytest.fixture
def visit(browser: Any, page: Path) -> Iterator[Any]:
    visits: list[Visit] = []

    def go(**options: Any) -> Visit:
        visits.append(Visit(browser, page, **options))
        return visits[-1]

    yield go
    for one in visits:
        one.context.close()
        assert one.said == []
        assert one.asked == [page.as_uri()]


def test_the_plot_draws_and_shows_names_as_text(visit: Any) -> None:
    seen = visit()
    assert seen.run(PIXELS) > 500
    assert seen.run(COLOURS) > 4
    assert seen.page.title() == f"Title {HOSTILE}"
    assert seen.run("() => document.querySelectorAll('b:not(#tip b)').length") == 0


def test_colouring_changes_pixels_and_legend(visit: Any) -> None:
    seen = visit()
    pictures, legends = set(), set()
    values = seen.run("() => [...document.querySelectorAll('#by option')].map(o => o.value)")
    texts = seen.run("() => [...document.querySelectorAll('#by option')].map(o => o.textContent)")
    feature = next(value for value, text in zip(values, texts, strict=True) if text == "PROT01")
    columns = [
        value for value, text in zip(values, texts, strict=True) if text in {"batch", "note", "age", "cell_type"}
    ]
    assert len(columns) == 4
    for value in (*columns, feature):
        seen.page.select_option("#by", value)
        assert seen.run("() => document.getElementById('kind').disabled") == value.startswith("c")
        seen.settle()
        pictures.add(seen.run(SUM))
        legends.add(seen.page.inner_text("#legend"))
    seen.page.check("input[value=imputed]")
    seen.settle()
    pictures.add(seen.run(SUM))
    legends.add(seen.page.inner_text("#legend"))
    assert len(pictures) == len(legends) == 6
    assert any("missing" in legend for legend in legends)
    assert any("without a value" in legend for legend in legends)
    assert any("not measured" in legend for legend in legends)


def test_a_click_in_the_legend_leaves_one_group_in_front(visit: Any) -> None:
    seen = visit()
    before = seen.run(SUM)
    seen.page.locator("#legend button").first.click()
    seen.settle()
    assert seen.run(SUM) != before
    assert seen.page.locator("#legend button[aria-pressed=true]").count() == 1
    assert seen.run("() => document.activeElement.getAttribute('data-code')") is not None
    seen.page.keyboard.press("Enter")
    seen.settle()
    assert seen.run(SUM) == before


def test_hovering_shows_the_cell(visit: Any) -> None:
    seen = visit()
    seen.page.locator("#scatter").scroll_into_view_if_needed()
    hidden = seen.run(
        "() => JSON.parse(document.getElementById('data').textContent).names.findIndex(n => n.includes('<b>'))"
    )
    assert hidden >= 0
    seen.page.mouse.move(*seen.run(PLACE, hidden))
    said = seen.page.inner_text("#tip")
    name = seen.run("() => JSON.parse(document.getElementById('data').textContent).names[midasPlot.marked]")
    assert said.startswith(name[:8])
    for part in ("batch: ", "modalities: ", "cell_type: "):
        assert part in said
    seen.page.mouse.move(5, 5)
    assert seen.page.is_hidden("#tip")


def test_a_cell_is_found_by_name(visit: Any) -> None:
    seen = visit()
    seen.page.fill("#find", "</script><b>")
    assert "</script><b>" in seen.page.inner_text("#tip")
    seen.page.fill("#find", "no such cell")
    assert seen.page.is_hidden("#tip")


def test_keys_wheel_and_buttons_move_the_plot(visit: Any) -> None:
    seen = visit()
    start = seen.run("() => ({...midasPlot.view})")
    seen.page.focus("#scatter")
    for key in ("+", "ArrowLeft", "ArrowUp"):
        before = seen.run("() => ({...midasPlot.view})")
        seen.page.keyboard.press(key)
        assert seen.run("() => ({...midasPlot.view})") != before
    seen.page.keyboard.press("0")
    assert seen.run("() => ({...midasPlot.view})") == start
    seen.page.click("#in")
    assert seen.run("() => midasPlot.view.zoom") > 1
    seen.page.click("#whole")
    seen.page.focus("#scatter")
    seen.page.locator("#scatter").scroll_into_view_if_needed()
    x, y = seen.run(PLACE, 0)
    seen.page.mouse.move(x, y)
    seen.page.mouse.wheel(0, -200)
    seen.page.wait_for_function("() => midasPlot.view.zoom > 1.2")
    # What is under the pointer stays there.
    x2, y2 = seen.run(PLACE, 0)
    assert abs(x2 - x) < 2
    assert abs(y2 - y) < 2


def test_dark_follows_the_system_and_the_button(visit: Any) -> None:
    shade = "() => getComputedStyle(document.body).backgroundColor"
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert light.run(shade) == "rgb(255, 255, 255)"
    assert dark.run(shade) != light.run(shade)
    assert light.run("() => midasPlot.background") != dark.run("() => midasPlot.background")
    light.page.click("#theme")
    assert light.run(shade) == dark.run(shade)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(visit: Any, scheme: str) -> None:
    """Every colour of text against the page and the panels, by the measure of WCAG: 4.5 to 1."""
    seen = visit(color_scheme=scheme)
    ratios = seen.run(
        """() => { const style = getComputedStyle(document.documentElement), hex = n => style.getPropertyValue(n).trim();
        const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4, weights = [0.2126, 0.7152, 0.0722];
        const light = h => [1, 3, 5].map(k => linear(parseInt(h.slice(k, k + 2), 16) / 255))
          .reduce((s, v, k) => s + v * weights[k], 0);
        const out = {}, inks = ["--ink", "--quiet", "--link", "--good", "--look", "--poor", "--none"];
        for (const back of ["--back", "--panel"]) for (const ink of inks) {
          const [a, b] = [light(hex(back)), light(hex(ink))].sort((x, y) => y - x);
          out[ink + " on " + back] = (a + 0.05) / (b + 0.05); }
        return out }"""
    )
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


def test_a_phone_needs_no_sideways_scrolling(visit: Any) -> None:
    seen = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert seen.run("() => document.documentElement.scrollWidth") <= 360
    assert seen.run(PIXELS) > 500
    seen.page.locator("#scatter").scroll_into_view_if_needed()
    seen.page.touchscreen.tap(*seen.run(PLACE, 50))
    assert seen.page.is_visible("#tip")


def test_every_control_and_picture_has_a_name(visit: Any) -> None:
    seen = visit()
    nameless = seen.run(
        """() => [...document.querySelectorAll("button, select, input, svg, canvas, [role=region]")].filter(e => !(
        e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || (e.labels && e.labels.length)
        || e.textContent.trim())).length"""
    )
    assert nameless == 0
    assert seen.run(
        "() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.length === new Set(ids).size }"
    )
