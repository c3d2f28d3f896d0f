"""Names of timm's checkpoints."""

from collections.abc import Mapping, Sequence

from segjax.weights import torchvision
from segjax.weights.keymap import KeyMap

HRNET = KeyMap(
    (
        ("^backbone/", ""),
        (r"^stem(\d)/conv", r"conv\1"),
        (r"^stem(\d)/norm", r"bn\1"),
        (r"_(?=\d)", "/"),
        ("downsample_conv", "downsample/0"),
        ("downsample_bn", "downsample/1"),
        ("/conv$", "/0"),
        ("/norm$", "/1"),
    ),
    unused=r"num_batches_tracked$|^(incre_modules|downsamp_modules|final_layer|classifier)\.",
)
"""The classifiers, which are the authors', and their trunk."""

RESNET_V1C = KeyMap(
    (
        ("^backbone/", ""),
        ("^conv1$", "conv1/0"),
        ("^bn1$", "conv1/1"),
        ("^conv2$", "conv1/3"),
        ("^bn2$", "conv1/4"),
        ("^conv3$", "conv1/6"),
        ("^bn3$", "bn1"),
        *torchvision.RESNET.renames,
    ),
    unused=r"^fc\.|num_batches_tracked$",
)
"""Three convolutions in the stem (`resnet50c`); the other ResNets have torchvision's names."""

RESNET_V2 = KeyMap(
    (
        ("^backbone/", ""),
        ("^conv1$", "stem/conv"),
        *((f"^layer{stage}_", f"stages/{stage - 1}/blocks/") for stage in range(1, 5)),
        (r"/bn(\d)$", r"/norm\1"),
        ("downsample_conv$", "downsample/conv"),
        ("^bn_last$", "norm"),
        ("^fc$", "head/fc"),
    ),
    unused=r"^head\.|num_batches_tracked$",
)
"""Pre-activation (`resnetv2_50`)."""

_STEM = (("features_0$", "conv_stem"), ("features_0_norm$", "bn1"))

# Inverted residual units, behind the number of their stage and their own.
_UNITS = (
    ("squeeze/fc1", "se.conv_reduce"),
    ("squeeze/fc2", "se.conv_expand"),
    # the units of the first stage have no expansion
    (r"(blocks/0/\d+)/depthwise_norm", r"\1/bn1"),
    (r"(blocks/0/\d+)/project$", r"\1/conv_pw"),
    (r"(blocks/0/\d+)/project_norm", r"\1/bn2"),
    ("/expand$", "/conv_pw"),
    ("expand_norm", "bn1"),
    ("depthwise$", "conv_dw"),
    ("depthwise_norm", "bn2"),
    ("project$", "conv_pwl"),
    ("project_norm", "bn3"),
)

EFFICIENTNET = KeyMap(
    (
        ("^backbone/", ""),
        *_STEM,
        *((f"features_{stage}_", f"blocks/{stage - 1}/") for stage in range(1, 8)),
        *_UNITS,
        ("^head$", "conv_head"),
        ("^head_norm$", "bn2"),
        ("^fc$", "classifier"),
    ),
    unused=r"^(conv_head|bn2|classifier)\.|num_batches_tracked$",
)


def _mobilenet(stages: Sequence[int], last: tuple[str, str], head: Mapping[str, str]) -> KeyMap:
    """The names of a MobileNet, whose units count through here and in their stage there.

    `stages` are the numbers of units, `last` the names of the last convolution and its norm, `head`
    those of the fully connected layers.
    """
    units = [(i, j) for i, depth in enumerate(stages) for j in range(depth)]
    end = len(units) + 1
    return KeyMap(
        (
            ("^backbone/", ""),
            *_STEM,
            *((f"^features_{n}/", f"blocks/{i}/{j}/") for n, (i, j) in enumerate(units, 1)),
            *_UNITS,
            (f"^features_{end}$", last[0]),
            (f"^features_{end}_norm$", last[1]),
            *((f"^{ours}$", theirs) for ours, theirs in head.items()),
        ),
        unused=f"^({'|'.join(head.values())})\\.|num_batches_tracked$",
    )


_V3_HEAD = {"fc1": "conv_head", "fc2": "classifier"}

MOBILENET_V2 = _mobilenet((1, 2, 3, 4, 3, 3, 1), ("conv_head", "bn2"), {"fc": "classifier"})
MOBILENET_V3_LARGE = _mobilenet((1, 2, 3, 4, 2, 3), ("blocks/6/0/conv", "blocks/6/0/bn1"), _V3_HEAD)
MOBILENET_V3_SMALL = _mobilenet((1, 2, 3, 2, 3), ("blocks/5/0/conv", "blocks/5/0/bn1"), _V3_HEAD)
"""v3's norms add 1e-5 to the variance, not 1e-3: `mobilenet_v3_large(norm=BatchNorm)` is equal."""
