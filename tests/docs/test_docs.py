"""The documents agree with the code: what is documented exists, and what exists is documented."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from api.cli import app
from api.desk.standing import STANDING
from api.problems import FALLBACK, PROBLEMS
from api.settings import Settings
from api.web import words
from evidence_store import domains, errors, interview
from evidence_store.custody import Verb
from hardware.profile import named_profiles
from monitor_room import fanout, relay, whep
from recorder import feedback, reorder, sealing_thread, spool, take, ticker, timeline, track, whip
from recorder.watching import kinds

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FORMATS = sorted((DOCS / "formats").glob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Every page of ours: what git would keep, the package's own VERIFY.md included."""
    outside = {".venv", "node_modules", "vendor", "data"}
    found = (path for path in ROOT.rglob("*.md") if not outside & set(path.relative_to(ROOT).parts))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(ROOT).parts))


def text(name: str) -> str:
    return (ROOT / name).read_text()


def rows(page: str, *, after: str) -> dict[str, list[str]]:
    """The first table under a heading: cells by the first cell, of which only what is in backticks counts."""
    lines = text(page).split(f"\n{after}\n", 1)[1].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    found: dict[str, list[str]] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *rest = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`([^`]+)`", first):
            found[name] = rest
    return found


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as they are made on the web."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


# Settings and commands


def as_documented(default: object) -> str:
    if default is None or default == []:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{default:g}`" if default < 1e5 else f"`{default:.0f}`"
    return f"`{', '.join(default)}`" if isinstance(default, list) else f"`{default}`"


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {name: cells[0] for name, cells in rows("docs/operations.md", after="## Settings").items()}
    defaults = {name: field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}
    assert documented == {name: as_documented(default) for name, default in defaults.items()}


def test_every_room_profile_is_documented() -> None:
    for name in named_profiles():
        assert f"`{name}`" in rows("docs/operations.md", after="## Settings")["profile"][1]


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return {name: command for name, command in group.commands.items() if not command.hidden}


def options_of(command: Any) -> set[str]:
    """Those of a command, and of the commands under it."""
    under = getattr(command, "commands", {}).values()
    return {each for p in command.params for each in p.opts}.union(*map(options_of, under))


def test_every_command_is_in_the_readme_and_none_besides() -> None:
    assert set(rows("README.md", after="## Commands")) >= {f"vidne {name}" for name in commands()}
    named = {
        name for page in pages() for name in re.findall(r"`(?:\.venv/bin/)?vidne ([a-z-]+)[^`]*`", page.read_text())
    }
    assert named <= set(commands())


def test_every_option_that_a_page_names_exists() -> None:
    options = {name: options_of(command) for name, command in commands().items()}
    for page in pages():
        for name, rest in re.findall(r"`(?:\.venv/bin/)?vidne ([a-z-]+)([^`]*)`", page.read_text()):
            assert set(re.findall(r"--[a-z-]+", rest)) <= options[name], f"{page.name}: vidne {name}{rest}"


def test_demo_accounts_in_the_readme_are_those_of_the_code() -> None:
    from api.wiring import DEMO_ACCOUNTS

    documented = re.findall(r"^\| (\w+ \w+), [^|]+ \| `([^`]+)` \| `([^`]+)` \|$", text("README.md"), re.MULTILINE)
    assert documented == [(each.name, each.username, each.password) for each in DEMO_ACCOUNTS]


# Pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, pending = set(), [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        targets = (target.partition("#")[0] for target in LINK.findall(page.read_text()) if "://" not in target)
        pending += [(page.parent / target).resolve() for target in targets if target]
    assert {page for page in pages() if page.is_relative_to(DOCS)} <= reached


