"""A witness's own page, for whoever keeps it, in a real Chromium: quiet, and with an alarm."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.api.test_witness import LOG
from tests.browser.looking import WIDTHS, accessible, needs_pages, no_sideways_scroll
from tests.evidence_store.test_witness import fork
from tests.witnesses import WitnessProcess

pytestmark = needs_pages


def test_the_page_is_accessible_and_fits_and_shows_an_alarm(browser: Browser, tmp_path: Path) -> None:
    witness = WitnessProcess(tmp_path / "witness")
    context = browser.new_context(locale="da-DK")
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    try:
        witness.start(LOG.signer.verifier)
        witness.post(LOG.request(0, 7))
        for alarm in (0, 1):
            page.goto(witness.url)
            expect(page.get_by_role("alert")).to_have_count(alarm)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                no_sideways_scroll(page)
                accessible(page)
            page.screenshot(path=tmp_path / f"{alarm}.png")
            witness.post(fork(LOG, 2).request(7, 7))
        assert complaints == []
    finally:
        context.close()
        witness.kill()
