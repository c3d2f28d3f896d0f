"""The house: which room may import which."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    # room: what of segjax it may import besides itself
    "errors": set(),
    "ops": {"errors"},
    "nn": {"ops", "errors"},
    "backbones": {"nn", "ops", "errors"},
    "weights": {"errors", "cli", "workdir"},  # weights.__main__ is a program
    "fields": {"errors"},
    "augment": {"fields", "ops", "errors"},
    "models": {"backbones", "nn", "ops", "errors"},
    "losses": {"ops", "errors"},
    "metrics": {"ops", "errors"},
    "postprocess": {"ops", "errors"},
    "data": {"ops", "errors", "cli"},  # data.check is a program
    "visualize": {"errors"},
    "core": {"errors"},
    "optim": {"errors"},
    "stdio": set(),
    "peers": {"stdio"},
    "parallel": {"peers", "errors"},
    "checkpoint": {"core", "parallel", "errors"},
    "train": {"core", "parallel", "errors"},
    "tasks": {"core", "fields", "losses", "metrics", "ops", "visualize", "weights", "errors"},
    "process": {"errors"},
    "cli": {"core", "process", "stdio", "errors"},
    "workdir": {"errors"},
    "report": {"visualize", "workdir"},
    "analysis": {"ops", "errors"},
    "transfer": {"checkpoint", "workdir", "weights", "core", "errors"},
    "recipes": {
        *("transfer", "optim", "visualize", "tasks", "augment", "losses", "metrics", "data"),
        *("weights", "nn", "core", "errors"),  # nn: what the names of norms and upsamplers mean
    },
    "summary": {"cli", "models", "backbones", "analysis", "ops", "errors"},
    "runs": {"cli", "checkpoint", "workdir", "core", "errors"},
    "predict": {"cli", "runs", "workdir", "parallel", "data", "postprocess", "core", "errors"},
    "export": {"cli", "runs", "workdir", "weights", "core", "errors"},
    "main": {"cli", "checkpoint", "workdir", "report", "train", "parallel", "core", "errors"},
}
FILES = sorted((ROOT / "segjax").rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The dotted names of what a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_downwards_only(path: Path):
    parts = path.relative_to(ROOT / "segjax").with_suffix("").parts
    if parts == ("__init__",):
        assert not imports(path), "importing segjax must cost nothing"
        return
    room = parts[0]
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("segjax.")}
    assert rooms - {room} <= ROOMS[room], f"{room} may not import {rooms - {room} - ROOMS[room]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_short_and_linen_stays_in_its_rooms(path: Path):
    assert len(path.read_text().splitlines()) < 400
    room = path.relative_to(ROOT / "segjax").parts[0]
    if room not in ("nn", "backbones", "models"):
        assert not any(name.startswith("flax.linen") for name in imports(path))
