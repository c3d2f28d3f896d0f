"""What the command-line programs share: flags, configs, the process's settings, one-line errors."""

import contextlib
import difflib
import functools
import importlib.util
import inspect
import json
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from segjax import process, stdio
from segjax.core import Experiment
from segjax.errors import DISK_ERRORS, InputError

ROOT = Path(__file__).resolve().parent.parent  # of the checkout: configs/ lies beside the package

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config file, such as configs/unet.py; --config.NAME=VALUE sets one of its values.",
    lock_config=True,
)
CACHE = flags.DEFINE_string(
    "compilation_cache",
    "~/.cache/segjax/xla",
    "Folder of compiled programs, so that the next start is fast; empty: none.",
)


def run(
    main: Callable[..., int | None],
    define_flags: Callable[[], None] | None = None,
    words: int = 0,
    only_prints: bool = False,
) -> None:
    """Parse the flags and run `main`; an `InputError` becomes its sentence and exit status 2.

    Where nobody reads the output any more, as behind `| head`, a program that `only_prints` ends,
    and any other goes on with its work.

    `define_flags` defines the program's own: only now, so that Python may import all programs.
    `main` gets the arguments that are no flags, of which there may be `words`.
    """
    process.keep_freed_memory()
    if not only_prints:
        stdio.outlast_output()
    if define_flags is not None:
        define_flags()
    for name in {CONFIG.name, CACHE.name} & {*flags.FLAGS}:  # --help tells of them as well
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

    def guarded(argv: list[str]) -> int | None:
        with sentences():
            if len(argv) - 1 > words:
                raise InputError(
                    f"Unexpected argument {argv[1 + words]!r}: write options as --name=value, and "
                    "a pattern in quotes."
                )
            process.set_up(CACHE.value)
            return main(*argv[1:])

    def parse(argv: list[str]) -> list[str]:
        with sentences():
            return parse_flags(argv)

    app.run(guarded, flags_parser=parse)


@contextlib.contextmanager
def sentences():
    """Print an `InputError` as one sentence and exit, without the traceback of a program error.

    The same for a full disk and folders that may not be written, wherever a program meets them.
    """
    try:
        yield
    except InputError as error:
        sentence = str(error)
    except BrokenPipeError:  # Python would say so once more when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        sentence = f"{error.filename or 'A file'} cannot be written or read: {error.strerror}."
    except Exception as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and not isinstance(error, MemoryError):
            raise
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        reason = str(error).splitlines()[0] if str(error) else "out of memory"
        sentence = (
            f"This needs more memory than there is ({reason}; this machine has {have:,.0f} GiB): "
            "choose a smaller batch, image or model, or more devices."
        )
    except KeyboardInterrupt:  # before the loop waits for it
        print("segjax: interrupted.", file=sys.stderr)
        sys.exit(130)
    else:
        return
    print(f"segjax: {sentence}", file=sys.stderr)
    sys.exit(2)


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parsing, with the config found beside the package and its errors in one sentence."""
    argv = list(argv)
    if {"--help", "-help", "-h"} & {*argv}:
        app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)
    if "--config" in argv[1:-1]:  # two words: make them one
        i = argv.index("--config")
        argv[i : i + 2] = [f"--config={argv[i + 1]}"]
    overrides = []
    for i, arg in enumerate(argv):
        name, equals, value = arg.partition("=")
        name = name.lstrip("-") if arg.startswith("-") else ""
        if name == "config" and equals:
            argv[i] = f"--config={find_config(value)}"
        elif name.startswith("config."):
            overrides.append(name.removeprefix("config."))
    paths = [a.partition("=")[2] for a in argv if a.startswith("--config=")]
    if overrides and not paths:
        raise InputError(f"--config.{overrides[0]} needs --config=FILE as well.")
    if len(paths) > 1:
        raise InputError(f"--config is given twice: {' and '.join(paths)}.")
    # The file comes first: ml_collections applies a value only to a config it has loaded.
    argv[1:] = sorted(argv[1:], key=lambda arg: not arg.startswith("--config="))
    sys.argv = argv  # where ml_collections looks for the values
    defaults = load_config(paths[0])[1] if paths else ConfigDict()
    check_keys(defaults, overrides)
    try:
        rest = flags.FLAGS(argv)
    except (flags.IllegalFlagValueError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0].removeprefix("flag ").rstrip(".")
        name = re.match(r"--config\.([\w.]+)=", reason)
        before = value_of(defaults, name[1]) if name else None
        plain = before is not None and not isinstance(before, ConfigDict)
        like = f" (it is {before!r} in the file)" if plain else ""
        raise InputError(f"{reason}{like}.") from error
    except flags.Error as error:
        sentence = str(error).replace(" ?", "?")
        stop = "" if sentence.endswith((".", "?")) else "."
        raise InputError(f"{sentence}{stop} See --help.") from error
    for name in overrides:
        check_elements(name, value_of(defaults, name), value_of(CONFIG.value, name))
    return rest


def value_of(config: Any, name: str) -> Any:
    """The value of a dotted name."""
    return functools.reduce(lambda values, key: values[key], name.split("."), config)


def check_elements(name: str, before: Any, after: Any) -> None:
    """Raise `InputError` for text in a tuple of numbers: ml_collections checks the tuple alone."""
    texts = [[isinstance(x, str) for x in v] for v in (before, after) if isinstance(v, tuple)]
    if len(texts) == 2 and texts[0] and {*texts[1]} - {*texts[0]}:
        raise InputError(f"--config.{name} is {after!r}, not of the types of {before!r}.")


def config_source() -> str:
    """The --config value of this command, relative to the checkout where it lies in it."""
    value = next(arg.partition("=")[2] for arg in sys.argv if arg.startswith("--config="))
    return value.removeprefix(f"{ROOT}{os.sep}")


def find_config(value: str) -> str:
    """The config file of a --config value, with the string after the first ':' kept.

    It is looked for in the working directory, then beside the package.
    """
    name, colon, argument = value.partition(":")
    for root in (Path.cwd(), ROOT):
        if (root / name).is_file():
            path = (root / name).resolve()
            return f"{path}{colon}{argument}"
    known = sorted(f"configs/{path.name}" for path in (ROOT / "configs").glob("[!_]*.py"))
    near = difflib.get_close_matches(name, known, 1, 0.4)
    hint = f"did you mean {near[0]}?" if near else f"the ones that ship are {', '.join(known)}."
    places = " or ".join(sorted({str(Path.cwd()), str(ROOT)}))
    raise InputError(f"There is no config {name!r} in {places}; {hint}")


def load_config(value: str, overrides: Mapping[str, Any] | None = None) -> tuple[Any, ConfigDict]:
    """(module, values) of a config file, 'path.py' or 'path.py:argument'.

    The module has `build(config, facts=None)`; `overrides` maps dotted names to values.
    """
    path, colon, argument = find_config(value).partition(":")
    module = import_file(Path(path))
    arguments = (argument,) if colon else ()
    try:
        inspect.signature(module.get_config).bind(*arguments)
    except TypeError:
        rule = "takes nothing after its name" if colon else "needs an argument, as FILE:ARGUMENT"
        raise InputError(f"The config {path} {rule} (get_config).") from None
    with python_errors(Path(path)):
        config = module.get_config(*arguments)
    if not isinstance(config, ConfigDict):
        raise InputError(f"get_config() of {path} must return a ConfigDict.")
    check_keys(config, overrides or {})
    with config.unlocked():
        config.update_from_flattened_dict(dict(overrides or {}))
    config.lock()
    return module, config


def define_trust() -> None:
    """The flag of the programs that run the config a workdir names."""
    flags.DEFINE_bool(
        "trust_config",
        False,
        "Run the config that the workdir names, which is Python code, wherever it lies.",
    )


def import_file(path: Path) -> ModuleType:
    """The module of a Python file, whatever folder it lies in."""
    spec = importlib.util.spec_from_file_location(f"segjax_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    with python_errors(path):
        spec.loader.exec_module(module)
    for name in ("get_config", "build"):
        if not hasattr(module, name):
            raise InputError(f"The config {path} lacks {name}(), which every config has.")
    try:
        inspect.signature(module.build).bind(None, None)
    except TypeError:
        raise InputError(f"build() of the config {path} must take (config, facts=None).") from None
    return module


def build(module: ModuleType, config: Any, facts: Mapping[str, Any] | None = None) -> Experiment:
    """The experiment of a config; with facts no data are opened. Its errors become a sentence."""
    with python_errors(Path(str(module.__file__))):
        return module.build(config, facts)


@contextlib.contextmanager
def python_errors(path: Path) -> Iterator[None]:
    """Say in which line of the config at `path` an error is, unless the package raised it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = max((i for i, f in enumerate(frames) if Path(f.filename) == path), default=-1)
        line = frames[last].lineno if last >= 0 else None
        if line is None and not isinstance(error, SyntaxError | ImportError):
            raise
        beyond = frames[last + 1 :] if last >= 0 else []
        if any(Path(f.filename).is_relative_to(ROOT / "segjax") for f in beyond):
            raise  # with its traceback: perhaps it is not the config's fault
        reason = str(error)
        if isinstance(error, SyntaxError):
            reason = error.msg
            line = error.lineno if error.filename == str(path) else line
        kind = type(error).__name__
        raise InputError(f"The config {path} fails in line {line}: {kind}: {reason}.") from error


