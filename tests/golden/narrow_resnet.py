"""torchvision's ResNets with few channels (torch only)."""

from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet


class NarrowResNet(ResNet):
    """Dilated, at an eighth of its width behind the stem."""

    def __init__(self, layers):
        super().__init__(Bottleneck, layers, replace_stride_with_dilation=[False, True, True])

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        return super()._make_layer(block, planes // 8, blocks, stride, dilate)


def narrow_resnet(block, layers, width):
    """Of `width` channels from the stem on."""
    resnet = ResNet(block, layers)
    resnet.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
    resnet.bn1 = nn.BatchNorm2d(width)
    resnet.inplanes = width
    for i, count in enumerate(layers):
        stage = resnet._make_layer(block, width * 2**i, count, stride=min(i, 1) + 1)
        setattr(resnet, f"layer{i + 1}", stage)
    return resnet
