"""The live page in headless Chromium: it loads, lives, can be used by keyboard, and can be read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

import otlpfast
from otlpfast import BatchSpanProcessor, TracerProvider, _tap, web
from otlpfast.web import listener
from otlpfast.web.exporter import PageExporter

pytest.importorskip("selenium", reason="no selenium: pip install --group browser")
from selenium.webdriver.common.keys import Keys

from .browsing import CHECKS, CHROMIUM, CONTRASTS, DRIVER, ONE_OF_EACH, Browser, chromium

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium or no chromedriver"),
    # Of selenium and urllib3, about sockets that they leave to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(name="driver", scope="module")
def driver_fixture() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(name="tracing")
def tracing_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Makes a trace with each call, by the only processor that the page knows of."""
    monkeypatch.setattr(_tap, "_processors", [])
    provider = TracerProvider(shutdown_on_exit=False)
    processor = BatchSpanProcessor(PageExporter(), schedule_delay_millis=3_600_000)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("tests", "1.0")

    def make() -> None:
        with tracer.start_as_current_span("GET /orders", kind=SpanKind.SERVER) as root:
            root.set_attribute("http.route", "/orders")
            with tracer.start_as_current_span("SELECT orders", kind=SpanKind.CLIENT) as query:
                query.set_attribute("db.query.text", "SELECT * FROM orders <script>alert(1)</script>")
                query.add_event("rows", {"count": 3})
            try:
                with tracer.start_as_current_span("render"):
                    raise ValueError("no such template")
            except ValueError:
                pass

    yield make
    processor.shutdown()


@pytest.fixture(name="browser")
def browser_fixture(driver: Any, tracing: Callable[[], None]) -> Iterator[Browser]:
    """With a page that is connected and shows a trace."""
    with web.serve() as page:
        browser = Browser(driver)
        browser.prefer("light")
        driver.get(page.url)
        browser.until("document.querySelector('#connection').dataset.state === 'live'")
        tracing()
        browser.until("document.querySelectorAll('#traces tr').length === 1")
        yield browser
        assert browser.complaints() == []
        browser.run("localStorage.clear()")
        driver.get("about:blank")


def number(browser: Browser, selector: str) -> int:
    return int(browser.text(selector).replace(",", ""))


def test_it_shows_what_there_is(browser: Browser) -> None:
    browser.until("document.querySelector('#ended').textContent === '3'")
    browser.until("document.querySelectorAll('#operations tr').length === 3")
    assert browser.text("#balance") == "balances"
    assert browser.text("#traces tr th button") == "GET /orders"
    assert browser.text("#traces tr .error-tag") == "error"
    assert otlpfast.__version__ in browser.text("#facts") and "this page alone" in browser.text("#facts")
    assert "span buffers" in browser.text("#pools")


def test_it_lives_while_spans_are_made(browser: Browser, tracing: Callable[[], None]) -> None:
    ending = threading.Event()

    def work() -> None:
        while not ending.wait(0.05):
            tracing()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(3):
            before, traces = (
                number(browser, "#ended"),
                browser.run("return document.querySelectorAll('#traces tr').length"),
            )
            browser.until(
                "Number(document.querySelector('#ended').textContent.replace(',', '')) > arguments[0]", before
            )
            browser.until("document.querySelectorAll('#traces tr').length > arguments[0]", traces)
        browser.until("document.querySelector('#chart .line').getAttribute('d').includes('L')")
    finally:
        ending.set()
        thread.join()
    browser.until("document.querySelector('#balance').textContent === 'balances'")
    browser.picture("light")


def test_a_stream_that_was_cut_comes_back(browser: Browser, tracing: Callable[[], None]) -> None:
    browser.until("performance.getEntriesByType('resource').length > 0")
    [server] = listener.served
    assert server._listener is not None
    for connection in list(server._listener._connections):
        connection.shutdown(2)
    tracing()
    browser.until("document.querySelectorAll('#traces tr').length === 2")
    browser.until("document.querySelector('#connection').dataset.state === 'live'")
    browser.driver.get_log("browser")  # where the cut is told of


def test_the_waterfall_by_keyboard(browser: Browser) -> None:
    browser.run("document.querySelector('#only-errors').focus()")
    browser.press(Keys.TAB, Keys.TAB)  # past the list, which can be scrolled, to its first trace
    assert browser.run("return document.activeElement.textContent") == "GET /orders"
    browser.press(Keys.ENTER)
    browser.until("document.querySelector('#trace').open")
    browser.until("document.querySelectorAll('#waterfall button.span').length === 3")
    assert browser.run("return document.activeElement.id") == "trace-title"
    browser.press(Keys.TAB, Keys.TAB)
    assert "GET /orders" in browser.run("return document.activeElement.textContent")
    browser.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert "render" in browser.run("return document.activeElement.textContent")
    browser.press(Keys.ARROW_RIGHT)
    assert browser.run("return document.activeElement.getAttribute('aria-expanded')") == "true"
    detail = browser.text("#waterfall .detail:not([hidden])")
    assert "ValueError: no such template" in detail and "exception.stacktrace" in detail
    browser.picture("trace")
    browser.press(Keys.ARROW_LEFT, Keys.HOME)
    assert browser.run("return document.querySelectorAll('#waterfall .detail:not([hidden])').length") == 0
    browser.press(Keys.ESCAPE)
    browser.until("!document.querySelector('#trace').open")
    assert browser.run("return document.activeElement.textContent") == "GET /orders"


