"""Golden files of timm's classifiers whose names are not torchvision's.

python tests/golden/timm_backbones.py    (made with timm 1.0.29)

Of the VGG the features, for its classifier averages what is smaller than 7x7; of the others the
scores. The MobileNets are of full width: timm rounds those of narrower ones otherwise.
"""

import timm
import torch
from reference import save
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models.resnet import Bottleneck, ResNet
from timm.models.resnetv2 import ResNetV2
from timm.models.vgg import VGG


class Features(VGG):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"c5": self.forward_features(x)}


vgg11 = [3, "M", 4, "M", 5, 5, "M", 6, 6, "M", 7, 7, "M"]
save("vgg_timm", Features(vgg11, 10, mlp_ratio=1 / 512), (65, 97))

v1c = ResNet(Bottleneck, (1, 2, 2, 2), 10, stem_type="deep", stem_width=4, channels=(8, 16, 32, 64))
save("resnet_v1c_timm", v1c, (65, 49), batch=3)

v2 = ResNetV2(
    [1, 2, 2, 2],
    (32, 64, 128, 256),
    10,
    stem_chs=8,
    norm_layer=BatchNormAct2d,
    conv_layer=create_conv2d,
)
save("resnet_v2_timm", v2, (65, 49), batch=3)

# Behind the gates of v3-large an image of contrast 1 grows to 4000, and float32 is off by 1e-4.
for name in ("mobilenetv2_100", "mobilenetv3_large_100", "mobilenetv3_small_100"):
    save(f"{name}_timm", timm.create_model(name, num_classes=10), (65, 49), batch=3, contrast=0.1)
