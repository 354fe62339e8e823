"""Headless Chromium for tests, and what automatic checkers of accessibility look for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

import otlpfast

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
PATIENCE = 60.0  # seconds
BUILD = Path(__file__).parents[1] / "build"
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # which does not work for root, nor in most containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1280,1000",
    "--force-color-profile=srgb",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """The driver of a browser that has just been started."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        driver.set_page_load_timeout(PATIENCE)
        yield driver
    finally:
        driver.quit()


class Browser:
    """Chromium, with the page open."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def until(self, condition: str, *arguments: Any) -> Any:
        """Waits until an expression is true."""
        wait = WebDriverWait(self.driver, PATIENCE, 0.05)
        return wait.until(lambda _: self.run(f"return {condition}", *arguments), condition)

    def press(self, *keys: str) -> None:
        """Keys, for whatever has the focus."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def picture(self, name: str) -> None:
        BUILD.mkdir(exist_ok=True)
        assert self.driver.save_screenshot(str(BUILD / f"web-{otlpfast.IMPLEMENTATION}-{name}.png"))

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


# Of each element that has a text of its own: the contrast with what is behind it (WCAG 2.2, 1.4.3).
CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].map((v, i) => i === 3 ? v / 255 : v);
}
function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const found = rgba(getComputedStyle(at).backgroundColor);
    if (found[3] === 1) return found;
  }
  return [255, 255, 255, 1];
}
function luminance([r, g, b]) {
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
}
const found = [];
for (const element of document.querySelectorAll('body *')) {
  const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join('');
  if (!text || !element.getClientRects().length || element.closest('.hidden, noscript')) continue;
  const pair = [rgba(getComputedStyle(element).color), behind(element)].map(luminance).sort((a, b) => b - a);
  found.push([(pair[0] + 0.05) / (pair[1] + 0.05), text.slice(0, 40)]);
}
return found;
"""

# What automatic checkers look for; each gives the culprits.
CHECKS = {
    "controls without a name": """
        [...document.querySelectorAll('button, input, select')].filter((e) =>
          !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))""",
    "pictures without a name": """
        [...document.querySelectorAll('svg, [role=img], [role=meter]')].filter((e) =>
          e.getAttribute('aria-hidden') !== 'true' && !e.getAttribute('aria-label'))""",
    "tables without headers": """
        [...document.querySelectorAll('table')].filter((e) =>
          !e.querySelector('th[scope]') && e.rows.length)""",
    "headers without a scope": "[...document.querySelectorAll('th:not([scope])')]",
    "ids that are there twice": """
        [...document.querySelectorAll('[id]')].filter((e) =>
          document.querySelectorAll('#' + e.id).length > 1)""",
    "references to nothing": """
        [...document.querySelectorAll('[aria-labelledby], [aria-controls]')].filter((e) =>
          !document.getElementById(e.getAttribute('aria-labelledby') || e.getAttribute('aria-controls')))""",
    "an order of its own": "[...document.querySelectorAll('[tabindex]')].filter((e) => e.tabIndex > 0)",
    "sections without a name": """
        [...document.querySelectorAll('section, article, dialog, [role=region]')].filter((e) =>
          !e.querySelector('section') && !e.matches('[aria-labelledby], [aria-label]'))""",
    "list items that are in no list": """
        [...document.querySelectorAll('li, dt, dd')].filter((e) => !e.closest('ul, ol, dl'))""",
}
ONE_OF_EACH = (
    "html[lang]",
    "title",
    "h1",
    "main",
    "body > header",
    "body > footer",
    "[aria-live=polite]",
    "[role=status]",
)
