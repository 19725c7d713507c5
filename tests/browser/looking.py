"""What tests of pages look with: the axe, widths, what a console complained of, and patience."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import House
from tests.browser.serving import CHROMIUM

ROOT = Path(__file__).parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
VENDOR = ROOT / "api" / "web" / "static" / "vendor" / ".lock-sha256"

needs_pages = pytest.mark.skipif(
    not (CHROMIUM.exists() and AXE.exists() and VENDOR.exists()), reason="needs Chromium and scripts/assets"
)

EXPECTED_REFUSALS = ("409", "422")
WIDTHS = (1920, 820, 1280, 320)


def accessible(page: Page) -> None:
    """WCAG 2.1 A and AA as far as axe-core can tell."""
    # Through the debugger: the page's own policy lets no such script in.
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})")
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []


def no_sideways_scroll(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def quiet(house: House) -> None:
    assert [said for said in house.complaints if not any(code in said for code in EXPECTED_REFUSALS)] == []


def until(page: Page, condition: str, seconds: float = 10) -> None:
    """Asks through the debugger: a waiting function in the page would need what its policy forbids."""
    for _ in range(int(seconds * 20)):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {condition}")
