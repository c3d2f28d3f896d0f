"""Writes resnet_torchvision.npz: a small torchvision ResNet, dilated as its segmentation models.

python tests/golden/resnet.py    (made with torchvision 0.28)
"""

from reference import save
from torchvision.models.resnet import Bottleneck, ResNet

save(
    "resnet_torchvision",
    ResNet(Bottleneck, [1, 2, 2, 2], 10, replace_stride_with_dilation=[False, True, True]),
    (65, 49),
    batch=3,
)
