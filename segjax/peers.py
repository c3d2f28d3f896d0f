"""One sentence where a run's other process is gone.

XLA's coordination service ends every process from C++ as soon as one of them is silent, with pages
of stack traces and where Python can catch nothing. So what C++ writes to standard error, file
descriptor 2, goes through a small process of its own (this file as a program), which outlives the
other and says in a sentence what happened; Python's own messages go the direct way.
"""

import os
import re
import subprocess
import sys

FATAL = "the JAX distributed service detected fatal errors"
LOG = re.compile(r"[WEF]\d{4} [\d:.]+ +\d+ (coordination_service|preemption_sync|client\.h)")
SILENT = re.compile(r"stopped sending heartbeats\):\n((?:\d+\n)+)")


def watch(process: int, count: int) -> None:
    """From now on, let this process of `count` end with a sentence when another one is gone."""
    from segjax import stdio  # not as a program, which knows nothing but this file

    direct = os.dup(2)
    command = [sys.executable, "-I", "-S", __file__, str(process), str(count)]
    reader = subprocess.Popen(  # in a session of its own, lest Ctrl-C end it first
        command, stdin=subprocess.PIPE, stdout=direct, start_new_session=True
    )
    assert reader.stdin is not None
    sys.stderr.flush()
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    sys.stderr = stdio.outlasting(direct, sys.stderr)


def said_instead(held: str, process: int, count: int) -> str:
    """What to print in place of what the service logged, or that itself if it ended nothing."""
    if FATAL not in held:
        return held
    named = SILENT.search(held)
    gone = named[1].split() if named else ["0"]  # the service itself, which lives in process 0
    return (
        f"segjax: process {process} of {count} ends because process {' and '.join(gone)} no longer "
        "answers: see what it printed last, or whether its machine is down. The same command on "
        "every host resumes from the newest checkpoint.\n"
    )


def main(process: int, count: int) -> None:
    held = ""  # from the service's first complaint on: only the end tells what it meant
    for raw in sys.stdin.buffer:
        line = raw.decode(errors="replace")
        if held or LOG.match(line):
            held += line
        else:
            print(line, end="", flush=True)
    print(said_instead(held, process, count), end="", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
