"""Every architecture here with the parameter count its paper or its authors' code gives.

`python -m segjax.summary --all` prints it; a test builds each row and compares the counts, and
fails when a file of `segjax.models` or `segjax.backbones` has no row.
"""

import functools

from segjax.backbones import vgg
from segjax.backbones.resnet import resnet18, resnet50, resnet50_v1c, resnet101, resnet101_v1c
from segjax.backbones.table import Entry
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


def _rgb(make, num_classes, size, parameters, paper, source, **fields):
    network = functools.partial(make, num_classes, **fields)
    return Entry(network, (*size, 3), parameters, paper, source)


def _fcn(make, parameters, source="the authors' Caffe files"):
    return _rgb(make, 21, (500, 500), parameters, "Long et al. 2014", source)


def _torchvision(make, parameters, paper, source="torchvision, with aux", **fields):
    return _rgb(make, 21, (520, 520), parameters, paper, source, **fields)


def _mmseg(make, resnet, parameters, paper, source="mmsegmentation, with aux", **fields):
    network = functools.partial(make, resnet)
    return _rgb(network, 19, (512, 1024), parameters, paper, source, **fields)


def _semseg(make, parameters, source="semseg, with aux", **fields):
    return _rgb(make, 19, (713, 713), parameters, "Zhao et al. 2016", source, **fields)


def _refinenet(make, parameters, paper="Lin et al. 2016", source="PyTorch port"):
    return _rgb(make, 21, (400, 400), parameters, paper, source)


def _hrnetv2(make, parameters):
    return _rgb(make, 19, (512, 1024), parameters, "Sun et al. 2019", "the authors' code")


def _pyramid(make, parameters, paper, source, num_classes=54):
    return _rgb(make, num_classes, (800, 1216), parameters, paper, source, backbone=resnet50())


def _encoder_unet(make, parameters, unused=0):
    source = "segmentation-models-pytorch"
    return _rgb(make, 1, (512, 512), parameters, "Ronneberger et al. 2015", source)._replace(
        unused=unused
    )


_torchvision_v3 = functools.partial(deeplab_v3.deeplab_v3_torchvision, resnet50)
_torchvision_v3_101 = functools.partial(deeplab_v3.deeplab_v3_torchvision, resnet101)
_PLAIN = "torchvision, without aux"
_MMSEG_PLAIN = "mmsegmentation, without aux"
_V3, _V3PLUS = "Chen et al. 2017", "Chen et al. 2018"
_TERNAUS, _SURGICAL = "Iglovikov and Shvets 2018", "Shvets et al. 2018"
_LIGHT = ("Nekrasov et al. 2018", "the layers, added up; the paper has 27M, 46M and 62M")
_SUMMED = "the layers, added up"


