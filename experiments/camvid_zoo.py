"""Every architecture on CamVid, all with the same small budget.

    python experiments/camvid_zoo.py --output=runs/camvid_zoo --config.manual_dir=camvid

Reduced widths (`experiments/zoo.py`), images of 90 x 120 that are scored at 360 x 480, random
initial weights, AdamW, and 200 steps of four images for all: such a table tells which networks
learn quickly from little, not which is best at its size. Three seeds; table.md and plot.png.
"""

import sweep
from zoo import ZOO

BUDGET = [
    "--config.scale=0.25",
    "--config.batch_size=4",
    "--config.train.steps=200",
    "--config.train.eval_every=200",
]


def arguments(config: str, values: dict) -> list[str]:
    flags = [
        f"--config.{name}={','.join(map(str, x)) if isinstance(x, tuple) else x}"
        for name, x in values.items()
    ]
    return [f"--config=configs/{config}.py", *flags, *BUDGET]


VARIANTS = {name: arguments(config, values) for name, (config, values) in ZOO.items()}

if __name__ == "__main__":
    sweep.run(__doc__, VARIANTS, ("miou", "pixel_accuracy"), "runs/camvid_zoo")
