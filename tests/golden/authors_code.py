"""Runs the authors' own code at a narrow width: a checkout of theirs, with numbers replaced."""

import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType


def load(checkout: str, module: str, changes: dict[str, str]) -> ModuleType:
    """Imports `module` of a checkout, whose text has `changes` made wherever it has the old.

    The checkout stays as it is. Fails for a change that finds nothing.
    """
    folder = Path(tempfile.mkdtemp())
    found = set()
    for path in Path(checkout).rglob("*.py"):
        text = path.read_text(errors="ignore")
        found |= {old for old in changes if old in text}
        for old, new in changes.items():
            text = text.replace(old, new)
        copy = folder / path.relative_to(checkout)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
    assert found == set(changes), set(changes) - found
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(folder))
        shutil.rmtree(folder)
