"""What skips and border weights are worth to U-Net on touching cells.

    python experiments/unet_cells.py --output=runs/unet_cells

Trains configs/unet.py as it is, without skips and without border weights, once for each seed, and
writes table.md (mean and standard deviation over the seeds) and plot.png. Runs that are finished
are not repeated, so the command can be interrupted and given again.
"""

import sweep

CONFIG = "--config=configs/unet.py"
VARIANTS = {
    "U-Net": [CONFIG],
    "without skips": [CONFIG, "--config.model.merge=none"],
    "without border weights": [CONFIG, "--config.border_weight=0"],
}
FIGURES = ("miou", "boundary_iou", "v_rand@0.5", "v_rand", "v_info")

if __name__ == "__main__":
    sweep.run(__doc__, VARIANTS, FIGURES, "runs/unet_cells")
