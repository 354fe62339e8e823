"""The page of profiles in a browser: headless Chromium, where there is one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from otlpfast.profiling import PprofServer, enable_pprof_http

pytest.importorskip("selenium", reason="no selenium: pip install --group browser")
from selenium.webdriver.common.keys import Keys

from .browsing import CHECKS, CHROMIUM, CONTRASTS, DRIVER, ONE_OF_EACH, Browser, chromium
from .pprof_clients import wall_in_use

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium or no chromedriver"),
    # Of selenium and urllib3, about sockets that they leave to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

PARKED = 7


@pytest.fixture(name="driver", scope="module")
def driver_fixture() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


def park_here(parked: threading.Event) -> None:
    parked.wait()


@pytest.fixture(name="server")
def server_fixture() -> Iterator[PprofServer]:
    """Of a process in which seven threads wait in a function of a known name."""
    parked = threading.Event()
    threads = [threading.Thread(target=park_here, args=(parked,), name="parked") for _ in range(PARKED)]
    for thread in threads:
        thread.start()
    try:
        with enable_pprof_http("127.0.0.1:0") as server:
            yield server
    finally:
        parked.set()
        for thread in threads:
            thread.join()


@pytest.fixture(name="browser")
def browser_fixture(driver: Any, server: PprofServer) -> Iterator[Browser]:
    browser = Browser(driver)
    browser.prefer("light")
    driver.get(server.url)
    browser.until("document.querySelector('#connection').dataset.state === 'live'")
    yield browser
    assert browser.complaints() == []
    browser.run("localStorage.clear()")
    driver.get("about:blank")


def begin(browser: Browser, name: str, seconds: str = "") -> None:
    browser.run(
        "const row = document.querySelector(`[data-name=${arguments[0]}]`);"
        "row.querySelector('.seconds').value = arguments[1];"
        "row.querySelector('.begin').click();",
        name,
        seconds,
    )


def take(browser: Browser, name: str, seconds: str = "") -> None:
    """Takes a profile and waits until its flame graph can be used."""
    begin(browser, name, seconds)
    browser.until(
        "document.querySelector('#viewer-title').textContent.startsWith(arguments[0])"
        " && document.querySelector('#view-flame svg[data-ready] .bar input')",
        f"{name},",
    )
    browser.until("document.querySelector('#progress').hidden")


def test_it_shows_counts_that_live(browser: Browser) -> None:
    count = "Number(document.querySelector('[data-name=threads] .count').textContent)"
    before = int(browser.run(f"return {count}"))
    assert before > PARKED
    parked = threading.Event()
    threads = [threading.Thread(target=park_here, args=(parked,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        browser.until(f"{count} >= arguments[0]", before + 2)  # a thread for a request comes and goes
    finally:
        parked.set()
        for thread in threads:
            thread.join()
    assert "heap in use" in browser.text("#figures") and "not sampled" in browser.text("#figures")
    assert browser.text("#facts").startswith("Process")
    browser.picture("profiles")


def test_a_profile_is_taken_and_its_flame_graph_zooms_and_searches(browser: Browser) -> None:
    take(browser, "threads")
    frames = "[...document.querySelectorAll('#view-flame g.f')].filter((g) => !g.hasAttribute('display'))"
    shown = browser.run(f"return {frames}.length")
    ours = f"{frames}.find((g) => g.textContent.includes('park_here'))"
    assert f"{PARKED}" in browser.run(f"return {ours}.querySelector('title').textContent")
    browser.run("document.querySelector('#view-flame .bar input').focus()")
    browser.press("park_here")
    browser.until("document.querySelectorAll('#view-flame .hit').length === 1")
    browser.press(*[Keys.BACKSPACE] * 9)
    browser.until("document.querySelectorAll('#view-flame .hit').length === 0")
    browser.run(f"{ours}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    browser.until(f"{frames}.length < arguments[0]", shown)
    width = "document.querySelector('#view-flame svg').getBoundingClientRect().width"
    browser.until(f"{ours}.querySelector('rect').getBoundingClientRect().width > 0.9 * {width}")
    browser.picture("profiles-flame")
    browser.run("document.querySelector('#view-flame .bar button').click()")
    browser.until(f"{frames}.length === arguments[0]", shown)


def test_a_profile_takes_its_time_with_progress(browser: Browser) -> None:
    begin(browser, "wall", "1.5")
    browser.until("!document.querySelector('#progress').hidden && document.querySelector('#bar').value > 0")
    assert browser.text("#progress-title") == "Taking wall"
    assert browser.run("return document.querySelector('.begin').disabled")
    browser.until("document.querySelector('#progress').hidden")
    assert browser.text("#viewer-title").startswith("wall, 1.5")
    assert not browser.run("return document.querySelector('.begin').disabled")


def test_one_that_is_cancelled_is_none(browser: Browser) -> None:
    begin(browser, "wall", "300")
    browser.until("document.querySelector('#bar').value > 0")
    browser.run("document.querySelector('#cancel').click()")
    browser.until("document.querySelector('#progress').hidden")
    assert browser.run("return document.querySelector('#viewer').hidden")
    assert browser.run("return document.querySelector('#trouble').hidden")
    take(browser, "wall", "0.2")


def test_what_is_wrong_is_said(browser: Browser) -> None:
    begin(browser, "wall", "301")
    browser.until("document.querySelector('#trouble').textContent.includes('at most 300 seconds')")
    with wall_in_use():
        begin(browser, "wall", "1")
        browser.until("document.querySelector('#trouble').textContent.includes('already in use')")
    assert "500" in browser.complaints()[0]
    take(browser, "heap", "0.2")
    assert browser.run("return document.querySelector('#trouble').hidden")


def test_the_table_is_sorted_and_searched(browser: Browser) -> None:
    take(browser, "threads")
    browser.run("document.querySelector('[data-view=top]').click()")
    functions = "[...document.querySelectorAll('#top tr')].map((row) => row.cells[0].textContent)"
    by_flat = browser.run(f"return {functions}")
    browser.run("document.querySelector('[data-by=cum]').click()")
    by_cum = browser.run(f"return {functions}")
    assert by_flat != by_cum and sorted(by_flat) == sorted(by_cum)
    browser.run("document.querySelector('#search').focus()")
    browser.press("park_here")
    browser.until(f"{functions}.length === 1 && {functions}[0].includes('test_profiling_page.py')")
    browser.press("nothing")
    browser.until("!document.querySelector('#no-top').hidden")
    browser.picture("profiles-top")


def test_profiles_taken_here_are_kept_and_can_be_downloaded(browser: Browser) -> None:
    take(browser, "threads")
    take(browser, "goroutine")
    assert browser.run("return document.querySelector('#taken').options.length") == 2
    browser.run(
        "const select = document.querySelector('#taken');"
        "select.value = '1'; select.dispatchEvent(new Event('change'));"
    )
    assert browser.text("#viewer-title").startswith("threads,")
    names = browser.run("return [...document.querySelectorAll('.file')].map((link) => link.download)")
    endings = [".pb.gz", ".speedscope.json", ".svg"]
    assert [name.endswith(ending) for name, ending in zip(names, endings, strict=True)] == [True] * 3
    assert all(name.startswith("threads-2") for name in names)
    assert browser.run(
        "return [...document.querySelectorAll('.file')].every((link) => link.href.startsWith('blob:'))"
    )


def test_by_keyboard(browser: Browser) -> None:
    browser.run("document.querySelector('[data-name=threads] .seconds').focus()")
    browser.press(Keys.ENTER)
    browser.until("document.activeElement.id === 'viewer-title'")
    seen = []
    for _ in range(5):
        browser.press(Keys.TAB)
        seen.append(
            browser.run(
                "const e = document.activeElement, s = getComputedStyle(e);"
                "const seen = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2;"
                "return [e.id || e.dataset.view, seen]"
            )
        )
    assert seen == [[name, True] for name in ("taken", "flame", "top", "about", "file-pprof")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser: Browser, scheme: str) -> None:
    browser.prefer(scheme)
    take(browser, "threads")
    for view in ("about", "top"):
        browser.run(f"document.querySelector('[data-view={view}]').click()")
        contrasts = browser.run(CONTRASTS.replace(".hidden", ".hidden, svg"))
        assert len(contrasts) > 50
        assert [(text, ratio) for ratio, text in contrasts if ratio < 4.5] == []
    browser.picture(f"profiles-{scheme}")


def test_what_a_screen_reader_needs_is_there(browser: Browser) -> None:
    take(browser, "threads")
    for view in ("top", "flame"):
        browser.run(f"document.querySelector('[data-view={view}]').click()")
        for what, check in CHECKS.items():
            culprits = browser.run(f"return ({check}).map((e) => e.outerHTML.slice(0, 100))")
            assert culprits == [], what
    for selector in ONE_OF_EACH:
        found = f"return [...document.querySelectorAll({selector!r})].filter((e) => !e.closest('svg')).length"
        assert browser.run(found) >= 1, selector


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_it_fits(browser: Browser, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.until("innerWidth === arguments[0]", width)
        take(browser, "threads")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        browser.picture(f"profiles-{width}")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_with_a_token_the_address_opens_the_page_and_forgets_it(driver: Any) -> None:
    with enable_pprof_http("127.0.0.1:0", "wonder-of-the-world") as server:
        browser = Browser(driver)
        driver.get(f"{server.url}?token=wonder-of-the-world")
        browser.until("document.querySelector('#connection').dataset.state === 'live'")
        assert driver.current_url == server.url
        assert "wonder" not in driver.page_source
        take(browser, "threads")
        assert browser.complaints() == []
        driver.get("about:blank")
