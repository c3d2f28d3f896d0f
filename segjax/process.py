"""The settings that suit a program's process, and that importing a library must not make."""

import contextlib
import ctypes
import inspect
import os
import signal
import sys
import threading
import warnings
from multiprocessing import resource_tracker
from typing import Any

from absl import logging

from segjax.errors import DISK_ERRORS


def set_up(cache: str | None) -> None:
    """All that waits until the flags are parsed; `cache` is the folder of compiled programs."""
    quiet_orbax()
    start_resource_tracker()
    import jax

    if cache:
        folder = os.path.expanduser(cache)
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def start_resource_tracker() -> None:
    """Start what frees the shared memory of worker processes so that it outlives its terminal.

    It ends with the last of them. That it has freed what a killed one left behind is no news.
    """
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), quiet]))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def quiet_orbax() -> None:
    """Print what fails in the background once: orbax raises it again to the loop.

    It also logs every file it moves, and what is left of a failed save fails again when Python
    drops it.
    """
    logging.set_verbosity(logging.FATAL)
    logging.get_absl_logger().manager.getLogger("asyncio").setLevel("CRITICAL")
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    print_traceback, print_unraisable = threading.excepthook, sys.unraisablehook

    def excepthook(arguments: Any) -> None:
        if "save" in getattr(arguments.thread, "name", ""):
            return  # orbax raises it again to the loop
        if str(arguments.exc_value) == "handle is closed":
            return  # TensorBoard's thread, when a run ends because a file could not be written
        if getattr(arguments.exc_value, "errno", None) in DISK_ERRORS:
            print(f"segjax: a file could not be written: {arguments.exc_value}.", file=sys.stderr)
        else:
            print_traceback(arguments)

    def unraisablehook(arguments: Any) -> None:
        said = getattr(arguments.exc_value, "errno", None) in DISK_ERRORS  # TensorBoard, once more
        if not said and not inspect.iscoroutine(arguments.object):
            print_unraisable(arguments)

    threading.excepthook, sys.unraisablehook = excepthook, unraisablehook


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks: XLA:CPU allocates its buffers anew in every call.

    By default each large block is mapped and page-faulted again; docs/performance.md has figures.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library: it has no such switch
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((-4, 0), (-1, -1), (-2, 64 << 20), (-8, 1)):
            mallopt(option, value)  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD, M_ARENA_MAX
