"""VGG against torchvision's, and its variants for segmentation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import check

from segjax.backbones import vgg
from segjax.backbones.vgg import VGG, Classifier
from segjax.errors import InputError
from segjax.nn.layers import BatchNorm
from segjax.ops.pooling import max_unpool
from segjax.weights import torchvision

WIDTHS = (3, 4, 5, 6, 7)


def shapes(model, height, width):
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    out, variables = jax.eval_shape(
        functools.partial(model.init_with_output, train=False), jax.random.key(0), image
    )
    sizes = {name: x.shape[1:3] for name, x in out.items() if name.startswith("c")}
    return sizes, variables, out


def test_torchvisions_classifier_made_convolutional():
    check(
        "vgg_torchvision",
        Classifier(VGG((1, 1), (4, 6)), num_classes=5, hidden=8),
        torchvision.VGG11,
    )


def test_torchvisions_features_with_batch_norm():
    check(
        "vgg_bn_torchvision",
        VGG((2, 2, 3, 3, 3), WIDTHS, norm=BatchNorm),
        torchvision.VGG16_BN,
        {f"c{k}": f"c{k}" for k in range(6)},
    )


def test_a_larger_image_has_a_score_for_every_window():
    model = Classifier(VGG((1, 1), (4, 6)), num_classes=5, hidden=8)
    image = jax.random.normal(jax.random.key(1), (3, 36, 45, 3))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), image)
    out = jax.jit(functools.partial(model.apply, train=False))(variables, image)
    assert out["scores"].shape == (3, 3, 5, 5)  # of 9x11 features, windows of 7
    assert float(jnp.std(out["scores"], axis=(1, 2)).min()) > 0
    np.testing.assert_allclose(out["logits"], np.mean(out["scores"], (1, 2)), rtol=1e-4, atol=1e-6)


# Simonyan and Zisserman 2014, table 1, numbered as torchvision counts layers.
@pytest.mark.parametrize(
    ("make", "keymap", "indices"),
    [
        (vgg.vgg11, torchvision.VGG11, (0, 3, 6, 8, 11, 13, 16, 18)),
        (vgg.vgg16, torchvision.VGG16, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
    ],
)
def test_names(make, keymap, indices):
    _, variables, _ = shapes(Classifier(make()), 224, 224)
    params = variables["params"]
    paths = [f"backbone/{name}/kernel" for name in params.pop("backbone")]
    paths += [f"{name}/kernel" for name in params]
    wanted = [f"features.{i}.weight" for i in indices]
    assert [keymap.name(path) for path in sorted(paths)] == [
        *wanted,
        "classifier.0.weight",
        "classifier.3.weight",
        "classifier.6.weight",
    ]


@pytest.mark.parametrize(
    ("rounding", "heights", "widths"),
    [
        ("floor", (45, 22, 11, 5, 2, 1), (70, 35, 17, 8, 4, 2)),
        ("ceil", (45, 23, 12, 6, 3, 2), (70, 35, 18, 9, 5, 3)),
    ],
)
def test_rounding_of_the_pools(rounding, heights, widths):
    sizes, _, out = shapes(VGG((1, 1, 2, 2, 2), WIDTHS, pool_rounding=rounding), 45, 70)
    assert sizes == {f"c{k}": (heights[k], widths[k]) for k in range(6)}
    assert [out[f"s{k}"].size for k in range(1, 6)] == [sizes[f"c{k}"] for k in range(5)]


def test_switches_belong_to_the_maps_of_their_names():
    model = VGG((1, 1), (4, 6), pool_rounding="ceil")
    image = jax.random.normal(jax.random.key(1), (1, 7, 10, 3))
    out, _ = jax.jit(functools.partial(model.init_with_output, train=False))(
        jax.random.key(0), image
    )
    restored = max_unpool(out["c2"], out["s2"])
    assert restored.shape == out["c1"].shape
    found = np.asarray(restored) != 0
    assert found.sum() == (np.asarray(out["c2"]) != 0).sum() > 0
    np.testing.assert_array_equal(np.asarray(restored)[found], np.asarray(out["c1"])[found])


def test_deeplabs_pools_and_dilation(monkeypatch):
    dilations = []
    original = vgg.Conv

    def spy(*args, kernel_dilation, padding, **rest):
        assert padding == kernel_dilation
        dilations.append(kernel_dilation)
        return original(*args, kernel_dilation=kernel_dilation, padding=padding, **rest)

    monkeypatch.setattr(vgg, "Conv", spy)
    sizes, _, out = shapes(vgg.vgg16(widths=WIDTHS, pool_size=3, output_stride=8), 321, 513)
    # Chen et al. 2014: n = 32 k - 31 gives 16 k - 15, 8 k - 7, 4 k - 3, and no more.
    assert [sizes[f"c{k}"][0] for k in range(6)] == [321, 161, 81, 41, 41, 41]
    assert [sizes[f"c{k}"][1] for k in range(6)] == [513, 257, 129, 65, 65, 65]
    assert dilations == [1] * 10 + [2] * 3
    assert not any(name.startswith("s") for name in out)


def test_pools_of_two_cannot_keep_the_resolution():
    with pytest.raises(InputError, match="output_stride 8 needs .* set pool_size to 3"):
        shapes(vgg.vgg16(output_stride=8), 64, 64)


def test_the_classifier_refuses_small_images():
    with pytest.raises(InputError, match="needs 7 x 7 features and got 6 x 7"):
        shapes(Classifier(vgg.vgg11()), 223, 224)
