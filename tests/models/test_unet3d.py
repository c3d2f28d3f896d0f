"""3D U-Net against the paper's numbers and a torch implementation of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import check

from segjax.errors import InputError
from segjax.losses.cross_entropy import cross_entropy
from segjax.models.unet3d import TileNorm, UNet3D, centre_crop, max_pool
from segjax.nn.layers import BatchNorm
from segjax.nn.upsample3d import UPSAMPLERS_3D, Nearest3D, TransposedConv3D, Trilinear3D
from segjax.weights import authors


def shapes(model, size, channels=3):
    image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    out, variables = jax.eval_shape(init, jax.random.key(0), image)
    return out["logits"].shape, sum(x.size for x in jax.tree.leaves(variables["params"]))


def test_the_papers_network():
    # Section 2: 19069955 parameters, 132x132x116 -> 44x44x28. The count has the biases of the
    # fourteen 3x3x3 convolutions and of the last one, and nothing of the normalisation.
    pairs = [
        *((3, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)),
        *((768, 256), (256, 256), (384, 128), (128, 128), (192, 64), (64, 64)),
    ]
    kernels = sum(27 * a * b for a, b in pairs)
    kernels += sum(8 * a * a for a in (512, 256, 128)) + 64 * 3
    assert kernels == 19_067_616
    biases = sum(b for _, b in pairs) + 3
    assert kernels + biases == 19_069_955
    affine = 2 * sum(b for _, b in pairs)
    found = shapes(UNet3D(3), (132, 132, 116))
    assert (
        found == ((1, 44, 44, 28, 3), kernels + biases + affine) == ((1, 44, 44, 28, 3), 19_074_627)
    )


@pytest.mark.parametrize("norm", [BatchNorm, TileNorm])
def test_the_norms_have_the_same_parameters(norm):
    assert shapes(UNet3D(3, norm=norm), (132, 132, 116))[1] == 19_074_627


def test_unpadded_equals_torch():
    check("unet3d_torch", UNet3D(3, width=4, depth=1), authors.UNET3D)


def test_padded_equals_torch():
    check("unet3d_torch_same", UNet3D(2, width=2, depth=2, padding="same"), authors.UNET3D)


@pytest.mark.parametrize(("size", "output"), [(92, 4), (116, 28), (132, 44), (140, 52)])
def test_valid_sizes(size, output):
    model = UNet3D(2)
    assert model.output_size(size) == output
    assert model.input_size(output) == model.input_size(output - 7) == size
    assert model.input_size(output + 1) == size + 8


@pytest.mark.parametrize(
    ("model", "size", "nearest"),
    [(UNet3D(2), 128, "124 or 132"), (UNet3D(2, padding="same"), 20, "16 or 24")],
)
def test_other_sizes_are_refused_with_the_nearest(model, size, nearest):
    with pytest.raises(InputError, match=f"a side of {size} .* nearest legal side is {nearest}."):
        shapes(model, (132 if model.padding == "valid" else 24, size, 132))


@pytest.mark.parametrize("upsample", UPSAMPLERS_3D.values())
def test_every_upsampler_fits(upsample):
    model = UNet3D(2, width=2, depth=2, padding="same", upsample=upsample)
    assert shapes(model, (4, 8, 12))[0] == (1, 4, 8, 12, 2)


def test_interpolations():
    # Section 2.2 of the worked examples: 1 2 -> 1 1.25 1.75 2 in the half-pixel convention.
    ramp = jnp.array([1.0, 2.0])
    for axis in (1, 2, 3):
        shape = [1, 1, 1, 1, 1]
        shape[axis] = 2
        x = jnp.broadcast_to(
            ramp.reshape(shape), (1, *(2 if i == axis else 3 for i in (1, 2, 3)), 1)
        )
        for module, wanted in ((Trilinear3D(1), [1, 1.25, 1.75, 2]), (Nearest3D(1), [1, 1, 2, 2])):
            y = jax.jit(module.apply)({}, x)
            line = np.moveaxis(np.asarray(y), axis, -1).reshape(-1, 4)
            np.testing.assert_allclose(line, np.broadcast_to(wanted, line.shape))
            assert line.shape == (36, 4)


def test_transposed_convolution_by_hand():
    x = jnp.arange(2.0).reshape(1, 2, 1, 1, 1) + 1
    kernel = jnp.arange(8.0).reshape(2, 2, 2, 1, 1)
    y = TransposedConv3D(1).apply({"params": {"kernel": kernel}}, x)
    assert y.shape == (1, 4, 2, 2, 1)
    wanted = np.concatenate([np.arange(8).reshape(2, 2, 2), 2 * np.arange(8).reshape(2, 2, 2)])
    np.testing.assert_array_equal(y[0, ..., 0], wanted)


def test_pooling_and_cropping():
    x = jnp.arange(4 * 2 * 6.0).reshape(1, 4, 2, 6, 1)
    assert max_pool(x)[0, :, :, :, 0].tolist() == [[[19, 21, 23]], [[43, 45, 47]]]
    assert centre_crop(x, (2, 2, 4))[0, 0, 0, :, 0].tolist() == [13, 14, 15, 16]


def test_a_tile_is_normalised_by_itself():
    # As batch normalisation in training with batches of one tile, whatever else is in the batch.
    generator = np.random.default_rng(0)
    x = generator.normal(3, 2, size=(3, 2, 4, 6, 5)).astype(np.float32)
    scale, bias = (generator.normal(size=5).astype(np.float32) for _ in "ab")
    params = {"params": {"scale": scale, "bias": bias}}
    found = jax.jit(functools.partial(TileNorm().apply, train=False))(params, x)
    stats = {"mean": np.zeros(5), "var": np.ones(5)}
    for i in range(3):
        wanted, _ = BatchNorm().apply(
            {**params, "batch_stats": stats}, x[i : i + 1], train=True, mutable=["batch_stats"]
        )
        np.testing.assert_allclose(found[i], wanted[0], rtol=1e-4, atol=1e-5)


def test_voxels_without_a_label_have_no_gradient():
    # Sparse annotation, section 2.1: the weight of unlabelled voxels is zero.
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2, 3, 4, 5, 3)).astype(np.float32)
    labels = generator.integers(3, size=(2, 3, 4, 5))
    weight = (generator.random((2, 3, 4, 5)) < 0.3).astype(np.float32)
    loss = lambda z: cross_entropy(z, jnp.asarray(labels), weight=weight)
    gradient = jax.jit(jax.grad(loss))(logits)
    moves = np.abs(gradient).max(-1) > 0
    np.testing.assert_array_equal(moves, weight > 0)
