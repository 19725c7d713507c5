"""What pages load: from here only, pinned by hash, and nothing inline."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from api.web import FOLDER, STATIC

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((FOLDER / "templates").rglob("*.html"))
OWN = sorted((STATIC / "js").glob("*.js")) + sorted((STATIC / "css").glob("*.css"))


def test_the_lock_has_hashes_and_no_addresses() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_have_nothing_inline_and_nothing_from_elsewhere(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|https?://|//[a-z]", text)
    for script in re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL):
        assert script == ""


@pytest.mark.parametrize("source", OWN, ids=lambda path: path.name)
def test_scripts_and_styles_ask_no_other_host(source: Path) -> None:
    text = source.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|\beval\(|new Function|innerHTML|document\.write|localStorage", text)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_what_templates_load_is_there(template: Path) -> None:
    for name in re.findall(r'"/static/([^"#{]+)', template.read_text()):
        if not name.startswith("vendor/"):
            assert (STATIC / name).is_file(), name