def test_every_file_that_a_page_names_exists() -> None:
    folders = (
        "api",
        "recorder",
        "evidence_store",
        "monitor_room",
        "hardware",
        "tests",
        "scripts",
        "docs",
        "requirements",
    )
    named = re.compile(rf"`((?:{'|'.join(folders)})/[\w./-]*)`")
    for page in pages():
        for name in named.findall(page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_architecture_names_every_module_of_the_recording_way() -> None:
    page = text("docs/architecture.md")
    # Read back what the way has written, or name the device that signs; not steps of the way.
    beside = {"__init__.py", "box_reader.py", "device.py"}
    modules = {path.name for path in (ROOT / "recorder").glob("*.py")} - beside
    assert sorted(name for name in modules if name not in page) == []


# Formats


def test_every_format_is_linked_from_the_readme() -> None:
    assert len(FORMATS) >= 6
    for page in FORMATS:
        assert f"(docs/formats/{page.name})" in text("README.md")


def test_every_kind_of_observation_is_in_the_format_with_its_measure() -> None:
    documented = {name: cells[0] for name, cells in rows("docs/formats/tick.md", after="## Observations").items()}
    assert documented == {kind.value: rule.unit for kind, rule in kinds.RULES.items()}


def test_every_alarm_has_danish_words() -> None:
    assert set(rows("docs/operations.md", after="## Alarms, and what to do")) <= set(words.ALARMS)


def spelled_domains() -> Iterator[tuple[str, str]]:
    for name, value in vars(domains).items():
        if name.isupper() and isinstance(value, str):
            yield name, value


def test_every_domain_is_named_in_a_format() -> None:
    spelled = dict(spelled_domains())
    assert len(spelled) >= 15
    assert len(set(spelled.values())) == len(spelled)
    formats = "\n".join(page.read_text() for page in FORMATS)
    for value in spelled.values():
        short = value.removeprefix("vidne/v1/")
        assert f"domain({short})" in formats or f'"{value}"' in formats, value


def test_the_custody_verbs_that_formats_name_exist() -> None:
    verbs = {verb.value for verb in Verb}
    for page in FORMATS:
        for name in re.findall(
            r"`((?:interview|recording|device|live|media|copy|account):[a-z:-]+)`", page.read_text()
        ):
            assert name in verbs, f"{page.name}: {name}"


# Architecture


def diagrams() -> list[str]:
    return re.findall(r"^```mermaid\n(.*?)^```", text("docs/architecture.md"), re.MULTILINE | re.DOTALL)


def test_the_interviews_diagram_is_made_from_its_table() -> None:
    assert interview.diagram() in diagrams()


def test_the_recorders_diagram_is_made_from_its_table() -> None:
    lines = [f"    {before} --> {after}: {event}" for (before, event), after in take.TRANSITIONS.items()]
    assert "\n".join(["stateDiagram-v2", f"    [*] --> {take.State.IDLE}", *lines, ""]) in diagrams()


def test_bounds_of_queues_are_those_of_the_code() -> None:
    page = text("docs/architecture.md").split("## Where something can wait", 1)[1].split("\n## ", 1)[0]
    asked = ", ".join(str(each) for each in feedback.ASK_AFTER_MS[:-1])
    for bound in (
        f"| {reorder.PATIENCE_NS // 10**6} ms, {reorder.WINDOW} packets |",
        f"| at {asked} and {feedback.ASK_AFTER_MS[-1]} ms | given up after {feedback.GIVE_UP_MS} ms |",
        f"| {track.PREROLL_NS // 10**9} s, {track.PREROLL_BYTES >> 20} MiB |",
        f"| {timeline.MAX_PENDING >> 20} MiB, {timeline._MAX_UNITS:,} units |",
        f"| {sealing_thread.MAX_WAITING} ticks ({sealing_thread.MAX_WAITING // 4} s) |",
        f"are kept ({ticker._MOST_EVENTS}, then counted)",
        f"tried again each {sealing_thread.RETRY_SECONDS} s",
        f"{spool.RESERVE_SIZE >> 20} MiB is held back",
        f"| {fanout._LONGEST_QUEUE} packets |",
        f"{relay.REMEMBERED} remembered packets",
        f"| {whip.CAPACITY}, {whep.CAPACITY} |",
    ):
        assert bound in page, bound


# Errors and alarms


def subclasses(kind: type[errors.VidneError]) -> Iterator[type[errors.VidneError]]:
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from subclasses(each)


def test_the_error_tree_in_the_docstring_is_the_tree() -> None:
    drawn: list[tuple[str, str]] = []
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│ ]*)(?:[├└]── )?([A-Z]\w+)\b", line):
            depth = len(match[1]) // 4 + (1 if "──" in line else 0)
            above[depth:] = [match[2]]
            if depth:
                drawn.append((above[depth - 1], match[2]))
    assert sorted(drawn) == sorted(
        (each.__bases__[0].__name__, each.__name__) for each in subclasses(errors.VidneError)
    )