def check_values(config: Any) -> None:
    """Raise `InputError` unless the config has the values that every run needs, counts above 0."""
    known = flatten(config)
    for name in ("seed", "batch_size", "best", "log_every", "train.steps"):
        if name not in known:
            raise InputError(f"The config lacks the value {name}, which every run needs.")
    counts = ["batch_size", "log_every", "train.steps", "train.eval_every", "train.save_every"]
    counts += [name for name in known if name.startswith("model.")]  # widths, depths, rates
    for name in {*counts} & {*known}:
        value = value_of(config, name)
        each = [x for x in (value if isinstance(value, tuple) else [value]) if type(x) is int]
        if each and min(each) < 1:
            raise InputError(f"--config.{name} must be at least 1, not {value}.")
    if not 0 <= config.seed < 2**32:
        raise InputError(f"--config.seed must be from 0 to {2**32 - 1}, not {config.seed}.")
    for name in known:
        value = value_of(config, name)
        each = value if isinstance(value, tuple) else [value]
        if not all(math.isfinite(x) for x in each if isinstance(x, float)):
            raise InputError(f"--config.{name} must be finite, not {value}.")


def check_keys(config: ConfigDict, names: Any) -> None:
    """Raise `InputError` for a dotted name that the config lacks, suggesting the nearest."""
    known = flatten(config)
    for name in names:
        if "[" in name:
            raise InputError(f"--config.{name}: a tuple is set as a whole, as in 1,2,3.")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}."
            raise InputError(f"The config has no value {name!r}; {hint}")


def flatten(config: ConfigDict, prefix: str = "") -> list[str]:
    """The dotted names of all values."""
    names = []
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            names += [prefix + name, *flatten(value, f"{prefix}{name}.")]
        else:
            names.append(prefix + name)
    return names


def plain_values(config: ConfigDict) -> dict[str, Any]:
    """Nested plain values as JSON holds them."""
    return json.loads(config.to_json_best_effort())
