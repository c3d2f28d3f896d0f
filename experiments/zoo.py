"""Every architecture at a width that two CPU cores train: {name: (config, values)}."""

_RESNET = {"model.width": 16}
_SMALL_HRNET = {"model.width": 16, "model.stage1": (1, 32), "model.modules": (1, 1, 1)}
_SMALL_HRNET |= {"model.units": 2}
_WITH_HIDDEN = {"model.width": 16, "model.hidden": 256}
_UNET = {"dataset": "camvid", "model.variant": "padded", "model.depth": 4, "model.dropout": 0.2}
_UNET |= {"learning_rate": 1e-3, "schedule": "poly"}

ZOO: dict[str, tuple[str, dict]] = {
    "naive_fcn": ("naive_fcn", {"model.width": 16}),
    "hourglass": ("hourglass", {"model.width": 16}),
    "farabet_multiscale": ("farabet_multiscale", {}),
    "pinheiro_recurrent": ("pinheiro_recurrent", {}),
    "fcn_alexnet": ("fcn_alexnet", {"model.width": 48, "model.hidden": 256}),
    "fcn32s": ("fcn", {**_WITH_HIDDEN, "model.variant": "fcn32s"}),
    "fcn16s": ("fcn", {**_WITH_HIDDEN, "model.variant": "fcn16s"}),
    "fcn8s": ("fcn", {**_WITH_HIDDEN, "model.variant": "fcn8s"}),
    "fcn_resnet50": ("fcn_resnet", _RESNET),
    "deconvnet": ("deconvnet", _WITH_HIDDEN),
    "segnet": ("segnet", {"model.width": 16}),
    "segnet_basic": ("segnet", {"model.width": 16, "model.variant": "basic"}),
    "unet": ("unet", _UNET),
    "unet_resnet34": ("encoder_unet", {"model.width": 8}),
    "unet_resnet50": ("encoder_unet", {"model.width": 8, "model.backbone": "resnet50"}),
    "unet_efficientnet_b0": (
        "encoder_unet",
        {"model.width": 8, "model.backbone": "efficientnet_b0"},
    ),
    "unet_mobilenet_v2": ("encoder_unet", {"model.width": 8, "model.backbone": "mobilenet_v2"}),
    "unet_vgg16_bn": ("encoder_unet", {"model.width": 8, "model.backbone": "vgg16_bn"}),
    "ternausnet11": ("ternausnet", {}),
    "ternausnet16": ("ternausnet", {"model.variant": "ternausnet16"}),
    "albunet34": ("ternausnet", {"model.variant": "albunet34"}),
    "linknet18": ("linknet", _RESNET),
    "linknet34": ("linknet", {"model.width": 16, "model.variant": "linknet34"}),
    "m_net": ("multi_input_unet", {"model.width": 8}),
    "attention_m_net": ("multi_input_unet", {"model.width": 8, "model.reading": "attention_m_net"}),
    "mimo_unet": ("multi_input_unet", {"model.width": 8, "model.reading": "mimo_unet"}),
    "multi_modal_unet": ("multi_input_unet", {"model.width": 16, "model.reading": "multi_modal"}),
    "refinenet50": ("refinenet", {"model.width": 16, "model.backbone": "resnet50"}),
    "deeplab_v1": ("deeplab_v1", _WITH_HIDDEN),
    "deeplab_v2": ("deeplab_v2", {"model.width": 16, "model.backbone": "resnet50"}),
    "deeplab_v3": ("deeplab_v3", _RESNET),
    "deeplab_v3plus": ("deeplab_v3plus", _RESNET),
    "lraspp": ("lraspp", {}),
    "pspnet50": ("pspnet", _RESNET),
    "hrnet_w18_small_v1": ("hrnet", _SMALL_HRNET),
    "ocr": ("hrnet", {**_SMALL_HRNET, "model.head": "ocr"}),
    "semantic_fpn": ("semantic_fpn", {"model.width": 16, "model.backbone": "resnet18"}),
    "image_pyramid": (
        "semantic_fpn",
        {"model.width": 16, "model.backbone": "resnet18", "model.pyramid": "image_pyramid"},
    ),
    "single_map": (
        "semantic_fpn",
        {"model.width": 16, "model.backbone": "resnet18", "model.pyramid": "single_map"},
    ),
    "hierarchy": (
        "semantic_fpn",
        {"model.width": 16, "model.backbone": "resnet18", "model.pyramid": "hierarchy"},
    ),
    "top_down": (
        "semantic_fpn",
        {"model.width": 16, "model.backbone": "resnet18", "model.pyramid": "top_down"},
    ),
    "panet": (
        "semantic_fpn",
        {"model.width": 16, "model.backbone": "resnet18", "model.pyramid": "panet"},
    ),
}
