"""Pages in a real browser: what the tests of pages share."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page


class Reader:
    """Opens pages of some data, and notes whatever they say, ask for or load."""

    def __init__(self, browser: Browser, file: Path, write: Callable[[dict[str, Any]], str]) -> None:
        self.browser, self.file, self.write, self.seen = browser, file, write, list[str]()

    def open(self, data: dict[str, Any], hash: str = "", **options: Any) -> Page:
        self.file.write_text(self.write(data), encoding="utf-8")
        context = self.browser.new_context(**options)
        context.set_default_timeout(5000)
        page = context.new_page()
        page.on("console", lambda message: self.seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.seen.append(f"error: {error}"))
        page.on("request", lambda request: self.seen.append(f"request: {request.url}"))
        page.on("dialog", lambda dialog: (self.seen.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(self.file.as_uri() + hash)
        return page


@contextmanager
def reading(browser: Browser, folder: Path, write: Callable[[dict[str, Any]], str]) -> Iterator[Reader]:
    """A reader of the pages that `write` makes, none of which may say an error, open a dialog, or load but itself."""
    reader = Reader(browser, folder / "page.html", write)
    yield reader
    for context in browser.contexts:
        context.close()
    assert {seen.partition("#")[0] for seen in reader.seen} <= {f"request: {reader.file.as_uri()}"}


class Scripts(HTMLParser):
    """What a parser of HTML finds: attributes that load something, and the texts of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loading, self.tags, self.data = list[str](), list[str](), list[str]()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loading = re.compile("src|href|action|style|on.*")
        self.loading += [name for name, _ in attributes if loading.fullmatch(name)]

    def handle_data(self, data: str) -> None:
        self.data.append(data)


def background(page: Page) -> str:
    return page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")


# Contrast of each text with what it stands on, by the formula of WCAG 2.2; a canvas turns any colour into bytes.
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const bytes = colours => {
    canvas.fillStyle = "white";
    for (const colour of ["white", ...colours]) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = rgb => rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  for (let node; node = walker.nextNode();) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility()) continue;
    const grounds = [];
    for (let each = element; each; each = each.parentElement) grounds.unshift(getComputedStyle(each).backgroundColor);
    const style = getComputedStyle(element);
    const ink = element.ownerSVGElement ? style.fill : style.color;
    const [a, b] = [luminance(bytes(grounds)), luminance(bytes([...grounds, ink]))].sort((a, b) => b - a);
    found.push([(a + 0.05) / (b + 0.05), node.data.trim().slice(0, 40)]);
  }
  return found;
}"""
