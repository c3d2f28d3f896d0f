"""Every architecture here with the parameter count its paper or its authors' code gives.

`python -m segjax.summary --all` prints it; a test builds each row and compares the counts, and
fails when a file of `segjax.models` or `segjax.backbones` has no row.
"""

import functools

from segjax.backbones import resnet, vgg
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


def _rgb(make, num_classes, side, parameters, paper, source):
    network = functools.partial(make, num_classes)
    return Entry(network, (side, side, 3), parameters, paper, source)


def _fcn(make, parameters):
    source = "the authors' Caffe files"
    return Entry(functools.partial(make, 21), (500, 500, 3), parameters, "Long et al. 2014", source)


def _hrnetv2(make, parameters):
    network = functools.partial(make, 19)
    return Entry(network, (512, 1024, 3), parameters, "Sun et al. 2019", "the authors' code")


def _encoder_unet(make, parameters):
    network = functools.partial(make, 1)
    source = "segmentation-models-pytorch"
    return Entry(network, (512, 512, 3), parameters, "Ronneberger et al. 2015", source)


MODELS = {
    # --- U-Net and the image-to-image family
    "unet": Entry(
        functools.partial(unet.UNet, 2),
        (572, 572, 1),
        31_030_658,
        "Ronneberger et al. 2015",
        "layer table of the paper",
    ),
    "hed": Entry(
        lambda: hed.HED(1, vgg.vgg16(pool_rounding="ceil")),
        (321, 481, 3),
        14_716_171,
        "Xie and Tu 2015",
        "arrays of the published file",
    ),
    # --- section A
    "fcn32s": _fcn(fcn.fcn32s, 136_152_917),
    "fcn16s": _fcn(fcn.fcn16s, 134_815_994),
    "fcn8s": _fcn(fcn.fcn8s, 134_489_759),
    "fcn_alexnet": _fcn(fcn.fcn_alexnet, 56_954_261 + 1_750_329),
    "deconvnet": Entry(
        functools.partial(deconvnet.deconvnet, 21),
        (224, 224, 3),
        251_805_653,
        "Noh et al. 2015",
        "the authors' Caffe file",
    ),
    "segnet": Entry(
        functools.partial(segnet.segnet, 11),
        (360, 480, 3),
        29_449_355,
        "Badrinarayanan et al. 2015",
        "the authors' Caffe file",
    ),
    "segnet_basic": Entry(
        functools.partial(segnet.SegNetBasic, 11),
        (360, 480, 3),
        1_416_587,
        "Badrinarayanan et al. 2015",
        "the authors' Caffe file",
    ),
    "deeplab_v1": Entry(
        functools.partial(deeplab_v1.deeplab_v1, 21),
        (321, 321, 3),
        20_505_429,
        "Chen et al. 2014",
        "layer table; the paper has 20.5M",
    ),
    # --- section B
    "fcn_resnet50": _rgb(
        fcn_resnet.fcn_resnet50, 21, 520, 35_322_218, "Long et al. 2015", "torchvision, with aux"
    ),
    "fcn_resnet101": _rgb(
        fcn_resnet.fcn_resnet101, 21, 520, 54_314_346, "Long et al. 2015", "torchvision, with aux"
    ),
    "deeplab_v2": _rgb(
        deeplab_v2.deeplab_v2, 21, 321, 44_048_532, "Chen et al. 2016", "deeplab-pytorch"
    ),
    "deeplab_v2_vgg16": _rgb(
        deeplab_v2.deeplab_v2_vgg16, 21, 321, 37_877_652, "Chen et al. 2016", "figure 7"
    ),
    "deeplab_v3_resnet50": _rgb(
        deeplab_v3.deeplab_v3_resnet50, 21, 513, 39_048_533, "Chen et al. 2017", "layers"
    ),
    "deeplab_v3_resnet101": _rgb(
        deeplab_v3.deeplab_v3_resnet101, 21, 513, 58_040_661, "Chen et al. 2017", "layers"
    ),
    "deeplab_v3_mobilenet_v3": _rgb(
        deeplab_v3.deeplab_v3_mobilenet_v3,
        21,
        520,
        11_029_328,
        "Chen et al. 2017",
        "torchvision, with aux",
    ),
    "deeplab_v3plus_resnet50": _rgb(
        deeplab_v3plus.deeplab_v3plus_resnet50, 21, 513, 40_352_181, "Chen et al. 2018", "layers"
    ),
    "deeplab_v3plus_resnet101": _rgb(
        deeplab_v3plus.deeplab_v3plus_resnet101, 21, 513, 59_344_309, "Chen et al. 2018", "layers"
    ),
    "lraspp": _rgb(lraspp.lraspp, 21, 520, 3_221_538, "Howard et al. 2019", "torchvision"),
    "pspnet50": _rgb(pspnet.pspnet50, 19, 713, 49_080_038, "Zhao et al. 2016", "semseg, with aux"),
    "pspnet101": _rgb(
        pspnet.pspnet101, 19, 713, 68_072_166, "Zhao et al. 2016", "semseg, with aux"
    ),
    # --- section C
    "unet_caffe": Entry(
        functools.partial(unet.unet_caffe, 2),
        (572, 572, 1),
        31_100_354,
        "Ronneberger et al. 2015",
        "the authors' Caffe file",
    ),
    "unet_bilinear": Entry(
        functools.partial(unet.unet_bilinear, 2),
        (512, 512, 3),
        17_263_042,
        "Ronneberger et al. 2015",
        "github.com/milesial/Pytorch-UNet",
    ),
    "unet_resnet18": _encoder_unet(encoder_unet.unet_resnet18, 14_328_209),
    "unet_resnet34": _encoder_unet(encoder_unet.unet_resnet34, 24_436_369),
    "unet_resnet50": _encoder_unet(encoder_unet.unet_resnet50, 32_521_105),
    "unet_resnet101": _encoder_unet(encoder_unet.unet_resnet101, 51_513_233),
    "unet_mobilenet_v2": _encoder_unet(encoder_unet.unet_mobilenet_v2, 6_628_945),
    "unet_vgg16": _encoder_unet(encoder_unet.unet_vgg16, 23_748_241),
    # less the last convolution of the classifier, which the source counts and does not use
    "unet_efficientnet_b0": _encoder_unet(
        encoder_unet.unet_efficientnet_b0, 6_251_469 - 1280 * (320 + 2)
    ),
    "unet_efficientnet_b4": _encoder_unet(
        encoder_unet.unet_efficientnet_b4, 20_225_689 - 1792 * (448 + 2)
    ),
    # --- section D
    "ternausnet11": Entry(
        functools.partial(ternausnet.ternausnet11, 1),
        (768, 768, 3),
        22_927_393,
        "Iglovikov and Shvets 2018",
        "released code",
    ),
    "ternausnet16": Entry(
        functools.partial(ternausnet.ternausnet16, 1),
        (768, 768, 3),
        29_306_465,
        "Iglovikov and Shvets 2018",
        "released code",
    ),
    "albunet34": Entry(
        functools.partial(ternausnet.albunet34, 1),
        (1024, 1280, 3),
        35_117_897 - 513_000,
        "Shvets et al. 2018",
        "released code, without the classifier that it keeps but does not use",
    ),
    "linknet18": Entry(
        functools.partial(linknet.linknet18, 19),
        (512, 1024, 3),
        11_536_691,
        "Chaurasia and Culurciello 2017",
        "released code",
    ),
    "linknet34": Entry(
        functools.partial(linknet.linknet34, 1),
        (1024, 1280, 3),
        21_794_721,
        "Shvets et al. 2018",
        "released code",
    ),
    "linknet34_smp": Entry(
        functools.partial(linknet.linknet34_smp, 1),
        (256, 256, 3),
        21_771_937,
        "Chaurasia and Culurciello 2017",
        "segmentation-models-pytorch",
    ),
    "refinenet50": Entry(
        functools.partial(refinenet.refinenet50, 21),
        (400, 400, 3),
        99_060_309,
        "Lin et al. 2016",
        "PyTorch port",
    ),
    "refinenet101": Entry(
        functools.partial(refinenet.refinenet101, 21),
        (400, 400, 3),
        118_052_437,
        "Lin et al. 2016",
        "PyTorch port",
    ),
    "refinenet152": Entry(
        functools.partial(refinenet.refinenet152, 21),
        (400, 400, 3),
        133_696_085,
        "Lin et al. 2016",
        "PyTorch port",
    ),
    # --- section E
    "hrnetv2_w18": _hrnetv2(hrnet.hrnet_w18, 9_641_119),
    "hrnetv2_w32": _hrnetv2(hrnet.hrnet_w32, 29_546_515),
    "hrnetv2_w40": _hrnetv2(hrnet.hrnet_w40, 45_894_435),
    "hrnetv2_w48": _hrnetv2(hrnet.hrnet_w48, 65_859_379),
    "hrnetv2_w18_small_v1": _hrnetv2(hrnet.hrnet_w18_small_v1, 1_540_819),
    "hrnetv2_w18_small_v2": _hrnetv2(hrnet.hrnet_w18_small_v2, 3_939_579),
    "hrnet_w48_ocr": Entry(
        functools.partial(ocr.hrnet_w48_ocr, 19),
        (512, 1024, 3),
        65_325_120 + 5_047_558,
        "Yuan et al. 2019",
        "the authors' code; 70.5M with 150 classes in Xie et al. 2021",
    ),
    "semantic_fpn": Entry(
        lambda: fpn.semantic_fpn(54, resnet.resnet50()),
        (800, 1216, 3),
        23_508_032 + 3_344_384 + 1_630_774,
        "Kirillov et al. 2019",
        "torchvision's ResNet-50 and FPN, detectron2's semantic branch",
    ),
    "semantic_panet": Entry(
        lambda: fpn.panet(54, resnet.resnet50()),
        (800, 1216, 3),
        28_483_190 + 6 * (9 * 256 * 256 + 256),
        "Liu et al. 2018",
        "semantic FPN and the six convolutions of section 3.1",
    ),
    # --- section F
    "naive_fcn": Entry(
        functools.partial(naive_fcn.NaiveFCN, 21),
        (224, 224, 3),
        262_165,
        "textbook",
        "layer table",
    ),
    "hourglass": Entry(
        functools.partial(hourglass.Hourglass, 21),
        (224, 224, 3),
        11_131_861,
        "textbook",
        "layer table",
    ),
    "farabet_multiscale": Entry(
        functools.partial(farabet_multiscale.FarabetMultiscale, 8),
        (240, 320, 3),
        1_223_566,
        "Farabet et al. 2013",
        "layer table",
    ),
    "pinheiro_recurrent": Entry(
        functools.partial(pinheiro_recurrent.RecurrentCNN, 8),
        (240, 320, 3),
        98_083,
        "Pinheiro and Collobert 2014",
        "layer table",
    ),
    "m_net": Entry(
        functools.partial(m_net.MNet, 2),
        (400, 400, 3),
        8_547_720,
        "Fu et al. 2018",
        "layer table of the authors' code",
    ),
    "attention_m_net": Entry(
        functools.partial(attention_m_net.AttentionMNet, 1),
        (192, 256, 3),
        5_640_103,
        "Abraham and Khan 2018",
        "layer table of the authors' code",
    ),
    "mimo_unet": Entry(
        functools.partial(mimo_unet.MIMOUNet, 3),
        (256, 256, 3),
        6_807_171,
        "Cho et al. 2021",
        "authors' code (6.8 million in the paper)",
    ),
    "multi_modal_unet": Entry(
        functools.partial(multi_modal_unet.MultiModalUNet, 2),
        (240, 240, 4),
        43_568_066,
        "Zhou et al. 2019 (layer-level fusion)",
        "layer table",
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
