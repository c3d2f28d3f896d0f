"""The networks of a config besides its paper's: they are those published, and strides are kept."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from every_config.test_configs import ROOT, ZOO
from models.names import shapes

from segjax import cli
from segjax.backbones.resnet import resnet18, resnet50, resnet50_v1c
from segjax.errors import InputError
from segjax.models import deeplab_v3, deeplab_v3plus, fpn, pspnet, refinenet
from segjax.nn.aspp import ASPP

VARIANTS = [
    ("deeplab_v3", {"model.variant": "torchvision"}),
    ("deeplab_v3", {"model.variant": "torchvision", "model.backbone": "mobilenet_v3_large"}),
    ("deeplab_v3", {"model.variant": "smp"}),
    ("deeplab_v3", {"model.variant": "mmseg"}),
    ("deeplab_v3", {"model.variant": "deeplab_pytorch"}),
    ("deeplab_v3plus", {"model.variant": "smp"}),
    ("deeplab_v3plus", {"model.variant": "mmseg"}),
    ("deeplab_v3plus", {"model.variant": "deeplab_pytorch"}),
    ("pspnet", {"model.variant": "mmseg"}),
    ("refinenet", {"model.variant": "light", "model.backbone": "resnet50"}),
    ("semantic_fpn", {"model.pyramid": "smp", "model.backbone": "resnet18"}),
]
# smp.DeepLabV3, as tests/models/test_deeplab_v3.py compares it
SMP_V3 = deeplab_v3.DeepLabV3(
    4,
    resnet50(output_stride=8, first_unit="new"),
    functools.partial(ASPP, rates=(12, 24, 36), pooled="last", dropout=0.5),
    convs=1,
)
PUBLISHED = [
    deeplab_v3.deeplab_v3_torchvision(resnet50, 4),
    deeplab_v3.deeplab_v3_mobilenet_v3(4),
    SMP_V3,
    deeplab_v3.deeplab_v3_mmseg(resnet50_v1c, 4),
    deeplab_v3.deeplab_v3_pytorch(resnet50, 4),
    deeplab_v3plus.deeplab_v3plus_smp(resnet50, 4),
    deeplab_v3plus.deeplab_v3plus_mmseg(resnet50_v1c, 4),
    deeplab_v3plus.deeplab_v3plus_pytorch(resnet50, 4),
    pspnet.pspnet_mmseg(resnet50_v1c, 4),
    refinenet.refinenet_lw50(4),
    fpn.smp_fpn(4, resnet18()),
]
FACTS = {"class_names": list("abcd"), "palette": [[0] * 3] * 4, "channels": 3, "scale": 1.0}


def load(name, values):
    return cli.load_config(str(ROOT / f"configs/{name}.py"), values)


@pytest.mark.parametrize(
    ("case", "published"), [*zip(VARIANTS, PUBLISHED, strict=True)], ids=[*map(str, VARIANTS)]
)
def test_a_variant_is_the_published_network(case, published):
    module, config = load(*case)
    image = jax.ShapeDtypeStruct((1, 65, 97, 3), jnp.float32)
    programs = []
    for model in (module.build(config, FACTS).model, published):
        apply = functools.partial(model.apply, train=False)
        program = str(jax.make_jaxpr(apply)(shapes(model, (65, 97)), image))
        programs.append(re.sub(r"0x[0-9a-f]+", "", program))
    assert programs[0] == programs[1]


@pytest.mark.parametrize(("name", "values"), VARIANTS)
def test_a_variant_has_the_losses_of_its_outputs(name, values):
    module, config = load(name, ZOO[name] | values | {"crop": (64, 64)})
    task = module.build(config, FACTS).task
    image = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    label = jax.ShapeDtypeStruct((2, 64, 64), jnp.int32)
    batch = {"image": image, "label": label, "valid": jax.ShapeDtypeStruct((2,), bool)}
    variables = jax.eval_shape(task.init, jax.random.key(0), batch)
    params = variables.pop("params")
    _, (_, scalars) = jax.eval_shape(task.loss, params, variables, batch, jax.random.key(0))
    assert ("aux" in params) == ("aux_loss" in scalars)


@pytest.mark.parametrize(
    ("name", "values", "stride"),
    [
        ("deeplab_v3", {}, 16),
        ("deeplab_v3", {"model.output_stride": 8}, 8),
        ("deeplab_v3", {"model.variant": "torchvision"}, 8),
        ("deeplab_v3", {"model.variant": "smp", "model.output_stride": 16}, 16),
        ("deeplab_v3plus", {}, 16),
        ("deeplab_v3plus", {"model.output_stride": 8}, 8),
        ("deeplab_v3plus", {"model.variant": "smp", "model.output_stride": 8}, 8),
        ("deeplab_v3plus", {"model.variant": "mmseg"}, 8),
    ],
)
def test_output_strides(name, values, stride):
    module, config = load(name, values)
    assert module.build(config, FACTS).model.backbone.output_stride == stride


@pytest.mark.parametrize(
    ("name", "values", "choices"),
    [
        ("deeplab_v3", {}, "16, 8"),
        ("deeplab_v3", {"model.variant": "torchvision"}, "8"),
        (
            "deeplab_v3",
            {"model.variant": "torchvision", "model.backbone": "mobilenet_v3_large"},
            "16",
        ),
        ("deeplab_v3", {"model.variant": "smp"}, "8, 16"),
        ("deeplab_v3", {"model.variant": "mmseg"}, "8"),
        ("deeplab_v3plus", {}, "16, 8"),
        ("deeplab_v3plus", {"model.variant": "smp"}, "16, 8"),
        ("deeplab_v3plus", {"model.variant": "mmseg"}, "8"),
    ],
)
def test_a_stride_that_the_variant_cannot_have_is_refused(name, values, choices):
    module, config = load(name, values | {"model.output_stride": 32})
    match = f"output_stride of variant {config.model.variant} is 32; the choices are {choices}.$"
    with pytest.raises(InputError, match=match):
        module.build(config, FACTS)


def test_conventions_of_the_released_checkpoints():
    """As tests of the models build them, whose logits equal the authors'."""
    module, config = cli.load_config(str(ROOT / "configs/deeplab_v2.py"), {"model.width": 4})
    assert module.build(config, FACTS).model.convention == "corner-aligned"
    config.model.convention = "half-pixel"
    model = module.build(config, FACTS).model
    assert model.convention == "half-pixel"
    assert model.upsample(features=1).convention == "half-pixel"
    assert model.aspp(2).rates == (6, 12, 18, 24)
    config.model.rates = (3, 6, 9, 12)  # deeplab-pytorch's DeepLabV2S
    assert module.build(config, FACTS).model.aspp(2).rates == (3, 6, 9, 12)
    config.model.rates = (3, 0)
    with pytest.raises(InputError, match=r"config.model.rates must be numbers from 1 on, not \(3"):
        module.build(config, FACTS)
    module, config = cli.load_config(str(ROOT / "configs/hrnet.py"), {"model.head": "ocr"})
    for convention in ("half-pixel", "corner-aligned"):
        config.model.convention = convention
        model = module.build(config, FACTS).model
        for upsample in (model.upsample, model.backbone.upsample):
            assert upsample(features=1).convention == convention
        assert model.resize.keywords == {"convention": convention}
    config.model.convention = "legacy"
    with pytest.raises(InputError, match="config.model.convention is 'legacy'; the choices are"):
        module.build(config, FACTS)
