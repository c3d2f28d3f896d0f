"""torchvision's dilated ResNet at an eighth of its width behind the stem (torch only)."""

from torchvision.models.resnet import Bottleneck, ResNet


class NarrowResNet(ResNet):
    def __init__(self, layers):
        super().__init__(Bottleneck, layers, replace_stride_with_dilation=[False, True, True])

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        return super()._make_layer(block, planes // 8, blocks, stride, dilate)
