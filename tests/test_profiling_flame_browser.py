"""Flame graphs in headless Chromium: alone in a file and in a page, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otlpfast.profiling import Profile
from otlpfast.profiling._flame import flame_graph, inlined

from .profiles import DECODE, GET, HOSTILE, HOSTILE_NAMES, MAIN, RENDER, SHOP, cpu

pytest.importorskip("selenium", reason="no selenium: pip install --group browser")
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from .browsing import CHECKS, CHROMIUM, DRIVER, Browser, chromium

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium or no chromedriver"),
    # Of selenium and urllib3, about sockets that they leave to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

NAME = "querySelector('title').textContent.split('\\n')[0]"
GROUP = f"[...document.querySelectorAll('g.f')].find((g) => g.{NAME} === arguments[0])"
SEEN = f"[...document.querySelectorAll('g.f:not([display])')].map((g) => g.{NAME})"
FOCUSED = "document.activeElement.querySelector('title')?.textContent.split('\\n')[0]"
# The contrast of each frame's text with its frame, and of other texts with the ground (WCAG 2.2, 1.4.3).
CONTRASTS = """
const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
function luminance(colour) {
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const [x, y, z] = parts(colour).map((v) => linear(v / 255));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
}
const ground = getComputedStyle(document.querySelector('.ground')).fill;
return [...document.querySelectorAll('text')].filter((t) => t.textContent).map((text) => {
  const rect = text.closest('g.f')?.querySelector('rect');
  const behind = rect ? getComputedStyle(rect).fill : ground;
  const [light, dark] = [behind, getComputedStyle(text).fill].map(luminance).sort((a, b) => b - a);
  return [text.textContent, (light + 0.05) / (dark + 0.05)];
});
"""


@pytest.fixture(name="driver", scope="module")
def driver_fixture() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(name="browser")
def browser_fixture(driver: Any, tmp_path: Path) -> Iterator[Browser]:
    """With the flame graph of a shop."""
    browser = Browser(driver)
    browser.prefer("light")
    show(browser, tmp_path, SHOP)
    yield browser
    assert browser.complaints() == []
    driver.get("about:blank")


def show(browser: Browser, directory: Path, profile: Profile) -> None:
    browser.driver.get(profile.save(directory / "profile.svg").as_uri())
    browser.until("document.querySelector('svg.otlpfast-flame').dataset.ready === ''")


def box(browser: Browser, name: str) -> tuple[float, float]:
    """Where a frame begins, and its width, in pixels of the window."""
    script = f"const box = {GROUP}.querySelector('rect').getBoundingClientRect(); return [box.x, box.width]"
    x, width = browser.run(script, name)
    return x, width


def click(browser: Browser, name: str) -> None:
    browser.run(f"{GROUP}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))", name)


def test_it_is_as_wide_as_the_window(browser: Browser) -> None:
    inner = browser.run("return document.documentElement.clientWidth")
    x, width = box(browser, "all")
    assert x == pytest.approx(10, abs=1) and width == pytest.approx(inner - 20, abs=2)
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 500, "height": 800, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        browser.until("Math.abs(document.querySelector('g.f rect').getBoundingClientRect().width - 480) < 2")
        assert browser.run("return document.documentElement.scrollWidth") <= 500
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.picture("flame")


def test_a_click_zooms_and_a_button_goes_back(browser: Browser) -> None:
    before, whole = box(browser, "views.<lambda>"), box(browser, "all")
    assert browser.run("return document.querySelector('button').disabled")
    click(browser, "views.render")
    assert box(browser, "views.render") == pytest.approx(whole, abs=1)
    assert box(browser, "views.Orders.get") == pytest.approx(whole, abs=1)
    assert box(browser, "views.<lambda>")[1] == pytest.approx(whole[1] * 123 / 623, abs=1)
    assert set(browser.run(f"return {SEEN}")) == {
        "all",
        "manage.main",
        "views.Orders.get",
        "views.render",
        "views.<lambda>",
    }
    browser.run("document.querySelector('button').click()")
    assert box(browser, "views.<lambda>") == pytest.approx(before, abs=0.1)
    assert len(browser.run(f"return {SEEN}")) == 10


def test_a_real_click_hits_what_is_under_it(browser: Browser) -> None:
    rect = browser.run(f"return {GROUP}.querySelector('rect')", "json.decoder.JSONDecoder.decode")
    ActionChains(browser.driver).move_to_element(rect).perform()
    detail = "document.querySelector('.detail').textContent"
    browser.until(f"{detail}.startsWith('json.decoder.JSONDecoder.decode   770ms')")
    assert browser.run(f"return {detail}").endswith("/usr/lib/python3.11/json/decoder.py:330")
    ActionChains(browser.driver).click(rect).perform()
    browser.until("document.querySelector('button').disabled === false")
    assert "views.render" not in browser.run(f"return {SEEN}")


def test_search_highlights_and_tells_how_much(browser: Browser) -> None:
    hits = f"[...document.querySelectorAll('.hit')].map((rect) => rect.parentNode.{NAME})"
    plain = browser.run(f"return getComputedStyle({GROUP}.querySelector('rect')).fill", "views.render")
    browser.run("document.querySelector('input').focus()")
    browser.press("RENDER|lambda")
    browser.until(
        "document.querySelector('output').textContent === 'Matched: 82.96 %'"
    )  # the inner not twice
    assert browser.run(f"return {hits}") == ["views.render", "views.<lambda>"]
    assert plain != browser.run(
        f"return getComputedStyle({GROUP}.querySelector('rect')).fill", "views.render"
    )
    browser.press(*[Keys.BACKSPACE] * 20, "decode|all$")
    browser.until("document.querySelector('output').textContent === 'Matched: 100.00 %'")
    browser.press(*[Keys.BACKSPACE] * 20, "(")  # no regular expression: what it says
    browser.until("document.querySelector('output').textContent === 'Matched: 0.00 %'")
    browser.press(Keys.ESCAPE)
    browser.until("document.querySelector('output').textContent === ''")
    assert browser.run(f"return {hits}") == []


def test_by_keyboard(browser: Browser) -> None:
    browser.run("document.querySelector('input').focus()")
    browser.press(Keys.TAB)
    seen = [browser.run(f"return {FOCUSED}")]
    for key in (
        Keys.ARROW_DOWN,
        Keys.ARROW_DOWN,
        Keys.ARROW_RIGHT,
        Keys.ARROW_LEFT,
        Keys.ARROW_DOWN,
        Keys.ARROW_UP,
    ):
        browser.press(key)
        seen.append(browser.run(f"return {FOCUSED}"))
    main, get = "manage.main", "views.Orders.get"
    assert seen == ["all", main, get, "tree.walk", get, "views.render", get]
    assert browser.run("return document.querySelector('.detail').textContent").startswith(f"{get}   7.40s")
    stroke = browser.run("return getComputedStyle(document.activeElement.querySelector('rect')).strokeWidth")
    assert stroke == "3px"
    browser.press(Keys.ENTER)
    assert box(browser, get) == pytest.approx(box(browser, "all"), abs=1)
    assert "tree.walk" not in browser.run(f"return {SEEN}")
    browser.press(Keys.ESCAPE)
    assert "tree.walk" in browser.run(f"return {SEEN}")
    for find in ("/", "f"):
        browser.run(f"{GROUP}.focus()", get)
        keys = ActionChains(browser.driver)
        if find == "f":
            keys.key_down(Keys.CONTROL).send_keys(find).key_up(Keys.CONTROL)
        else:
            keys.send_keys(find)
        keys.perform()
        assert browser.run("return document.activeElement.type") == "search"
        browser.press("walk")
        browser.until("document.querySelector('output').textContent === 'Matched: 1.20 %'")
        browser.press(Keys.ESCAPE)
        assert browser.run(f"return {FOCUSED}") == get


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser: Browser, tmp_path: Path, scheme: str) -> None:
    light = browser.run("return getComputedStyle(document.querySelector('.ground')).fill")
    browser.prefer(scheme)
    dark = browser.run("return getComputedStyle(document.querySelector('.ground')).fill")
    assert (light != dark) == (scheme == "dark")
    changed = [
        ((RENDER, MAIN), 70, 20),
        ((DECODE, MAIN), 5, 55),
        ((GET, MAIN), 81, 80),
        ((GET, RENDER, MAIN), 80, 81),
        *(((frame,), more, less) for frame in (GET, RENDER) for more, less in ((9, 5), (5, 9))),
    ]
    later, earlier = (cpu(*((row[0], row[at], ()) for row in changed)) for at in (1, 2))
    for profile in (SHOP, later.diff(earlier)):
        show(browser, tmp_path, profile)
        contrasts = browser.run(CONTRASTS)
        assert len(contrasts) > 8
        assert [pair for pair in contrasts if pair[1] < 4.5] == []
    # Every colour that a frame can have, whether it is in these or not.
    kinds = [f"{letter}{n}" for letter, shades in (("a", 5), ("l", 5), ("s", 3)) for n in range(shades)]
    kinds += [f"{letter}{n}" for letter in "rb" for n in range(1, 5)] + ["m", "hit"]
    for kind in kinds:
        browser.run("document.querySelector('g.f rect').setAttribute('class', arguments[0])", kind)
        [ratio] = [ratio for text, ratio in browser.run(CONTRASTS) if text == "all"]
        assert ratio > 4.5, kind
    browser.picture(f"flame-{scheme}")


def test_names_stay_texts(browser: Browser, tmp_path: Path) -> None:
    show(browser, tmp_path, HOSTILE)
    assert HOSTILE_NAMES[0] in browser.run(f"return {SEEN}")
    click(browser, HOSTILE_NAMES[0])
    assert browser.run("return document.querySelectorAll('script').length") == 1


def test_what_a_screen_reader_needs_is_there(browser: Browser) -> None:
    for what, check in CHECKS.items():
        culprits = browser.run(f"return ({check}).map((e) => e.outerHTML.slice(0, 100))")
        assert culprits == [], what
    assert browser.run("return document.querySelectorAll('g.f[tabindex]').length") == 1


PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>two</title>{head}</head>
<body><button id="mine">a button of the page</button>{body}</body></html>"""


