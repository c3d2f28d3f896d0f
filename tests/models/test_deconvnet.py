"""DeconvNet against torch's transposed convolutions and max_unpool2d, and its sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import check

from segjax.backbones.vgg import VGG
from segjax.errors import InputError
from segjax.models.deconvnet import DeconvNet, deconvnet
from segjax.nn.layers import BatchNorm
from segjax.weights import authors

BACKBONE = VGG((2, 2), (4, 5), pool_rounding="ceil", norm=BatchNorm)


def test_the_authors_network():
    check("deconvnet", DeconvNet(3, BACKBONE, window=3, hidden=6), authors.DECONVNET)


def traced(model, height, width):
    """The layers' shapes and the parameters."""

    def run(image):
        _, state = model.init_with_output(
            jax.random.key(0), image, train=False, capture_intermediates=True
        )
        return state["intermediates"], state["params"]

    return jax.eval_shape(run, jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32))


def test_the_trace_of_224_pixels():
    layers, _ = traced(deconvnet(21), 224, 224)
    encoder = {**layers.pop("backbone"), **layers}
    names = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3", "fc6", "fc7", "fc6-deconv")
    names += ("unpool5", "deconv5_3", "unpool4", "deconv4_3", "unpool3", "deconv3_3")
    names += ("unpool2", "deconv2_2", "unpool1", "deconv1_2", "seg-score")
    assert [encoder[name]["__call__"][0].shape[1::2] for name in names] == [
        (224, 64),
        (112, 128),
        (56, 256),
        (28, 512),
        (14, 512),
        (1, 4096),
        (1, 4096),
        (7, 512),
        (14, 512),
        (14, 512),
        (28, 512),
        (28, 256),
        (56, 256),
        (56, 128),
        (112, 128),
        (112, 64),
        (224, 64),
        (224, 64),
        (224, 21),
    ]


def test_names_of_the_release():
    _, params = traced(deconvnet(21), 224, 224)
    stages = [f"{stage}_{i}" for stage, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
    wanted = [f"{kind}{i}" for kind in ("conv", "bn", "deconv", "debn") for i in stages]
    wanted += ["fc6", "bnfc6", "fc7", "bnfc7", "fc6-deconv", "fc6-deconv-bn", "seg-score-voc"]
    paths = [f"backbone/{name}/bias" for name in params.pop("backbone")]
    paths += [f"{name}/bias" for name in params]
    assert sorted(authors.DECONVNET.name(path) for path in paths) == sorted(
        f"{name}.bias" for name in wanted
    )


@pytest.mark.parametrize("size", [(193, 257), (224, 193)])
def test_legal_sizes(size):
    model = deconvnet(2)
    layers, _ = traced(model, *size)
    assert layers["__call__"][0]["logits"].shape == (1, *size, 2)
    assert model.input_size(1) == 193
    assert model.input_size(300) == model.output_size(300) == 300


def test_small_images_are_refused():
    with pytest.raises(InputError, match="192 x 224 pixels: the smallest legal side is 193"):
        traced(deconvnet(2), 192, 224)


def test_the_decoder_starts_from_a_narrow_gaussian():
    model = DeconvNet(3, VGG((1,), (16,), norm=BatchNorm), window=1, hidden=32)
    image = jnp.zeros((1, 4, 6, 3))
    init = jax.jit(functools.partial(model.init, train=False))
    params = init(jax.random.key(0), image)["params"]
    for name in ("fc6-deconv", "deconv1_1"):
        kernel = np.asarray(params[name]["kernel"])
        assert abs(kernel.std() - 0.01) < 0.001
    assert np.asarray(params["fc6"]["kernel"]).std() > 0.1  # He's, not the decoder's
