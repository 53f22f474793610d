"""Headless Chromium for tests, where the machine has one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: Seconds after which a test gives up waiting for the page.
GIVE_UP = 60

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser with a new profile in this folder; the test is skipped where there is no Chromium or no driver."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        missing = "chromium" if browser is None else "chromedriver (Debian's chromium-driver)"
        pytest.skip(f"there is no {missing} on this machine")
    options = selenium.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = selenium.Chrome(options=options, service=selenium.ChromeService(executable_path=driver))
    try:
        window.get("about:blank")  # leaves the browser's own first page, whose parts would still be asked for
        yield window
    finally:
        window.quit()


def until(window: Any, condition: Callable[[], bool]) -> None:
    """Wait for what an action leads to: the page hears of pointers, keys and colours when the browser comes to it."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(window, GIVE_UP, poll_frequency=0.02).until(lambda _: condition())


def size(window: Any, width: int, height: int = 800, scheme: str = "light") -> None:
    """The size of the window in CSS pixels, narrow ones as a telephone's, and the system's scheme.

    The page knows the scheme then, though its listeners may not have been told yet.
    """
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    heard = f"return matchMedia('(prefers-color-scheme: {scheme})').matches"
    until(window, lambda: bool(window.execute_script(heard)))