def test_errors_are_red_and_texts_stay_texts(browser: Browser) -> None:
    browser.run("document.querySelector('#traces button').click()")
    browser.until("document.querySelector('#trace').open")
    for button in browser.run("return [...document.querySelectorAll('#waterfall button.span')]"):
        button.click()
    red, bar, text = browser.run(
        "const style = (selector) => getComputedStyle(document.querySelector(selector));"
        "const probe = document.body.appendChild(document.createElement('i'));"
        "probe.style.color = 'var(--error)';"
        "const red = getComputedStyle(probe).color; probe.remove();"
        "const name = style('[data-failed=true] .name');"
        "return [red, style('.bar[data-kind=failed]').backgroundColor, name.color]"
    )
    assert red == bar == text
    assert "<script>alert(1)</script>" in browser.text("#waterfall")
    assert browser.run("return document.querySelectorAll('#waterfall script').length") == 0


def test_filters(browser: Browser, tracing: Callable[[], None]) -> None:
    browser.run("document.querySelector('#filter').focus()")
    browser.press("nothing like it")
    browser.until("document.querySelectorAll('#traces tr').length === 0")
    assert "None of the recent traces" in browser.text("#no-traces")
    browser.press(*[Keys.BACKSPACE] * 20)
    browser.until("document.querySelectorAll('#traces tr').length === 1")
    browser.run("document.querySelector('#only-errors').click()")
    browser.until("document.querySelectorAll('#traces tr').length === 1")


def test_a_pause(browser: Browser, tracing: Callable[[], None]) -> None:
    browser.run("document.querySelector('#pause').focus()")
    browser.press(Keys.ENTER)
    browser.until("document.querySelector('#connection').textContent === 'Paused'")
    assert browser.run("return document.querySelector('#pause').getAttribute('aria-pressed')") == "true"
    browser.press(Keys.ENTER)
    tracing()
    browser.until("document.querySelectorAll('#traces tr').length === 2")


def test_the_theme_follows_the_system_and_can_be_chosen(browser: Browser) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = browser.run(f"return {ground}")
    browser.prefer("dark")
    dark = browser.run(f"return {ground}")
    assert light != dark
    themes = []
    for _ in range(3):
        browser.run("document.querySelector('#theme').click()")
        themes.append((browser.text("#theme"), browser.run(f"return {ground}")))
    assert themes == [("Theme: light", light), ("Theme: dark", dark), ("Theme: system", dark)]
    browser.run("document.querySelector('#theme').click()")
    browser.driver.refresh()
    assert browser.run(f"return {ground}") == light
    browser.run("localStorage.clear()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser: Browser, scheme: str) -> None:
    browser.prefer(scheme)
    browser.picture(scheme)
    browser.run("document.querySelector('#traces button').click()")
    browser.until("document.querySelector('#trace').open")
    for button in browser.run("return [...document.querySelectorAll('#waterfall button.span')]"):
        button.click()
    contrasts = browser.run(CONTRASTS)
    assert len(contrasts) > 80
    assert [(text, ratio) for ratio, text in contrasts if ratio < 4.5] == []


def test_what_a_screen_reader_needs_is_there(browser: Browser) -> None:
    browser.until("document.querySelectorAll('#operations tr').length === 3")
    browser.run("document.querySelector('#traces button').click()")
    browser.until("document.querySelector('#trace').open")
    for button in browser.run("return [...document.querySelectorAll('#waterfall button.span')]"):
        button.click()
    for what, check in CHECKS.items():
        culprits = browser.run(f"return ({check}).map((e) => e.outerHTML.slice(0, 100))")
        assert culprits == [], what
    for selector in ONE_OF_EACH:
        assert browser.run(f"return document.querySelectorAll({selector!r}).length") == 1, selector


def test_the_focus_can_be_seen(browser: Browser) -> None:
    browser.run("document.querySelector('.skip').focus()")
    seen = []
    for _ in range(7):
        browser.press(Keys.TAB)
        seen.append(
            browser.run(
                "const e = document.activeElement, s = getComputedStyle(e);"
                "return [e.id || e.tagName, s.outlineStyle, parseFloat(s.outlineWidth)]"
            )
        )
    assert [name for name, style, width in seen if style == "none" or width < 2] == []
    assert [name for name, *_ in seen] == ["pause", "theme", "filter", "only-errors", "DIV", "BUTTON", "DIV"]


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_it_fits(browser: Browser, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.until("innerWidth === arguments[0]", width)
        assert browser.run("return document.documentElement.scrollWidth") <= width
        browser.picture(f"{width}")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_with_a_token_the_address_opens_the_page_and_forgets_it(driver: Any) -> None:
    with web.serve(token="wonder-of-the-world") as page:
        browser = Browser(driver)
        driver.get(f"{page.url}?token=wonder-of-the-world")
        browser.until("document.querySelector('#connection').dataset.state === 'live'")
        assert driver.current_url == page.url
        assert "wonder" not in driver.page_source
        assert browser.complaints() == []
        driver.get("about:blank")
