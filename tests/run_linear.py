"""A small training run for tests that need processes of their own.

python run_linear.py FOLDER STEPS [PROCESS NUM_PROCESSES PORT]: prints the final step and weights.
"""

import json
import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_platforms", "cpu")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np  # noqa: E402
from test_train import Report, experiment  # noqa: E402

from segjax import parallel, train  # noqa: E402
from segjax.checkpoint import Checkpoints  # noqa: E402


def main(folder: str, steps: str, process: str = "0", processes: str = "1", port: str = ""):
    if port:
        parallel.initialize(f"127.0.0.1:{port}", int(processes), int(process))
    whole, rows = experiment(), 8 // int(processes)
    share = slice(int(process) * rows, (int(process) + 1) * rows)  # so that the order is one's

    def mine(batch):
        return {name: x[share] for name, x in batch.items()}

    def slow(start):
        for batch in whole.train(start):
            time.sleep(0.02)
            yield mine(batch)

    evals = {"val": lambda: map(mine, whole.evals["val"]())}
    exp = whole._replace(train=slow, evals=evals)
    checkpoints = Checkpoints(folder, "-error")
    outcome = train.fit(
        exp, parallel.data_mesh(), checkpoints, Report(), steps=int(steps), eval_every=5
    )
    checkpoints.close()
    weights = np.asarray(outcome.state.params["w"]).tolist()
    print(json.dumps({"step": int(outcome.state.step), "w": weights, **outcome.figures["val"]}))


main(*sys.argv[1:])
