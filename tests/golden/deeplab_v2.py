"""Writes deeplab_v2_port{,_321,_rates}.npz: the port of DeepLab v2 to PyTorch, by its own code.

python tests/golden/deeplab_v2.py CHECKOUT    (made with torch 2.13)

CHECKOUT is https://github.com/kazuto1011/deeplab-pytorch at 4219467. Its classes `MSC` and
`DeepLabV2` run with a sixteenth of their channels and fewer units, at sides that three quarters
and a half of are no whole numbers, 321 of its own training among them, and of its
`DeepLabV2S_ResNet101_MSC` the rates 3, 6, 9, 12. The logits are resized to the image as its main.py
does. In training mode the wrapper returns the scales too; their norms are in evaluation mode.
Of the largest a quarter of the rows and columns are kept.
"""

import sys

from authors_code import load
from reference import save
from torch import nn
from torch.nn import functional as F

models = load(sys.argv[1], "libs.models", {"64 * 2 ** p": "4 * 2 ** p"})


class Resized(nn.Module):
    def __init__(self, rates, step=1):
        super().__init__()
        base = models.DeepLabV2(n_classes=2, n_blocks=[1, 1, 2, 1], atrous_rates=rates)
        net = models.MSC(base=base, scales=[0.5, 0.75])
        self.base, self.net, self.step = net.base, [net], step  # a list: under no second name

    def forward(self, image):
        [net] = self.net
        out = {"out": net.eval()(image)}
        net.train()
        base = net.base.eval()
        _, _, lower, largest = net(image)
        assert base.training is False
        assert (largest == out["out"]).all()
        out["scale_0.75"] = F.interpolate(
            lower, size=largest.shape[2:], mode="bilinear", align_corners=False
        )
        return {
            name: F.interpolate(x, size=image.shape[2:], mode="bilinear", align_corners=False)[
                :, :, :: self.step, :: self.step
            ]
            for name, x in out.items()
        }


save("deeplab_v2_port", Resized([6, 12, 18, 24]), (97, 129), double=True)
save("deeplab_v2_port_321", Resized([6, 12, 18, 24], 4), (321, 321), grain=1, double=True)
save("deeplab_v2_port_rates", Resized([3, 6, 9, 12]), (97, 71), batch=2, double=True)