def test_every_error_of_the_tree_finds_danish_words() -> None:
    for kind in subclasses(errors.VidneError):
        assert kind.code in PROBLEMS or any(issubclass(kind, above) for above, _ in FALLBACK), kind
    assert {code for _, code in FALLBACK} <= set(PROBLEMS)


def test_every_alarm_of_the_store_is_documented_and_has_words() -> None:
    source = "\n".join(path.read_text() for path in sorted((ROOT / "evidence_store").rglob("*.py")))
    raised = set(re.findall(r'\balarm\([^"\n{]*"([a-z-]+)"', source))
    raised |= set(re.findall(r'^(?:BEHIND|LOST|LATE|VETO|REFUSED|CLOCK): Final = "([a-z-]+)"', source, re.MULTILINE))
    assert len(raised) >= 5
    assert raised == set(rows("docs/operations.md", after="## Alarms of the store"))
    assert raised <= set(words.ALARMS)


def test_every_alarm_of_the_recorder_is_documented() -> None:
    source = "\n".join(path.read_text() for path in sorted((ROOT / "recorder").glob("*.py")))
    raised = set(re.findall(r'found\.append\("([a-z-]+)"\)', source))
    for assigned in re.findall(r"trouble = (.+)$", source, re.MULTILINE):
        raised |= set(re.findall(r'"([a-z]+-[a-z-]+)"', assigned))
    raised |= {code for code in words.CHECKS if code.endswith("-lost")}
    assert len(raised) >= 8
    raised |= {kind.value for kind in kinds.Kind}
    documented = rows("docs/operations.md", after="## Alarms, and what to do")
    assert raised | {"spool-full", "spool-failing"} | STANDING == set(documented)


# Dependencies and locks


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[; ]", each, maxsplit=1)[0].lower() for each in requirements}


def test_every_dependency_has_its_row() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    documented = rows("docs/dependencies.md", after="## When it runs")
    assert set(documented) == names(project["dependencies"])
    wanted = names(project["optional-dependencies"]["dev"]) | names(text("requirements/build.in").split())
    assert set(rows("docs/dependencies.md", after="## To build and test")) == wanted
    package = json.loads(text("package.json"))
    browser = rows("docs/dependencies.md", after="## In the browser")
    assert set(browser) == {*package["dependencies"], *package["devDependencies"]}


@pytest.mark.parametrize("lock", ["runtime.txt", "dev.txt", "build.txt"])
def test_locks_carry_hashes_and_no_addresses(lock: str) -> None:
    content = text(f"requirements/{lock}")
    assert "://" not in content
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f)\b", content, re.MULTILINE)
    requirements = re.findall(r"^[A-Za-z0-9][^\n]*==[^\n]*(?:\n    [^\n]*)*", content, re.MULTILINE)
    assert len(requirements) == len(re.findall(r"^[A-Za-z0-9]", content, re.MULTILINE))
    for requirement in requirements:
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_runtime_is_a_part_of_the_development_lock() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^([A-Za-z0-9][^ \n]*==[^ \n]+)", text(f"requirements/{lock}"), re.MULTILINE))

    assert pins("runtime.txt") <= pins("dev.txt")


def test_the_browsers_lock_carries_hashes_and_no_addresses() -> None:
    packages = json.loads(text("package-lock.json"))["packages"]
    fetched = {path: package for path, package in packages.items() if path}
    assert fetched
    for path, package in fetched.items():
        assert package["integrity"].startswith("sha512-"), path
        assert "resolved" not in package, path


# Scripts


SCRIPTS = [*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci" / "run"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_run_from_anywhere_and_stop_at_errors(script: Path) -> None:
    assert os.access(script, os.X_OK)
    content = script.read_text()
    assert content.startswith("#!/usr/bin/env ")
    if content.startswith("#!/usr/bin/env bash\n"):
        assert "\nset -euo pipefail\n" in content
        assert re.search(r'^cd "\$\(dirname "\$(0|\{BASH_SOURCE\[0\]\})"\)/\.\."$', content, re.MULTILINE)
        subprocess.run(["bash", "-n", script], check=True, timeout=10)


def test_scripts_that_a_page_names_exist() -> None:
    for page in pages():
        for name in re.findall(r"`(scripts/[a-z]+)", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
