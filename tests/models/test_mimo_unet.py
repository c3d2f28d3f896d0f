"""MIMO-UNet with imported weights, its counts, and its two readings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.variables import at_random
from parity import check

from segjax.errors import InputError
from segjax.models.mimo_unet import MIMOUNet, mimo_unet_plus
from segjax.weights import authors


def test_equals_torch():
    model = MIMOUNet(3, width=8, blocks=2, output="image")
    outputs = {"logits": "full", "logits2": "half", "logits4": "quarter"}
    check("mimo_unet_torch", model, authors.MIMO_UNET, outputs)


def conv(size, a, b):
    return size**2 * a * b + b


def table(blocks):
    """Of the authors' code: width 32, three channels in and out."""
    residuals = sum(2 * blocks * 2 * conv(3, w, w) for w in (32, 64, 128))
    down = conv(3, 3, 32) + conv(3, 32, 64) + conv(3, 64, 128)
    up = conv(4, 128, 64) + conv(4, 64, 32)
    shrink = conv(1, 128, 64) + conv(1, 64, 32)
    out = conv(3, 128, 3) + conv(3, 64, 3) + conv(3, 32, 3)
    fusion = conv(1, 224, 32) + conv(3, 32, 32) + conv(1, 224, 64) + conv(3, 64, 64)
    attention = conv(3, 128, 128) + conv(3, 64, 64)
    shallow = sum(
        conv(3, 3, w // 4)
        + conv(1, w // 4, w // 2)
        + conv(3, w // 2, w // 2)
        + conv(1, w // 2, w - 3)
        + conv(1, w, w)
        for w in (64, 128)
    )
    return residuals + down + up + shrink + out + fusion + attention + shallow


@pytest.mark.parametrize(
    ("model", "blocks", "count", "published"),
    [(MIMOUNet(3), 8, 6_807_171, 6.8), (mimo_unet_plus(3), 20, 16_107_651, 16.1)],
)
def test_parameters(model, blocks, count, published):
    image = jax.ShapeDtypeStruct((1, 32, 48, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    init = functools.partial(model.init_with_output, train=True)
    out, variables = jax.eval_shape(init, keys, image)
    found = sum(x.size for x in jax.tree.leaves(variables["params"]))
    assert found == table(blocks) == count
    assert round(count / 1e6, 1) == published  # table 1 of the paper, in millions
    sizes = {name: x.shape for name, x in out.items()}
    assert sizes == {
        "logits": (1, 32, 48, 3),
        "logits2": (1, 16, 24, 3),
        "logits4": (1, 8, 12, 3),
    }


def test_the_image_is_added_at_every_scale():
    models = MIMOUNet(3, width=4, blocks=0), MIMOUNet(3, width=4, blocks=0, output="image")
    variables, image = at_random(models[0], 3, 8, 12, 3)
    both = jax.jit(lambda *args: [m.apply(*args, train=False) for m in models])(variables, image)
    for name, step in (("logits", 1), ("logits2", 2), ("logits4", 4)):
        added = both[1][name] - both[0][name]
        np.testing.assert_allclose(added, image[:, ::step, ::step], atol=1e-5)


def test_an_image_has_its_channels():
    with pytest.raises(InputError, match="adds the image's 3 channels to num_classes=5"):
        MIMOUNet(5, output="image").init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=False)


def test_sizes():
    model = MIMOUNet(3)
    assert model.input_size(9) == model.output_size(12) == 12
    with pytest.raises(InputError, match="a side of 6 is no multiple of 4"):
        model.init(jax.random.key(0), jnp.zeros((1, 8, 6, 3)), train=False)


def test_starts_small():
    """48 residual blocks without a norm neither explode nor vanish, as from He's weights."""
    model = MIMOUNet(11, width=8)
    image = np.random.default_rng(0).normal(size=(1, 24, 36, 3)).astype(np.float32)
    logits = model.apply(model.init(jax.random.key(0), image, train=False), image, train=False)
    for name, x in logits.items():
        assert 1e-3 < np.std(x) < 1, name
