"""Seconds from the start of the process to the first finished training step.

    python benchmarks/startup.py --config=configs/unet.py

Cold: no compiled programs; warm: those of the run before. The data are prepared beforehand.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/unet.py")
    parser.add_argument("--rounds", type=int, default=3, help="cold and warm starts (default 3)")
    options, overrides = parser.parse_known_args()
    first_step(options.config, overrides, "")  # prepares the data, warms the disk's cache
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as cache:
            for name in times:
                times[name].append(first_step(options.config, overrides, cache))
    print("| start | seconds to the first step |\n|---|---|")
    for name, values in times.items():
        median, low, high = statistics.median(values), min(values), max(values)
        print(f"| {name} | {median:.1f} ({low:.1f} - {high:.1f}) |")


def first_step(config: str, overrides: list[str], cache: str) -> float:
    """Seconds until the first step is logged; the run is then ended."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "segjax.main", f"--config={config}"]
        command += [f"--workdir={folder}/run", "--config.log_every=1"]
        command += [f"--compilation_cache={cache}", *overrides]
        began = time.perf_counter()
        log = Path(folder) / "run" / "metrics.jsonl"
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
            while not (log.exists() and log.stat().st_size):
                if run.poll() is not None:
                    assert run.stderr is not None
                    sys.exit(f"{' '.join(command)} failed:\n{run.stderr.read().decode()}")
                time.sleep(0.02)
            seconds = time.perf_counter() - began
            run.kill()
        return seconds


if __name__ == "__main__":
    main()