MODELS = {
    "unet": Entry(
        functools.partial(unet.UNet, 2),
        (572, 572, 1),
        31_030_658,
        "Ronneberger et al. 2015",
        "layer table of the paper",
    ),
    "unet_padded": _rgb(
        *(unet.unet_padded, 2, (512, 512), 31_037_698),
        *("Ronneberger et al. 2015", "github.com/milesial/Pytorch-UNet"),
    ),
    "hed": Entry(
        lambda: hed.HED(1, vgg.vgg16(pool_rounding="ceil")),
        (321, 481, 3),
        14_716_171,
        "Xie and Tu 2015",
        "arrays of the published file",
    ),
    "fcn32s": _fcn(fcn.fcn32s, 136_152_917),
    "fcn16s": _fcn(fcn.fcn16s, 134_815_994),
    "fcn8s": _fcn(fcn.fcn8s, 134_489_759),
    "fcn8s_at_once": _fcn(fcn.fcn8s_at_once, 134_489_759),
    "fcn_alexnet": _fcn(fcn.fcn_alexnet, 56_954_261 + 1_750_329),
    "deconvnet": _rgb(
        *(deconvnet.deconvnet, 21, (224, 224), 251_805_653),
        *("Noh et al. 2015", "the authors' Caffe file"),
    ),
    "segnet": _rgb(
        *(segnet.segnet, 11, (360, 480), 29_449_355),
        *("Badrinarayanan et al. 2015", "the authors' Caffe file"),
    ),
    "segnet_basic": _rgb(
        *(segnet.SegNetBasic, 11, (360, 480), 1_416_587),
        *("Badrinarayanan et al. 2015", "the authors' Caffe file"),
    ),
    "deeplab_v1": _rgb(
        *(deeplab_v1.deeplab_v1, 21, (321, 321), 20_505_429),
        *("Chen et al. 2014", "layer table; the paper has 20.5M"),
    ),
    "fcn_resnet50": _torchvision(fcn_resnet.fcn_resnet50, 35_322_218, "Long et al. 2015"),
    "fcn_resnet101": _torchvision(fcn_resnet.fcn_resnet101, 54_314_346, "Long et al. 2015"),
    "fcn_resnet50_plain": _torchvision(
        fcn_resnet.fcn_resnet50, 32_957_013, "Long et al. 2015", _PLAIN, auxiliary=None
    ),
    "fcn_resnet101_plain": _torchvision(
        fcn_resnet.fcn_resnet101, 51_949_141, "Long et al. 2015", _PLAIN, auxiliary=None
    ),
    "deeplab_v2": _rgb(
        *(deeplab_v2.deeplab_v2, 21, (321, 321), 44_048_532),
        *("Chen et al. 2016", "deeplab-pytorch"),
    ),
    "deeplab_v2_vgg16": _rgb(
        deeplab_v2.deeplab_v2_vgg16,
        21,
        (321, 321),
        37_877_652,
        "Chen et al. 2016",
        _SUMMED,
    ),
    "deeplab_v3_resnet50": _rgb(
        deeplab_v3.deeplab_v3_resnet50, 21, (513, 513), 39_048_533, _V3, _SUMMED
    ),
    "deeplab_v3_resnet101": _rgb(
        deeplab_v3.deeplab_v3_resnet101, 21, (513, 513), 58_040_661, _V3, _SUMMED
    ),
    "deeplab_v3_cascade101": _rgb(
        *(functools.partial(deeplab_v3.deeplab_v3_cascade, resnet101), 21, (513, 513)),
        *(42_500_160 + 9 * 4_462_592 + 2049 * 21, _V3, _SUMMED),
    ),
    "deeplab_v3_torchvision50": _torchvision(_torchvision_v3, 42_004_074, _V3),
    "deeplab_v3_torchvision50_plain": _torchvision(
        _torchvision_v3, 39_638_869, _V3, _PLAIN, auxiliary=None
    ),
    "deeplab_v3_torchvision101": _torchvision(_torchvision_v3_101, 60_996_202, _V3),
    "deeplab_v3_torchvision101_plain": _torchvision(
        _torchvision_v3_101, 58_630_997, _V3, _PLAIN, auxiliary=None
    ),
    "deeplab_v3_mobilenet_v3": _torchvision(deeplab_v3.deeplab_v3_mobilenet_v3, 11_029_328, _V3),
    "deeplab_v3_mobilenet_v3_plain": _torchvision(
        deeplab_v3.deeplab_v3_mobilenet_v3, 11_025_477, _V3, _PLAIN, auxiliary=None
    ),
    "deeplab_v3_pytorch101": _rgb(
        *(functools.partial(deeplab_v3.deeplab_v3_pytorch, resnet101), 21, (513, 513)),
        *(58_040_661, _V3, "deeplab-pytorch"),
    ),
    "deeplab_v3_mmseg50": _mmseg(deeplab_v3.deeplab_v3_mmseg, resnet50_v1c, 68_113_030, _V3),
    "deeplab_v3_mmseg50_plain": _mmseg(
        deeplab_v3.deeplab_v3_mmseg, resnet50_v1c, 65_748_339, _V3, _MMSEG_PLAIN, auxiliary=None
    ),
    "deeplab_v3_mmseg101": _mmseg(deeplab_v3.deeplab_v3_mmseg, resnet101_v1c, 87_105_158, _V3),
    "deeplab_v3plus_resnet50": _rgb(
        deeplab_v3plus.deeplab_v3plus_resnet50,
        21,
        (513, 513),
        40_352_181,
        _V3PLUS,
        _SUMMED,
    ),
    "deeplab_v3plus_resnet101": _rgb(
        deeplab_v3plus.deeplab_v3plus_resnet101,
        21,
        (513, 513),
        59_344_309,
        _V3PLUS,
        _SUMMED,
    ),
    "deeplab_v3plus_pytorch101": _rgb(
        *(functools.partial(deeplab_v3plus.deeplab_v3plus_pytorch, resnet101), 21, (513, 513)),
        *(59_344_309, _V3PLUS, "deeplab-pytorch"),
    ),
    "deeplab_v3plus_mmseg50": _mmseg(
        deeplab_v3plus.deeplab_v3plus_mmseg, resnet50_v1c, 43_589_878, _V3PLUS
    ),
    "deeplab_v3plus_mmseg50_plain": _mmseg(
        *(deeplab_v3plus.deeplab_v3plus_mmseg, resnet50_v1c, 41_225_187, _V3PLUS, _MMSEG_PLAIN),
        auxiliary=None,
    ),
    "deeplab_v3plus_mmseg101": _mmseg(
        deeplab_v3plus.deeplab_v3plus_mmseg, resnet101_v1c, 62_582_006, _V3PLUS
    ),
    "deeplab_v3plus_smp18": _rgb(
        *(functools.partial(deeplab_v3plus.deeplab_v3plus_smp, resnet18), 5, (512, 512)),
        *(12_330_325, _V3PLUS, "segmentation-models-pytorch"),
    ),
    "lraspp": _torchvision(lraspp.lraspp, 3_221_538, "Howard et al. 2019", "torchvision"),
    "pspnet50": _semseg(pspnet.pspnet50, 49_080_038),
    "pspnet101": _semseg(pspnet.pspnet101, 68_072_166),
    "pspnet152": _semseg(pspnet.pspnet152, 83_715_814),
    "pspnet50_plain": _semseg(pspnet.pspnet50, 46_715_347, "semseg, without aux", auxiliary=None),
    "pspnet101_plain": _semseg(pspnet.pspnet101, 65_707_475, "semseg, without aux", auxiliary=None),
    "pspnet152_plain": _semseg(pspnet.pspnet152, 81_351_123, "semseg, without aux", auxiliary=None),
    "pspnet_mmseg50_plain": _mmseg(
        *(pspnet.pspnet_mmseg, resnet50_v1c, 46_610_803, "Zhao et al. 2016", _MMSEG_PLAIN),
        auxiliary=None,
    ),
    "pspnet_mmseg50": _mmseg(pspnet.pspnet_mmseg, resnet50_v1c, 48_975_494, "Zhao et al. 2016"),
    "pspnet_mmseg101": _mmseg(pspnet.pspnet_mmseg, resnet101_v1c, 67_967_622, "Zhao et al. 2016"),
    "unet_caffe": Entry(
        functools.partial(unet.unet_caffe, 2),
        (572, 572, 1),
        31_100_354,
        "Ronneberger et al. 2015",
        "the authors' Caffe file",
    ),
    "unet_bilinear": _rgb(
        *(unet.unet_bilinear, 2, (512, 512), 17_263_042),
        *("Ronneberger et al. 2015", "github.com/milesial/Pytorch-UNet"),
    ),
    "unet_resnet18": _encoder_unet(encoder_unet.unet_resnet18, 14_328_209),
    "unet_resnet34": _encoder_unet(encoder_unet.unet_resnet34, 24_436_369),
    "unet_resnet50": _encoder_unet(encoder_unet.unet_resnet50, 32_521_105),
    "unet_resnet101": _encoder_unet(encoder_unet.unet_resnet101, 51_513_233),
    "unet_mobilenet_v2": _encoder_unet(encoder_unet.unet_mobilenet_v2, 6_628_945),
    "unet_vgg16": _encoder_unet(encoder_unet.unet_vgg16, 23_748_241),
    "unet_vgg16_bn": _encoder_unet(encoder_unet.unet_vgg16_bn, 23_756_689),
    # less the last convolution of the classifier, which the source counts and does not use
    "unet_efficientnet_b0": _encoder_unet(
        encoder_unet.unet_efficientnet_b0, 6_251_469, unused=1280 * (320 + 2)
    ),
    "unet_efficientnet_b4": _encoder_unet(
        encoder_unet.unet_efficientnet_b4, 20_225_689, unused=1792 * (448 + 2)
    ),
    "ternausnet11": _rgb(
        ternausnet.ternausnet11, 1, (768, 768), 22_927_393, _TERNAUS, "released code"
    ),
    "ternausnet16": _rgb(
        ternausnet.ternausnet16, 1, (768, 768), 29_306_465, _TERNAUS, "released code"
    ),
    "ternausnet11_surgical": _rgb(
        ternausnet.ternausnet11_surgical, 1, (1024, 1280), 25_364_513, _SURGICAL, "released code"
    ),
    "ternausnet16_transposed": _rgb(
        ternausnet.ternausnet16_transposed, 1, (1024, 1280), 32_202_337, _SURGICAL, "released code"
    ),
    "albunet34": _rgb(
        *(ternausnet.albunet34, 1, (1024, 1280), 35_117_897, _SURGICAL), "released code"
    )._replace(unused=513 * 1000),
    "albunet34_transposed": _rgb(
        *(ternausnet.albunet34_transposed, 1, (1024, 1280), 38_128_457, _SURGICAL), "released code"
    )._replace(unused=513 * 1000),
    "linknet18": _rgb(
        *(linknet.linknet18, 19, (512, 1024), 11_536_691),
        *("Chaurasia and Culurciello 2017", "released code"),
    ),
    "linknet34": _rgb(linknet.linknet34, 1, (1024, 1280), 21_794_721, _SURGICAL, "released code"),
    "linknet34_smp": _rgb(
        *(linknet.linknet34_smp, 1, (256, 256), 21_771_937),
        *("Chaurasia and Culurciello 2017", "segmentation-models-pytorch"),
    ),
    "refinenet50": _refinenet(refinenet.refinenet50, 99_060_309),
    "refinenet101": _refinenet(refinenet.refinenet101, 118_052_437),
    "refinenet152": _refinenet(refinenet.refinenet152, 133_696_085),
    "refinenet_lw50": _refinenet(refinenet.refinenet_lw50, 27_357_525, *_LIGHT),
    "refinenet_lw101": _refinenet(refinenet.refinenet_lw101, 46_349_653, *_LIGHT),
    "refinenet_lw152": _refinenet(refinenet.refinenet_lw152, 61_993_301, *_LIGHT),
    "hrnetv2_w18": _hrnetv2(hrnet.hrnet_w18, 9_641_119),
    "hrnetv2_w32": _hrnetv2(hrnet.hrnet_w32, 29_546_515),
    "hrnetv2_w40": _hrnetv2(hrnet.hrnet_w40, 45_894_435),
    "hrnetv2_w48": _hrnetv2(hrnet.hrnet_w48, 65_859_379),
    "hrnetv2_w18_small_v1": _hrnetv2(hrnet.hrnet_w18_small_v1, 1_540_819),
    "hrnetv2_w18_small_v2": _hrnetv2(hrnet.hrnet_w18_small_v2, 3_939_579),
    "hrnet_w48_ocr": _rgb(
        *(ocr.hrnet_w48_ocr, 19, (512, 1024), 65_325_120 + 5_047_558),
        *("Yuan et al. 2019", "the authors' code; 70.5M with 150 classes in Xie et al. 2021"),
    ),
    "semantic_fpn": _pyramid(
        *(fpn.semantic_fpn, 23_508_032 + 3_344_384 + 1_630_774, "Kirillov et al. 2019"),
        "torchvision's ResNet-50 and FPN, detectron2's semantic branch",
    ),
    "semantic_panet": _pyramid(
        *(fpn.panet, 28_483_190 + 6 * (9 * 256 * 256 + 256), "Liu et al. 2018"),
        "semantic FPN and the six convolutions of section 3.1",
    ),
    "fpn_smp": _pyramid(
        *(fpn.smp_fpn, 26_118_355, "Kirillov et al. 2019", "segmentation-models-pytorch"),
        num_classes=19,
    ),
    # the others of figure 1 under the head of semantic_fpn, whose 3x3 convolutions to 128 channels
    # have 1152 C + 256 parameters
    "pyramid_image_pyramid": _pyramid(
        *(fpn.image_pyramid, 23_508_032 + 3 * 2_359_552 + 9 * 147_712 + 6_966),
        *("Lin et al. 2016", _SUMMED),
    ),
    "pyramid_single_map": _pyramid(
        *(fpn.single_map, 23_508_032 + 2_359_552 + 2 * 147_712 + 6_966),
        *("Lin et al. 2016", _SUMMED),
    ),
    "pyramid_hierarchy": _pyramid(
        *(
            fpn.hierarchy,
            23_508_032 + 1152 * (256 + 512 + 1024 + 2048) + 4 * 256 + 3 * 147_712 + 6_966,
        ),
        *("Lin et al. 2016", _SUMMED),
    ),
    "pyramid_top_down": _pyramid(
        *(fpn.top_down, 23_508_032 + 984_064 + 590_080 + 295_168 + 6_966),
        *("Lin et al. 2016", _SUMMED),
    ),
    "naive_fcn": _rgb(naive_fcn.NaiveFCN, 21, (224, 224), 262_165, "textbook", _SUMMED),
    "hourglass": _rgb(hourglass.Hourglass, 21, (224, 224), 11_131_861, "textbook", _SUMMED),
    "farabet_multiscale": _rgb(
        *(farabet_multiscale.FarabetMultiscale, 8, (240, 320), 1_223_566),
        *("Farabet et al. 2013", _SUMMED),
    ),
    "pinheiro_recurrent": _rgb(
        *(pinheiro_recurrent.RecurrentCNN, 8, (240, 320), 98_083),
        *("Pinheiro and Collobert 2014", _SUMMED),
    ),
    "m_net": _rgb(
        *(m_net.MNet, 2, (400, 400), 8_547_720),
        *("Fu et al. 2018", "layer table of the authors' code"),
    ),
    "attention_m_net": _rgb(
        *(attention_m_net.AttentionMNet, 1, (192, 256), 5_640_103),
        *("Abraham and Khan 2018", "layer table of the authors' code"),
    ),
    "mimo_unet": _rgb(
        *(mimo_unet.MIMOUNet, 3, (256, 256), 6_807_171),
        *("Cho et al. 2021", "authors' code (6.8 million in the paper)"),
    ),
    "mimo_unet_plus": _rgb(
        *(mimo_unet.mimo_unet_plus, 3, (256, 256), 16_107_651),
        *("Cho et al. 2021", "authors' code (16.1 million in the paper)"),
    ),
    "multi_modal_unet": Entry(
        functools.partial(multi_modal_unet.MultiModalUNet, 2),
        (240, 240, 4),
        43_568_066,
        "Zhou et al. 2019 (layer-level fusion)",
        _SUMMED,
    ),
    "unet3d": Entry(
        functools.partial(unet3d.UNet3D, 3),
        (132, 132, 116, 3),
        19_069_955,
        "Cicek et al. 2016",
        "paper",
        uncounted=r"norm\d/",
    ),
}
"""Segmentation networks."""
