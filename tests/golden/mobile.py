"""Golden files of torchvision's and timm's mobile classifiers, a quarter as wide.

python tests/golden/mobile.py    (made with torchvision 0.28 and timm 1.0.29)
"""

from functools import partial

from reference import save
from timm.models.efficientnet import _gen_efficientnet
from torch.nn import BatchNorm2d
from torchvision.models.efficientnet import EfficientNet, _efficientnet_conf
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf


class Maps(MobileNetV3):
    """The maps that torchvision's segmentation networks and detectors take, and the scores."""

    def forward(self, x):
        taps = {0: "c1", 2: "c2", 4: "c3", 7: "c4", 16: "c5"}
        maps = {}
        for i, module in enumerate(self.features):
            x = module(x)
            if i in taps:
                maps[taps[i]] = x
        return {**maps, "logits": self.classifier(x.mean((2, 3)))}


large = _mobilenet_v3_conf("mobilenet_v3_large", width_mult=0.25, dilated=True)
save("mobilenet_v3_large_torchvision", Maps(*large, num_classes=10), (81, 49))
small = _mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.25)
save("mobilenet_v3_small_torchvision", MobileNetV3(*small, num_classes=10), (65, 49), batch=3)

save("mobilenet_v2_torchvision", MobileNetV2(10, width_mult=0.25), (65, 49), batch=3)

blocks, last = _efficientnet_conf("efficientnet_b0", width_mult=0.25, depth_mult=1.1)
save("efficientnet_torchvision", EfficientNet(blocks, 0.2, num_classes=10), (65, 49), batch=3)

tensorflow = {"pad_type": "same", "norm_layer": partial(BatchNorm2d, eps=1e-3)}
net = _gen_efficientnet("tf_efficientnet_b0", 0.25, num_classes=10, **tensorflow)
save("efficientnet_timm", net, (66, 49))
