"""Each architecture at a size that compiles in seconds, and the upsamplers that fit its decoder.

Networks that differ in depth or width alone have one row, with the upsamplers; () is for those
without an upsampler, and for volumes, whose upsamplers are others.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn

from segjax.backbones import alexnet, efficientnet, mobilenet_v2, mobilenet_v3, vgg
from segjax.backbones.hrnet import HRNet
from segjax.backbones.resnet import BasicBlock, ResNet
from segjax.backbones.vgg import VGG
from segjax.models import (
    attention_m_net,
    deconvnet,
    deeplab_v1,
    deeplab_v2,
    deeplab_v3,
    deeplab_v3plus,
    encoder_unet,
    farabet_multiscale,
    fcn,
    fcn_resnet,
    fpn,
    hed,
    hourglass,
    hrnet,
    linknet,
    lraspp,
    m_net,
    mimo_unet,
    multi_modal_unet,
    naive_fcn,
    ocr,
    pinheiro_recurrent,
    pspnet,
    refinenet,
    segnet,
    ternausnet,
    unet,
    unet3d,
)
from segjax.nn.aspp import ASPP, SeparableConvNorm
from segjax.nn.fpn import FPN, PathAggregation
from segjax.nn.layers import BatchNorm, GroupNorm
from segjax.nn.upsample import UPSAMPLERS, Bilinear

ALL = tuple(UPSAMPLERS)
UNPAIRED = tuple(name for name in ALL if name != "max_unpool")  # no switches behind this decoder


class Tiny(NamedTuple):
    make: Callable[..., nn.Module]  # keywords such as upsample= -> a network of three classes
    input: tuple[int, ...]  # (height, width, channels), as small as it goes, not square
    upsamplers: tuple[str, ...]  # that fit at this size


def _fcn_vgg():
    return vgg.VGG((1, 1, 1, 1, 1), (4, 4, 4, 4, 4), pool_rounding="ceil", first_padding=100)


def _hrnet(upsample):
    return HRNet(2, (1, 2), (1, 1, 1), units=1, stem=4, upsample=upsample)


def _fpn(make, upsample=Bilinear, **fields):
    backbone = ResNet((1, 1, 1, 1), BasicBlock, width=4, stem=(4,))
    norm = functools.partial(GroupNorm, num_groups=2)
    return make(3, backbone=backbone, width=4, norm=norm, upsample=upsample, **fields)


BASIC = ResNet((1, 1, 1, 1), BasicBlock, width=4, stem=(4,))
BOTTLENECK = ResNet((1, 1, 1, 1), width=4, stem=(4,))
EFFICIENTNET = efficientnet.EfficientNet(
    (efficientnet.Stage(1, 3, 1, 8, 1), *[efficientnet.Stage(2, 3, 2, 8, 1)] * 4),
    width_mult=0.25,
    padding=380,
    stochastic_depth=0.0,
)


def _encoder_unet(backbone, upsamplers, widths=(4, 4, 4, 4, 4), centre=0):
    make = functools.partial(encoder_unet.EncoderUNet, 3, backbone, widths, centre)
    return Tiny(make, (32, 64, 3), upsamplers)


def _dilated(stem=(4,)):
    return ResNet((1, 1, 1, 1), BasicBlock, width=4, stem=stem, output_stride=8)


def _dilated_mobilenet():
    units = tuple(mobilenet_v3.LARGE[i] for i in (1, 3, 6, 12))
    return mobilenet_v3.MobileNetV3(units, 0.25, output_stride=16)


TINY = {
    "unet": Tiny(
        lambda **kw: unet.UNet(3, width=4, depth=2, padding="same", norm=BatchNorm, **kw),
        (16, 24, 3),
        ALL,
    ),
    "hed": Tiny(
        lambda **kw: hed.HED(3, VGG((1, 1, 1, 1, 1), (4, 4, 4, 4, 4)), **kw),
        (32, 48, 3),
        UNPAIRED,
    ),
    "fcn32s": Tiny(
        lambda **kw: fcn.fcn32s(3, backbone=_fcn_vgg(), hidden=4, **kw), (5, 9, 3), UNPAIRED
    ),
    "fcn16s": Tiny(
        lambda **kw: fcn.fcn16s(3, backbone=_fcn_vgg(), hidden=4, **kw), (5, 9, 3), UNPAIRED
    ),
    "fcn8s": Tiny(
        lambda **kw: fcn.fcn8s(3, backbone=_fcn_vgg(), hidden=4, **kw), (5, 9, 3), UNPAIRED
    ),
    "fcn_alexnet": Tiny(
        lambda **kw: fcn.fcn_alexnet(
            3,
            backbone=alexnet.caffenet(widths=(4, 4, 4, 4, 4), first_padding=100),
            hidden=4,
            **kw,
        ),
        (3, 11, 3),
        UNPAIRED,
    ),
    "deconvnet": Tiny(
        lambda **kw: deconvnet.DeconvNet(
            3, vgg.VGG((1, 1), (4, 4), norm=BatchNorm), window=2, hidden=4, **kw
        ),
        (8, 12, 3),
        ALL,
    ),
    "segnet": Tiny(
        lambda **kw: segnet.SegNet(3, vgg.VGG((2, 1), (4, 4), norm=BatchNorm), **kw),
        (8, 12, 3),
        ALL,
    ),
    "segnet_basic": Tiny(
        lambda **kw: segnet.SegNetBasic(3, width=4, depth=2, **kw), (16, 24, 3), ALL
    ),
    "deeplab_v1": Tiny(
        lambda **kw: deeplab_v1.DeepLabV1(
            3,
            vgg.VGG((1, 1, 1, 1, 1), (4, 4, 4, 4, 4), pool_size=3, output_stride=8),
            hidden=4,
            dilation=1,
            **kw,
        ),
        (24, 32, 3),
        UNPAIRED,
    ),
    "fcn_resnet50": Tiny(
        lambda **kw: fcn_resnet.FCNResNet(3, _dilated(), **kw), (16, 24, 3), UNPAIRED
    ),
    "deeplab_v2": Tiny(
        lambda **kw: deeplab_v2.DeepLabV2(
            3, _dilated(), functools.partial(deeplab_v2.SummedASPP, rates=(1, 2)), (1, 0.5), **kw
        ),
        (16, 24, 3),
        UNPAIRED,
    ),
    "deeplab_v2_vgg16": Tiny(
        lambda **kw: deeplab_v2.DeepLabV2(
            3,
            VGG((1, 1, 1, 1, 1), (4, 4, 4, 4, 4), pool_size=3, output_stride=8),
            functools.partial(deeplab_v2.SummedClassifiers, rates=(1, 2), hidden=4),
            (1,),
            **kw,
        ),
        (16, 24, 3),
        UNPAIRED,
    ),
    "deeplab_v3_resnet50": Tiny(
        lambda **kw: deeplab_v3.DeepLabV3(
            3, _dilated(), functools.partial(ASPP, 4, (1, 2)), convs=1, auxiliary="c4", **kw
        ),
        (16, 24, 3),
        UNPAIRED,
    ),
    "deeplab_v3_resnet101": Tiny(
        lambda **kw: deeplab_v3.DeepLabV3(
            3, _dilated(), functools.partial(deeplab_v3.Cascade, (2,), (1,), (1, 2)), **kw
        ),
        (16, 24, 3),
        UNPAIRED,
    ),
    "deeplab_v3_mobilenet_v3": Tiny(
        lambda **kw: deeplab_v3.DeepLabV3(
            3, _dilated_mobilenet(), functools.partial(ASPP, 4, (1,)), auxiliary="c3", **kw
        ),
        (32, 48, 3),
        UNPAIRED,
    ),
    "deeplab_v3plus_resnet50": Tiny(
        lambda **kw: deeplab_v3plus.DeepLabV3Plus(
            3, _dilated(), 4, functools.partial(ASPP, rates=(1, 2)), low_features=2, **kw
        ),
        (16, 24, 3),
        UNPAIRED,
    ),
    "deeplab_v3plus_resnet101": Tiny(
        lambda **kw: deeplab_v3plus.DeepLabV3Plus(
            3,
            _dilated(),
            4,
            functools.partial(ASPP, rates=(1, 2)),
            SeparableConvNorm,
            auxiliary="c4",
            **kw,
        ),
        (16, 24, 3),
        UNPAIRED,
    ),
    "lraspp": Tiny(
        lambda **kw: lraspp.LRASPP(3, _dilated_mobilenet(), 4, **kw), (32, 48, 3), UNPAIRED
    ),
    "pspnet50": Tiny(
        lambda **kw: pspnet.PSPNet(3, _dilated(stem=(4, 4)), 4, **kw), (16, 24, 3), UNPAIRED
    ),
    "unet_caffe": Tiny(
        lambda **kw: unet.unet_caffe(3, **{"width": 4, "depth": 2, "padding": "same"} | kw),
        (16, 24, 3),
        ("transposed",),
    ),
    "unet_bilinear": Tiny(
        lambda **kw: unet.unet_bilinear(3, width=4, depth=2, **kw), (16, 24, 3), ALL
    ),
    "unet_resnet18": _encoder_unet(BASIC, UNPAIRED),
    "unet_resnet50": _encoder_unet(BOTTLENECK, ("bilinear",)),
    "unet_mobilenet_v2": _encoder_unet(
        mobilenet_v2.MobileNetV2(
            (mobilenet_v2.Stage(1, 8, 1, 1), *[mobilenet_v2.Stage(2, 8, 1, 2)] * 4), last=4
        ),
        ("nearest",),
    ),
    "unet_vgg16": _encoder_unet(
        vgg.VGG((1, 1, 1, 1, 2), (3, 4, 4, 4, 4)), ALL, widths=(4, 4, 4, 3, 3), centre=2
    ),
    "unet_efficientnet_b0": _encoder_unet(EFFICIENTNET, ("sub_pixel",)),
    "ternausnet11": Tiny(
        # features as wide as the skips, so that max unpooling fits
        lambda **kw: ternausnet.ternausnet11(
            3,
            backbone=VGG((1, 1, 1, 1, 1), (4, 4, 4, 4, 4)),
            decoder=((4, 4),) * 5,
            **kw,
        ),
        (32, 64, 3),
        ALL,
    ),
    "ternausnet16": Tiny(
        lambda **kw: ternausnet.ternausnet16(
            3,
            backbone=VGG((1, 1, 1, 1, 1), (4, 4, 4, 4, 4)),
            decoder=((4, 4),) * 5,
            **kw,
        ),
        (32, 64, 3),
        UNPAIRED,
    ),
    "albunet34": Tiny(
        lambda **kw: ternausnet.albunet34(
            3,
            backbone=ternausnet.AlbuEncoder((1, 1, 1, 1), 4),
            decoder=((4, 4),) * 6,
            **kw,
        ),
        (64, 128, 3),
        UNPAIRED,
    ),
    "linknet18": Tiny(
        lambda **kw: linknet.linknet18(
            3, backbone=ResNet((1, 1, 1, 1), BasicBlock, width=4, stem=(4,)), **kw
        ),
        (32, 64, 3),
        UNPAIRED,
    ),
    "linknet34": Tiny(
        lambda **kw: linknet.linknet34(
            3, backbone=ResNet((1, 1, 1, 1), BasicBlock, width=4, stem=(4,)), **kw
        ),
        (32, 64, 3),
        UNPAIRED,
    ),
    "linknet34_smp": Tiny(
        lambda **kw: linknet.linknet34_smp(
            3, backbone=ResNet((1, 1, 1, 1), BasicBlock, width=4, stem=(4,)), **kw
        ),
        (32, 64, 3),
        UNPAIRED,
    ),
    "refinenet50": Tiny(
        lambda **kw: refinenet.RefineNet(
            3, ResNet((1, 1, 1, 1), width=2, stem=(2,)), features=4, units=(1, 1), pools=1, **kw
        ),
        (32, 64, 3),
        UNPAIRED,
    ),
    "hrnetv2_w48": Tiny(
        lambda upsample=Bilinear: hrnet.HRNetV2(3, _hrnet(upsample), upsample=upsample),
        (32, 64, 3),
        UNPAIRED,
    ),
    "hrnet_w48_ocr": Tiny(
        lambda upsample=Bilinear: ocr.OCR(
            3, _hrnet(upsample), features=8, key_features=4, upsample=upsample
        ),
        (32, 64, 3),
        UNPAIRED,
    ),
    "semantic_fpn": Tiny(
        lambda upsample=Bilinear: _fpn(
            fpn.SemanticFPN, upsample, neck=functools.partial(FPN, 8, upsample=upsample)
        ),
        (32, 64, 3),
        UNPAIRED,
    ),
    "semantic_panet": Tiny(
        lambda upsample=Bilinear: _fpn(
            fpn.SemanticFPN,
            upsample,
            neck=functools.partial(PathAggregation, functools.partial(FPN, 8), upsample=upsample),
        ),
        (32, 64, 3),
        UNPAIRED,
    ),
    **{
        f"pyramid_{name}": Tiny(
            functools.partial(_fpn, fpn.PYRAMIDS[name]), (32, 64, 3), ("transposed",)
        )
        for name in ("image_pyramid", "single_map", "hierarchy", "top_down")
    },
    "naive_fcn": Tiny(functools.partial(naive_fcn.NaiveFCN, 3, width=4, depth=2), (6, 9, 3), ()),
    "hourglass": Tiny(
        functools.partial(hourglass.Hourglass, 3, width=4, depth=2, merge=unet.concatenate),
        (8, 12, 3),
        ALL,
    ),
    "farabet_multiscale": Tiny(
        functools.partial(
            farabet_multiscale.FarabetMultiscale, 3, maps=(4, 4, 4), hidden=5, scales=2
        ),
        (16, 24, 3),
        UNPAIRED,
    ),
    "pinheiro_recurrent": Tiny(
        functools.partial(
            pinheiro_recurrent.RecurrentCNN, 3, maps=(2, 3), kernel_size=2, padding="same"
        ),
        (8, 12, 3),
        (),
    ),
    "m_net": Tiny(functools.partial(m_net.MNet, 3, width=4), (16, 32, 3), ALL),
    "attention_m_net": Tiny(
        functools.partial(attention_m_net.AttentionMNet, 3, width=2), (16, 32, 3), UNPAIRED
    ),
    "mimo_unet": Tiny(
        functools.partial(mimo_unet.MIMOUNet, 3, width=8, blocks=1), (8, 12, 3), UNPAIRED
    ),
    "multi_modal_unet": Tiny(
        functools.partial(
            multi_modal_unet.MultiModalUNet, 3, modalities=(2, 1), width=4, depth=2, norm=BatchNorm
        ),
        (8, 12, 3),
        ALL,
    ),
    "unet3d": Tiny(  # volumes: (depth, height, width, channels); tests/models/test_unet3d.py
        functools.partial(unet3d.UNet3D, 3, width=2, depth=2, padding="same"), (4, 8, 12, 2), ()
    ),
}
