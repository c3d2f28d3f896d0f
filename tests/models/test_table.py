"""Every architecture has its published parameter count, takes every upsampler, and learns."""

import functools
import importlib
import pkgutil
import re
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.tiny import TINY

from segjax.backbones.resnet import BasicBlock, ResNet, resnet50
from segjax.backbones.table import BACKBONES
from segjax.backbones.vgg import VGG
from segjax.errors import InputError
from segjax.models import segnet
from segjax.models.deconvnet import deconvnet
from segjax.models.deeplab_v1 import DeepLabV1
from segjax.models.deeplab_v2 import DeepLabV2
from segjax.models.deeplab_v3 import Cascade, DeepLabV3
from segjax.models.fpn import SemanticFPN, image_pyramid, semantic_fpn
from segjax.models.table import MODELS
from segjax.nn.layers import BatchNorm
from segjax.nn.upsample import UPSAMPLERS, BedOfNails, SubPixel, TransposedConv

ROOT = Path(__file__).parent.parent.parent / "segjax"


@pytest.mark.parametrize("name", [*MODELS, *BACKBONES])
def test_parameters(name):
    entry = {**MODELS, **BACKBONES}[name]
    image = jax.ShapeDtypeStruct((1, *entry.input), jnp.float32)
    init = functools.partial(entry.make().init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    paths = jax.tree_util.tree_leaves_with_path(variables["params"])
    names = [(jax.tree_util.keystr(path, simple=True, separator="/"), x) for path, x in paths]
    counted = [x.size for path, x in names if not re.search(entry.uncounted or "$^", path)]
    assert sum(counted) + entry.unused == entry.parameters


@pytest.mark.parametrize("room", ["models", "backbones"])
def test_no_file_is_missing(room):
    files = {path.stem for path in (ROOT / room).glob("*.py")} - {"__init__", "table"}
    made = {type(entry.make()).__module__ for entry in MODELS.values()}
    for entry in BACKBONES.values():
        network = entry.make()
        made |= {type(x).__module__ for x in (network, getattr(network, "backbone", network))}
    assert files == {name.split(".")[2] for name in made if name.startswith(f"segjax.{room}.")}


def presets():
    """The public partials of networks in each file, with the backbone where they leave it open."""
    for file in pkgutil.iter_modules([str(ROOT / "models")]):
        module = importlib.import_module(f"segjax.models.{file.name}")
        for name, value in vars(module).items():
            if name.startswith("_") or not isinstance(value, functools.partial):
                continue
            if value.func.__module__ == module.__name__:
                fields = {"backbone": resnet50()} if value.func is SemanticFPN else {}
                yield pytest.param(functools.partial(value, **fields), id=f"{file.name}.{name}")


@functools.cache
def rows():
    return {repr(entry.make().clone(num_classes=3)) for entry in MODELS.values()}


@pytest.mark.parametrize("preset", list(presets()))
def test_every_preset_has_a_row(preset):
    assert repr(preset(3)) in rows()  # of every field, to the options of partials


def test_every_class_of_model_has_a_tiny_one():
    made = {type(entry.make()) for entry in MODELS.values()}
    assert made == {type(tiny.make()) for tiny in TINY.values()}


CASES = [(name, upsampler) for name, tiny in TINY.items() for upsampler in tiny.upsamplers]


@pytest.mark.parametrize(("name", "upsampler"), CASES)
def test_an_odd_size_with_every_upsampler(name, upsampler):
    tiny = TINY[name]
    model = tiny.make(upsample=UPSAMPLERS[upsampler])
    height, width, channels = tiny.input
    wanted = (height + 3, width + 5)
    sides = [model.input_size(n) for n in wanted]
    given = tuple(model.output_size(n) for n in sides)
    image = jax.ShapeDtypeStruct((1, *sides, channels), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, _ = jax.eval_shape(init, jax.random.key(0), image)
    assert out["logits"].shape == (1, *given, 3)
    assert min(np.subtract(given, wanted)) >= 0
    assert [model.input_size(n) for n in given] == sides  # a legal size is left alone


@pytest.mark.parametrize(
    ("model", "wanted", "whole"),
    [
        (DeepLabV3(3, ResNet((1, 1, 1, 1), output_stride=8)), 180, 184),
        (DeepLabV3(3, ResNet((1, 1, 1, 1), output_stride=16)), 180, 192),
        (DeepLabV3(3, ResNet((1, 1, 1, 1)), functools.partial(Cascade, (1,), (2,))), 180, 192),
        (DeepLabV2(3, ResNet((1, 1, 1, 1), output_stride=8), scales=(1, 0.5)), 180, 184),
        (segnet.segnet(3), 180, 192),
        (deconvnet(3), 193, 224),
        (semantic_fpn(3, ResNet((1, 1, 1, 1))), 180, 192),
        (image_pyramid(3, ResNet((1, 1, 1, 1))), 180, 256),
    ],
)
def test_sides_are_rounded_for_upsamplers_that_make_whole_blocks(model, wanted, whole):
    # 180 / 8 = 22.5, 180 / 16 = 11.25, 180 / 32 = 5.6, 193 / 32 = 6.03, 180 / 128 = 1.4
    assert model.input_size(wanted) == wanted
    for upsample in (SubPixel, functools.partial(TransposedConv, kernel_size=4)):
        assert model.clone(upsample=upsample).input_size(wanted) == whole


VGG_THAT_ROUNDS_UP = VGG((1,) * 5, (4,) * 5, 3, "ceil", output_stride=8)
ROUNDING_UP = {
    "v1": functools.partial(DeepLabV1, 3, VGG_THAT_ROUNDS_UP, hidden=4),
    "v2": functools.partial(
        *(DeepLabV2, 3),
        ResNet((1, 1, 1, 1), BasicBlock, 4, (4,), output_stride=8, pool_rounding="ceil"),
    ),
    "v2_vgg16": functools.partial(DeepLabV2, 3, VGG_THAT_ROUNDS_UP, scales=(1,)),
}


@pytest.mark.parametrize("name", ROUNDING_UP)
@pytest.mark.parametrize(
    "upsample", [upsample for name, upsample in UPSAMPLERS.items() if name != "max_unpool"]
)
def test_deeplab_with_maps_that_round_up(name, upsample):
    # 9x9 of 64x64: nothing that makes exactly 8 pixels of one ends at the image's size.
    model = ROUNDING_UP[name](upsample=upsample)
    if upsample in (SubPixel, TransposedConv):
        with pytest.raises(InputError, match="pool_rounding is 'floor'"):
            model.input_size(64)
        return
    side = model.input_size(64)
    assert side == (65 if upsample is BedOfNails else 64)
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, _ = jax.eval_shape(init, jax.random.key(0), image)
    assert out["logits"].shape == (1, side, side, 3)


def biases_before_batch_norm(model, keys, image) -> set[str]:
    """The biases that BatchNorm subtracts again: their gradient is 0, or rounding."""
    made, found = [], set()

    def watch(call, args, kwargs, context):
        if isinstance(context.module, BatchNorm):
            found.update(f"{path}/bias" for path, x in made if x is args[0])
        out = call(*args, **kwargs)
        made.append(("/".join(context.module.path), out))
        return out

    with flax.linen.intercept_methods(watch):
        jax.eval_shape(functools.partial(model.init, train=False), keys, image)
    return found


quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""`jax.jit` for what runs once: compiling is most of the time."""

STEPS = [(name, None) for name in TINY] + [
    pytest.param(*case, marks=pytest.mark.slow) for case in CASES
]


@pytest.mark.parametrize(("name", "upsampler"), STEPS)
def test_every_parameter_gets_a_gradient(name, upsampler):
    tiny = TINY[name]
    model = tiny.make(**({"upsample": UPSAMPLERS[upsampler]} if upsampler else {}))
    *size, channels = tiny.input
    smallest = 33 if upsampler == "bed_of_nails" else 1  # nails may lie 32 pixels apart
    size = [model.input_size(max(n, smallest)) for n in size]
    generator = np.random.default_rng(0)
    image = generator.normal(size=(2, *size, channels)).astype(np.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(2)}
    variables = quick(functools.partial(model.init, train=False))(keys, image)
    state = {name: x for name, x in variables.items() if name != "params"}
    # zero-initialised layers would hide what is behind them
    moved = jax.tree.map(
        lambda x: (x + 0.02 * generator.normal(size=x.shape)).astype(np.float32),
        jax.device_get(variables["params"]),
    )

    @quick
    def grads(params):
        def loss(params):
            out, _ = model.apply(
                {"params": params, **state},
                image,
                train=True,
                rngs={"dropout": jax.random.key(3)},
                mutable=list(state),
            )
            assert out["logits"].shape[-1] == 3
            assert out["logits"].dtype == jnp.float32
            return sum(jnp.sum(jnp.sin((i + 1) * x)) for i, x in enumerate(jax.tree.leaves(out)))

        return jax.grad(loss)(params)

    found = grads(moved)
    gradients = flax.traverse_util.flatten_dict(found, sep="/")
    still = [name for name, g in gradients.items() if not np.abs(np.asarray(g)).max() > 0]
    assert {*still} <= biases_before_batch_norm(model, keys, image)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(found))
