"""A real Chromium that opens a report from the disk, offline, and records what it says and asks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from metagym.report import make_report

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
BROWSER = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)"),
]


class Seen:
    """What a browser showed: the page, what its console said, and what it asked the network for."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.path = page, path
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.asked.append(request.url))

    def go(self, place: str = "") -> None:
        """Open the report afresh at a place in it."""
        self.page.goto("about:blank")
        self.page.goto(f"file://{self.path}{place}")
        self.page.wait_for_selector("html[data-ready]", timeout=20_000)

    def text(self, selector: str) -> str:
        """Return what is to be read there, blanks joined."""
        return " ".join(self.page.inner_text(selector).split())

    @property
    def place(self) -> str:
        """Where in the report we are."""
        return str(self.page.evaluate("location.hash"))

    def press(self, key: str, then: str) -> None:
        """Press a key, and wait until we are at the place that it leads to."""
        self.page.keyboard.press(key)
        self.page.wait_for_function("place => document.body.dataset.place === place", arg=then, timeout=10_000)

    def settle(self) -> None:
        """Let two frames go by, so that whatever was to run has run."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


Show = Callable[..., Seen]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Show]:
    """Write a report, and open it with the network off; at the end nothing may have been said or asked."""
    opened: list[tuple[Seen, Any]] = []

    def open_report(runs: Sequence[Path], place: str = "", *, theme: str = "light", width: int = 1280) -> Seen:
        path = tmp_path / "report.html"
        make_report(runs, path)
        context = browser.new_context(
            offline=True, color_scheme=theme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
        )
        seen = Seen(context.new_page(), path)
        opened.append((seen, context))
        seen.go(place)
        return seen

    yield open_report
    for seen, context in opened:
        context.close()
        assert seen.said == []
        assert {url for url in seen.asked if not url.startswith(("file://", "about:"))} == set()
