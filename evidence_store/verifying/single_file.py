"""Builds verify.pyz: the modules that `vidne verify` reaches, in one file that needs Python and `cryptography` only.

A zip of sources with a few bytes before it, which Python runs as it is (PEP 441). The same sources give the same bytes
wherever it is built: nothing in it is compressed or dated, and its order is that of the names. rfc8785, one file of
plain Python, travels along under its own licence. Anything else that an import reaches stops the build.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import io
import sys
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = "evidence_store"
START: Final = f"{ROOT}.verifying.command"
CARRIED: Final = "rfc8785"
NEEDED: Final = "cryptography"
_SHEBANG: Final = b"#!/usr/bin/env python3\n"
_LICENCES: Final = ("LICENSE", "LICENCE", "COPYING")
_MAIN: Final = '''"""Checks an evidence copy of Vidne: python verify.pyz PACKAGE --fingerprint FINGERPRINT"""
import sys

if sys.version_info < (3, 11):
    sys.stderr.write("verify.pyz needs Python 3.11 or later. Nothing was checked.\\n")
    sys.exit(2)
try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:
    sys.stderr.write("verify.pyz needs cryptography 50 or later (python -m pip install cryptography). "
                     "Nothing was checked.\\n")
    sys.exit(2)
from evidence_store.verifying.command import main

sys.exit(main())
'''


class CannotBuild(Exception):  # noqa: N818 - says what it is
    """A module is reached that is not ours, not the standard library's, and not known to be needed."""


def sources(start: str = START) -> dict[str, Path]:
    """Every module that `start` reaches by imports, wherever in a file they stand, by name. Raises CannotBuild."""
    found: dict[str, Path] = {}
    pending = [start]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise CannotBuild(f"{name} has no source")
        found[name] = Path(spec.origin)
        pending += [name.rpartition(".")[0]] if "." in name else []
        for wanted in _imports(found[name], name):
            top = wanted.partition(".")[0]
            if top in (ROOT, CARRIED):
                pending.append(wanted)
            elif top not in sys.stdlib_module_names and top != NEEDED:
                raise CannotBuild(f"{name} imports {top}")
    return found


def _imports(path: Path, name: str) -> list[str]:
    """Modules that a file imports, by their whole names."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, (*package.split(".")[: len(package.split(".")) - node.level + 1], base)))
            found.append(base)
            found += [whole for each in node.names if _is_module(whole := f"{base}.{each.name}")]
    return found


def _is_module(name: str) -> bool:
    if name.partition(".")[0] not in (ROOT, CARRIED):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def build() -> bytes:
    """The file's bytes. Raises CannotBuild."""
    files = {"__main__.py": _MAIN.encode("utf-8")}
    for name, path in sources().items():
        place = name.replace(".", "/")
        files[f"{place}/__init__.py" if path.name == "__init__.py" else f"{place}.py"] = path.read_bytes()
    for each in importlib.metadata.files(CARRIED) or []:
        if each.name.partition(".")[0] in _LICENCES:
            files[f"{CARRIED}/{each.name}"] = Path(str(each.locate())).read_bytes()
    if not any(name.startswith(f"{CARRIED}/") and not name.endswith(".py") for name in files):
        raise CannotBuild(f"{CARRIED} came without its licence")
    out = io.BytesIO()
    out.write(_SHEBANG)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, files[name])
    return out.getvalue()


def write(path: Path) -> str:
    """Builds it into `path`, and gives its SHA-256. Raises CannotBuild, OSError."""
    data = build()
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
