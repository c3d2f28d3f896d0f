"""What a run leaves on disk; `segjax.report` writes its figures and pictures.

config.json     the values, and which file they configure
runs.jsonl      one line a start: command, versions, git commit, devices, seed
metrics.jsonl   one line a log: step, split, figures; a resumed run repeats the steps since
                its checkpoint, and the last line of a step counts
tensorboard/    the same for TensorBoard
panels/         pictures of each evaluation; panel.png is the newest
checkpoints/    see segjax.checkpoint
"""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from segjax.errors import InputError

PACKAGES = ("segjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def prepare(path: Path, config: Mapping[str, Any], accept_changes: bool) -> None:
    """Create the workdir or check that it belongs to this config.

    `config` is nested plain values. Raises `InputError` if the folder cannot be written, or holds a
    run of other values and the change is not accepted.
    """
    make_folder(path, "--workdir")
    started = (path / "metrics.jsonl").exists() or any((path / "checkpoints").glob("[0-9]*"))
    if started and not accept_changes:
        changes = list_changes(read_config(path)["values"], config)
        if changes:
            raise InputError(
                f"The workdir {path} holds a run of another config ({'; '.join(changes)}). Choose "
                "another --workdir, or continue that run with the new values by --accept_changes."
            )


def make_folder(path: Path, flag: str) -> None:
    """Make the folder that `flag` names; raises `InputError` if it cannot be written."""
    if re.match(r"\w+:/", str(path)):
        raise InputError(
            f"{flag} is {path}, but must be a folder of this machine; with several hosts, one on a "
            "disk that all of them share."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"The folder {path} cannot be written ({error.strerror}): choose another {flag}."
        ) from error


@contextlib.contextmanager
def locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from writing to this workdir; raises `InputError` that names the holder.

    The system unlocks the file when its holder ends, however it does. Process 0 locks for all.
    """
    if jax.process_index() > 0:
        yield
        return
    with open(path / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"The workdir {path} is in use by {file.read().strip() or 'another process'}: wait "
                "until that ends, or choose another --workdir."
            ) from None
        except OSError as error:  # a file system without locks
            say(f"{path} cannot be locked ({error.strerror}): start no second run.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}, since {time.strftime('%F %T')}\n")
        file.flush()
        yield


def record(
    path: Path,
    config: Mapping[str, Any],
    source: str,
    facts: Mapping[str, Any],
    data: Mapping[str, Any],
) -> None:
    """Write what the run is and how it was started; `data` tells splits from changed ones."""
    values = {"config_file": source, "values": config, "facts": facts, "data": data}
    write_json(path / "config.json", values)
    append_line(path / "runs.jsonl", {**describe_start(), "values": config, "data": data})


def changed_data(path: Path, data: Mapping[str, Any]) -> str | None:
    """A sentence if the run in the workdir began with other data; those may be unknown."""
    before = read_config(path).get("data") if (path / "config.json").exists() else None
    changes = list_changes(before, data) if before else []
    if not changes:
        return None
    return f"The data are not those that the run in {path} has seen: {'; '.join(changes)}."


KINDS = {"config_file": str, "values": dict, "facts": dict}
FACT_KINDS = {
    "class_names": list,
    "palette": list,
    "channels": int,
    "scale": float | int,
    "best": str,
    "shrink": bool,
    "eval_size": list,
    "largest": list,
    "input": dict,
    "dimensions": int,
}


def read_config(path: Path) -> dict[str, Any]:
    """The `config.json` of a workdir: config_file, values and facts (`Experiment.facts`).

    Raises `InputError` if there is none, it cannot be read, or is damaged.
    """
    file = path / "config.json"
    try:
        saved = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        saved = {}
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # of JSON, or of UTF-8
        raise InputError(f"{file} is not valid JSON: {error}.") from None
    if isinstance(saved, dict) and "card" in saved:  # the name of facts in older runs
        saved.setdefault("facts", saved.pop("card"))
    if not isinstance(saved, dict) or not KINDS.keys() <= saved.keys():
        raise InputError(
            f"{path} is not the workdir of a run: it has no config.json of one. Give the folder "
            "that `python -m segjax.main --workdir=...` trained in."
        )
    wrong = [name for name, kind in KINDS.items() if not isinstance(saved[name], kind)]
    if not wrong:
        facts = saved["facts"]
        wrong = ["config_file"] * (not re.fullmatch(r"[^:\0]+\.py(:[^\0]*)?", saved["config_file"]))
        wrong += [f"facts.{x}" for x in FACT_KINDS if x in facts and not _fits(facts, x)]
        wrong += ["facts.channels"] * ("channels" not in facts)
        wrong += ["data"] * (not isinstance(saved.get("data", {}), dict))
        wrong += ["values.best"] * (not isinstance(saved["values"].get("best"), str | None))
    if wrong:
        raise InputError(f"{file} is damaged: {', '.join(wrong)} cannot be what a run has written.")
    return saved


def best_figure(saved: Mapping[str, Any]) -> str:
    """The figure that chooses the best checkpoint of a run: the config's, or that of its data."""
    own = saved["values"].get("best")
    return saved["facts"].get("best", "") if own is None else own


def _fits(facts: Mapping[str, Any], name: str) -> bool:
    """Whether a fact is what a run may have written, where it has to be of a kind."""
    value = facts[name]
    if name in ("eval_size", "largest"):
        return isinstance(value, list) and all(type(n) is int and n > 0 for n in value)
    if name == "input":
        if not isinstance(value, dict) or value.keys() != {"mean", "std", "order"}:
            return False
        numbers = [x if isinstance(x, list) else [x] for x in (value["mean"], value["std"])]
        order = value["order"]
        numbers += [range(facts.get("channels", 1)) if order is None else order]
        right = {1, facts.get("channels")}
        return all(isinstance(x, list | range) and len(x) in right for x in numbers) and all(
            type(x) in (int, float) for each in numbers for x in each
        )
    if name == "dimensions":
        return value in (2, 3)
    if not isinstance(value, FACT_KINDS[name]) or isinstance(value, bool) != (name == "shrink"):
        return False
    if name == "class_names":
        return all(isinstance(x, str) for x in value)
    if name == "palette":
        rgb = [len(x) == 3 and all(c in range(256) for c in x) for x in value]
        return all(rgb) and len(value) == len(facts.get("class_names", value))
    return value > 0 if name in ("channels", "scale") else True


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The entries of a .jsonl file, [] if there is none; one that was cut off is left out."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    entries = []
    for line in lines:
        with contextlib.suppress(ValueError):  # cut off as the machine went down
            entries.append(json.loads(line))
    return [entry for entry in entries if isinstance(entry, dict)]


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a line to a .jsonl file, on a line of its own even if the last one was cut off."""
    with writing(path), open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            file.write(b"" if file.read(1) == b"\n" else b"\n")
        file.write(json.dumps(entry).encode() + b"\n")


def list_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """'name: old -> new' for each nested value that differs."""

    def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, value in values.items():
            nested = isinstance(value, Mapping)
            out |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
        return out

    old, new = flat(json.loads(json.dumps(before))), flat(json.loads(json.dumps(after)))
    return [
        f"{name}: {old.get(name, 'absent')} -> {new.get(name, 'absent')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, ...) != new.get(name, ...)
    ]


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write beside and rename, so that the file is never half-written; raises `InputError`."""
    beside = path.with_name(f".{path.name}.tmp")
    with writing(path):
        try:
            beside.write_bytes(data)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise an `InputError` that names the file where it cannot be written, as on a full disk."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error


def describe_start() -> dict[str, Any]:
    """What is needed to know which code on which machine made a run."""

    def git(*arguments: str) -> str:
        if not shutil.which("git"):
            return ""
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "git_commit": git("rev-parse", "HEAD") or None,
        "git_dirty": bool(git("status", "--porcelain")),
        "host": platform.node(),
        "devices": [str(device) for device in jax.devices()],
        "processes": jax.process_count(),
    }
