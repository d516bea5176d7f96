"""A browser without a window, for the pages that mmcell writes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

COMMANDS = ('chromium', 'chromium-browser', 'google-chrome')
HOW_TO_INSTALL = 'apt-get install chromium, or: playwright install chromium'


def find_browser(playwright: Playwright) -> str | None:
    """Returns the path of the system's Chromium, or else of the one that Playwright has installed; None without any."""
    paths = [*map(shutil.which, COMMANDS), playwright.chromium.executable_path]
    return next((path for path in paths if path and Path(path).is_file()), None)


@contextmanager
def open_browser() -> Iterator[Browser | None]:
    """Starts Chromium, and ends it after the block; it is None if there is no Chromium."""
    with sync_playwright() as playwright:
        path = find_browser(playwright)
        browser = None if path is None else playwright.chromium.launch(executable_path=path)
        try:
            yield browser
        finally:
            if browser is not None:
                browser.close()
