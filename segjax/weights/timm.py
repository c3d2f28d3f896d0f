"""Names of timm's checkpoints."""

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

_EFFICIENTNET = (
    ("features_0$", "conv_stem"),
    ("features_0_norm$", "bn1"),
    *((f"features_{stage}_", f"blocks/{stage - 1}/") for stage in range(1, 8)),
    ("squeeze/fc1", "se.conv_reduce"),
    ("squeeze/fc2", "se.conv_expand"),
    # the units of the first stage have no expansion
    (r"(blocks/0/\d+)/depthwise$", r"\1/conv_dw"),
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
        *_EFFICIENTNET,
        ("^head$", "conv_head"),
        ("^head_norm$", "bn2"),
        ("^fc$", "classifier"),
    ),
    unused=r"^(conv_head|bn2|classifier)\.|num_batches_tracked$",
)