@pytest.mark.parametrize("alone", [True, False], ids=["whole files", "files of the page"])
def test_in_a_page(browser: Browser, tmp_path: Path, alone: bool) -> None:
    graphs = flame_graph(SHOP, alone=alone) + flame_graph(SHOP, "samples", alone=alone)
    head = ""
    if not alone:  # as a page that allows no script and no style inside of itself
        for name in ("flame.js", "flame.css"):
            (tmp_path / name).write_text(inlined(name))
        policy = "default-src 'none'; script-src file:; style-src file:"
        head = (
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<link rel="stylesheet" href="flame.css"><script defer src="flame.js"></script>'
        )
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(head=head, body=graphs), "utf-8")
    browser.driver.get(page.as_uri())
    browser.until("document.querySelectorAll('svg[data-ready] input').length === 2")
    click(browser, "views.render")
    widths = browser.run(
        "return [...document.querySelectorAll('g.f')]"
        ".filter((g) => g.textContent.startsWith('views.render'))"
        ".map((g) => g.querySelector('rect').getBoundingClientRect().width)"
    )
    assert widths[0] > widths[1] * 1.1  # only one of them
    # The page's own keys stay the page's.
    browser.run("document.querySelector('#mine').focus()")
    browser.press("/")
    assert browser.run("return document.activeElement.id") == "mine"
    browser.run(f"{GROUP}.focus(); return 0", "all")
    assert browser.run("return getComputedStyle(document.querySelector('.a0, .a1, .a2, .a3, .a4')).fill") != (
        "rgb(0, 0, 0)"
    )
