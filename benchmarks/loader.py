"""Images per second that the loader gives, against those that training needs.

    python benchmarks/loader.py --config=configs/unet.py

The loader alone, by threads and by worker processes, and the training step alone on one batch that
stays on the device.
"""

import argparse
import itertools
import time

import jax
import numpy as np
from absl import flags

from segjax import cli, process


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/unet.py")
    parser.add_argument("--batches", type=int, default=40, help="measured (default 40)")
    parser.add_argument("--steps", type=int, default=10, help="training steps (default 10)")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2], help="0: threads")
    parser.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="of the config")
    options = parser.parse_args()
    flags.FLAGS.mark_as_parsed()
    process.keep_freed_memory()
    from segjax import parallel, train

    overrides = dict(item.split("=", 1) for item in options.overrides)
    print("| what | images/s |\n|---|---|")
    experiment = batch = None
    for workers in options.workers:
        module, config = cli.load_config(options.config, {**overrides, "num_workers": workers})
        experiment = module.build(config)
        batches = experiment.train(0)
        batch = list(itertools.islice(batches, 12))[-1]  # past what was read ahead
        began = time.perf_counter()
        for _ in itertools.islice(batches, options.batches):
            pass
        rate = options.batches * len(batch["image"]) / (time.perf_counter() - began)
        print(f"| loader, {f'{workers} processes' if workers else 'threads'} | {rate:.1f} |")
        del batches
    assert experiment is not None
    assert batch is not None
    mesh = parallel.data_mesh()
    state = parallel.replicate(train.init_state(experiment, batch, jax.random.key(0)), mesh)
    step = train.jit_train_step(experiment, mesh)
    placed = parallel.shard_batch(batch, mesh)
    state, scalars = step(state, placed, np.int32(0))
    float(scalars["loss"])
    began = time.perf_counter()
    for i in range(1, options.steps + 1):
        state, scalars = step(state, placed, np.int32(i))
    float(scalars["loss"])
    rate = options.steps * len(batch["image"]) / (time.perf_counter() - began)
    print(f"| training step | {rate:.1f} |")


if __name__ == "__main__":
    main()
