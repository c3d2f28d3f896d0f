"""U-Net against the paper's numbers and a torch implementation of it."""

import functools
import zlib
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import check

from segjax.errors import InputError
from segjax.models import unet
from segjax.models.unet import UNet
from segjax.nn.layers import BatchNorm, GroupNorm
from segjax.nn.upsample import UPSAMPLERS, TransposedConv
from segjax.weights import authors

GOLDEN = Path(__file__).parent.parent / "golden" / "unet.npz"


def shapes(model, height, width, channels, train=False):
    """(output shape, number of parameters), computing nothing."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    image = jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32)
    out, variables = jax.eval_shape(
        functools.partial(model.init_with_output, train=train), keys, image
    )
    count = sum(x.size for x in jax.tree.leaves(variables["params"]))
    return out["logits"].shape, count


@pytest.mark.parametrize(
    ("channels", "classes", "count"),
    [(1, 2, 31_030_658), (3, 1, 31_031_745), (3, 2, 31_031_810), (3, 21, 31_033_045)],
)
def test_the_papers_network(channels, classes, count):
    # Ronneberger et al. 2015: 572 -> 388; counts from the layer table, biases everywhere.
    assert shapes(UNet(classes), 572, 572, channels) == ((1, 388, 388, classes), count)


@pytest.mark.parametrize(("classes", "count"), [(1, 31_037_633), (2, 31_037_698)])
def test_the_padded_network_with_batch_norm(classes, count):
    # The count of the common padded re-implementation, 3 channels (transposed up-convolutions).
    model = UNet(classes, padding="same", norm=BatchNorm)
    assert shapes(model, 64, 96, 3) == ((1, 64, 96, classes), count)


@pytest.mark.parametrize(("size", "output"), [(188, 4), (284, 100), (572, 388), (700, 516)])
def test_valid_sizes(size, output):
    model = UNet(2)
    assert model.output_size(size) == output  # 16 k + 60 -> 16 k - 124
    assert model.input_size(output) == size
    assert model.input_size(output - 15) == size
    assert model.input_size(output + 1) == size + 16
    model.check_size((size, size))


@pytest.mark.parametrize(
    ("model", "size", "nearest"),
    [
        (UNet(2), 570, "556 or 572"),
        (UNet(2), 100, "188"),
        (UNet(2, padding="same"), 250, "240 or 256"),
        (UNet(2, padding="same", depth=2), 3, "4"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest(model, size, nearest):
    with pytest.raises(InputError, match=f"a side of {size} .* nearest legal side is {nearest}."):
        shapes(model, size, model.input_size(1), 1)


def load_by_name(variables):
    """Fill every parameter as tests/golden/unet.py does."""

    def fill(path, x):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        scale = 1 / np.sqrt(np.prod(x.shape[:-1])) if x.ndim > 1 else 0.1
        return (scale * generator.normal(size=x.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, variables)


def test_logits_and_gradient_equal_torch():
    golden = np.load(GOLDEN)
    model = UNet(3, width=4, depth=2)
    image = jnp.asarray(golden["image"])
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    params = load_by_name(variables["params"])

    @jax.jit
    def run(image):
        def logits(x):
            return model.apply({"params": params}, x, train=False)["logits"]

        out, vjp = jax.vjp(logits, image)
        return out, vjp(jnp.asarray(golden["cotangent"]))[0]

    out, grad = run(image)
    np.testing.assert_allclose(out, golden["logits"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grad, golden["image_grad"], rtol=1e-4, atol=1e-5)


def init(model, shape=(3, 16, 24, 2)):
    image = jax.random.normal(jax.random.key(1), shape)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), image)
    return variables, image


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_every_skip_carries_gradient(padding):
    model = UNet(2, width=2, depth=2, padding=padding)
    side = model.input_size(4)
    variables, image = init(model, (1, side, side, 1))
    wanted = [f"down{level}" for level in range(2)]

    # With the path from below cut at a level, only its skip is left to reach that encoder level.
    for level, name in enumerate(wanted):
        cut = jax.tree.map(lambda x: x, variables)
        for parameter in ("kernel", "bias"):
            up = cut["params"][f"up{level}"]
            up[parameter] = jnp.zeros_like(up[parameter])

        @jax.jit
        def grads(params, cut=cut):
            def loss(p):
                return jnp.sum(model.apply({**cut, "params": p}, image, train=False)["logits"] ** 2)

            return jax.grad(loss)(params)

        norm = np.abs(np.asarray(grads(cut["params"])[name]["conv2"]["kernel"])).max()
        assert norm > 0, f"the skip of {name} carries no gradient"


def test_without_skips_the_encoder_is_reached_from_below_only():
    model = UNet(2, width=2, depth=2, padding="same", merge=unet.without_skip)
    variables, image = init(model)
    up = variables["params"]["up0"]
    up["kernel"] = jnp.zeros_like(up["kernel"])
    loss = lambda p: jnp.sum(model.apply({"params": p}, image, train=False)["logits"] ** 2)
    grad = jax.jit(jax.grad(loss))(variables["params"])
    assert not np.asarray(grad["down0"]["conv2"]["kernel"]).any()


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_any_upsampler_fits_and_every_parameter_moves(name):
    model = UNet(2, width=4, depth=1, padding="same", upsample=UPSAMPLERS[name], norm=GroupNorm2)
    variables, image = init(model)

    def loss(params):
        keys = {"dropout": jax.random.key(5)}
        logits = model.apply({"params": params}, image, train=True, rngs=keys)["logits"]
        return jnp.sum(jnp.sin(logits)), logits

    grads, logits = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert logits.shape == (3, 16, 24, 2)
    still = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(grads)
        if not np.abs(np.asarray(g)).max() > 0
    ]
    assert not still


GroupNorm2 = functools.partial(GroupNorm, num_groups=2)


def test_bfloat16_keeps_parameters_and_logits_float32():
    model = UNet(2, width=4, depth=1, padding="same", norm=BatchNorm, dtype=jnp.bfloat16)
    variables, image = init(model)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    apply = jax.jit(functools.partial(model.apply, train=False))
    logits = apply(variables, image)["logits"]
    exact = jax.jit(functools.partial(model.clone(dtype=None).apply, train=False))(variables, image)
    assert logits.dtype == jnp.float32
    assert not jnp.array_equal(logits, exact["logits"])
    scale = float(jnp.abs(exact["logits"]).max())
    np.testing.assert_allclose(logits, exact["logits"], atol=0.02 * scale)


def test_rematerialisation_changes_memory_only():
    plain = UNet(2, width=4, depth=1, padding="same", norm=BatchNorm, dropout=0.5)
    variables, image = init(plain)
    results = []
    for model in (plain, plain.clone(remat=True)):

        def loss(params, model=model):
            out, state = model.apply(
                {**variables, "params": params},
                image,
                train=True,
                rngs={"dropout": jax.random.key(2)},
                mutable=["batch_stats"],
            )
            return jnp.sum(out["logits"] ** 2), state

        results.append(jax.jit(jax.grad(loss, has_aux=True))(variables["params"]))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_initialisation_is_he_normal_and_pure():
    model = UNet(2, width=16, depth=2, padding="same")
    a, b = init(model)[0], init(model)[0]
    jax.tree.map(np.testing.assert_array_equal, a, b)
    kernel = np.asarray(a["params"]["bottom"]["conv2"]["kernel"])
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)
    assert abs(kernel.mean()) < 0.002
    others = [a["params"][f"down{i}"]["conv1"]["bias"] for i in range(2)]
    assert not any(np.asarray(x).any() for x in others)


@pytest.mark.parametrize(("classes", "count"), [(1, 17_262_977), (2, 17_263_042)])
def test_the_padded_network_without_weights_in_its_upsampling(classes, count):
    # The count of the common padded re-implementation, 3 channels, bilinear.
    assert shapes(unet.unet_bilinear(classes), 64, 96, 3) == ((1, 64, 96, classes), count)


def test_the_released_network():
    # phseg_v5, 1 channel: its last up-convolution keeps 128 channels.
    assert shapes(unet.unet_caffe(2), 572, 572, 1) == ((1, 388, 388, 2), 31_100_354)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("unet_milesial", unet.unet_padded),
        ("unet_milesial_bilinear", unet.unet_bilinear),
    ],
)
def test_the_common_padded_networks(name, make):
    check(name, make(2, width=4), authors.UNET_MILESIAL, rtol=1e-5)


def test_the_released_networks_upsampling_and_skips():
    # The upsampled channels come first and are rectified; those of the encoder follow.
    x = jax.random.normal(jax.random.key(1), (1, 3, 2, 4))
    up = unet.RectifiedUp(5)
    variables = up.init(jax.random.key(0), x)
    y = up.apply(variables, x)
    plain = TransposedConv(5).apply(variables, x)
    np.testing.assert_array_equal(y, np.maximum(plain, 0))
    skip = -jnp.ones((1, 6, 4, 2))
    np.testing.assert_array_equal(unet.concatenate_after(skip, y), jnp.concatenate([y, skip], -1))


def test_the_released_network_drops_out_in_a_skip():
    # phseg_v5 has dropout after level 3, before its pooling, and at the bottom.
    def dropped(levels):
        names = []

        def spy(next_method, args, kwargs, context):
            if isinstance(context.module, nn.Dropout):
                names.append(args[0].shape[-1])
            return next_method(*args, **kwargs)

        model = UNet(2, width=2, padding="same", dropout_levels=levels)
        with nn.intercept_methods(spy):
            shapes(model, 16, 32, 1)
        return names

    assert dropped(1) == [32]
    assert dropped(2) == [16, 32]
    assert unet.unet_caffe(2).dropout_levels == 2
