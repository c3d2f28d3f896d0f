"""Paired timings of implementations that live in separate processes, or separate environments.

Each implementation is one worker process that stays alive and answers timing requests as JSON
lines over pipes. The coordinator asks them in turn, A B C ... C B A, so that drift of the machine
hits all of them alike, and takes medians. On one core a sample is CPU time, which other load
hardly touches; on several cores it is wall time.

A benchmark is one script that plays both parts:

    import harness

    def build(case, size):                       # in the worker: import, allocate, compile, check
        import jax
        ...
        return lambda: jax.block_until_ready(step(x))

    def main():
        args = parser.parse_args()               # parser = harness.parser(__doc__)
        if args.worker:                          # harness.start ran this script again
            harness.serve(BUILDERS[args.worker])
            return
        pythons = {'segjax': sys.executable, 'torch': args.python_torch}
        with harness.start(__file__, pythons, args.cores, args.default_allocator) as workers:
            seconds = harness.compare(workers, {'case': 'nearest', 'size': 64}, args.rounds)
            print(harness.table(('case', 'segjax ms', 'torch ms'), rows))
        print(harness.hardware(args.cores), harness.versions(pythons.values(), ('jax', 'torch')))

`build` receives the request's keys as keyword arguments and returns a function without arguments
that runs the work once and waits for it. A request is built once per worker and kept until another
request is made. Torch workers set `torch.set_num_threads(int(os.environ["HARNESS_CORES"]))`. The
interpreter that runs the script must have segjax (`pip install -e .`). This module needs nothing
but the standard library, so it runs in every environment.
"""

import argparse
import contextlib
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import time


def parser(description, cores=1, rounds=5):
    """Returns an ArgumentParser with the options that every benchmark has."""
    p = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--cores",
        type=int,
        default=cores,
        help="cores that a worker may use; 1 measures CPU time (robust on a shared machine), "
        f"more measure wall time (default {cores})",
    )
    p.add_argument(
        "--python-torch",
        default=sys.executable,
        metavar="PATH",
        help="Python interpreter that has torch (default: the one that runs this script)",
    )
    p.add_argument(
        "--rounds",
        type=int,
        default=rounds,
        help=f"rounds A B C ... C B A, two samples per worker each (default {rounds})",
    )
    p.add_argument(
        "--default-allocator",
        action="store_true",
        help="leave glibc's allocator as it is; otherwise all workers keep freed memory "
        "(see keep_memory in benchmarks/harness.py)",
    )
    p.add_argument("--worker", help=argparse.SUPPRESS)
    return p


def keep_memory():
    """Makes glibc keep freed memory instead of returning it to the kernel.

    XLA:CPU allocates its temporary and output buffers anew at every call; by default glibc maps
    and unmaps blocks of this size, and every call pays for the page faults. Workers call it before
    their first large allocation. Does nothing where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(-4, 0)  # M_MMAP_MAX: never map single blocks
    libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: never shrink the heap
    libc.mallopt(-2, 64 << 20)  # M_TOP_PAD: grow the heap in large steps
    libc.mallopt(-8, 1)  # M_ARENA_MAX: one heap for all threads


def serve(build):
    """Runs a worker: answers requests on stdin with seconds per call until stdin closes."""
    if os.environ["HARNESS_ALLOCATOR"] == "keep":
        keep_memory()
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever libraries print stays off the pipe
    clock = time.process_time if os.environ["HARNESS_CORES"] == "1" else time.perf_counter
    current, run, repeats = None, None, 1
    for line in sys.stdin:
        request = json.loads(line)
        if request != current:
            run = None  # frees the last case before the next one is built
            run, current, repeats = build(**request), request, 1
            run()
            while repeats * _clock(run, repeats, clock) < 0.05:  # a sample is 50 ms or one call
                repeats *= 2
        answers.write(json.dumps(_clock(run, repeats, clock)) + "\n")
        answers.flush()


def _clock(run, repeats, clock):
    begin = clock()
    for _ in range(repeats):
        run()
    return (clock() - begin) / repeats


@contextlib.contextmanager
def start(script, pythons, cores, default_allocator=False):
    """Starts `script --worker NAME` once per entry of pythons {NAME: interpreter}.

    All workers are pinned to the same first `cores` cores that this process may use; only one of
    them works at a time. Gives {NAME: process} and ends the processes on exit.
    """
    allowed = set(sorted(os.sched_getaffinity(0))[:cores])
    env = os.environ | {"HARNESS_CORES": str(cores), "OMP_NUM_THREADS": str(cores)}
    env |= {"HARNESS_ALLOCATOR": "default" if default_allocator else "keep"}
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(
                subprocess.Popen(
                    [python, script, "--worker", name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=env,
                    preexec_fn=lambda: os.sched_setaffinity(0, allowed),
                )
            )
            for name, python in pythons.items()
        }


def ask(worker, request):
    """Returns the seconds that one call of the request takes in this worker, measured now."""
    worker.stdin.write(json.dumps(request) + "\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise RuntimeError(f"worker {worker.args} stopped at {request}; its message is above")
    return json.loads(answer)


def compare(workers, request, rounds=5):
    """Returns {name: median seconds per call} of one request over alternating rounds."""
    samples = {name: [] for name in workers}
    for name in workers:  # build, compile and warm up outside the samples
        ask(workers[name], request)
    for _ in range(rounds):
        for name in (*workers, *reversed(workers)):
            samples[name].append(ask(workers[name], request))
    return {name: statistics.median(s) for name, s in samples.items()}


def table(header, rows):
    """Returns a Markdown table; floats are shown with three significant digits."""

    def cell(value):
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def hardware(cores):
    """Returns one sentence that names the machine and what a sample is."""
    with open("/proc/cpuinfo") as f:
        model = next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    kind = (
        "CPU time of a worker pinned to one core" if cores == 1 else f"wall time on {cores} cores"
    )
    return f"{model}, {os.cpu_count()} cores, {platform.system()}; medians of {kind}."


def versions(pythons, packages):
    """Returns 'package version' of each package, asked of the first interpreter that has it."""
    code = (
        "import importlib.metadata as m,sys\nfor p in sys.argv[1:]:\n try: print(p,m.version(p))\n"
    )
    code += " except m.PackageNotFoundError: pass"
    found = {}
    for python in dict.fromkeys(pythons):
        out = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True)
        for line in out.stdout.splitlines():
            found.setdefault(line.split()[0], line)
    return ", ".join(found.values())
