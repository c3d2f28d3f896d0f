"""The recurrent network of Pinheiro and Collobert: its table, its patches, shift-and-stitch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from models.variables import at_random

from segjax.errors import InputError
from segjax.models.pinheiro_recurrent import RecurrentCNN


def test_the_layer_table():
    # 8x8 from RGB and 8 label maps to 25, 8x8 to 50, 1x1 to 8; shared by all instances.
    count = 64 * (3 + 8) * 25 + 25 + 64 * 25 * 50 + 50 + 50 * 8 + 8
    assert count == 98_083
    for instances in (1, 2, 3):
        model = RecurrentCNN(8, instances=instances, padding="same")
        image = jax.ShapeDtypeStruct((1, 24, 32, 3), jnp.float32)
        init = functools.partial(model.init_with_output, train=False)
        out, variables = jax.eval_shape(init, jax.random.key(0), image)
        assert set(out) == {"logits", *(f"instance{p}" for p in range(1, instances))}
        assert {x.shape for x in out.values()} == {(1, 24, 32, 8)}
        found = sum(x.size for x in jax.tree.leaves(variables["params"]))
        assert found == count


def test_patches():
    # 8 -> pool 9 -> 8x8 at stride 2: 23 -> pool 25; f at stride 4 sees 4 (25 - 1) + 25, ...
    model = RecurrentCNN(8)
    assert [model.context(p) for p in (1, 2, 3)] == [25, 121, 505]
    assert model.output_size(240) == 120
    assert model.input_size(120) == 240
    assert RecurrentCNN(8, padding="same").input_size(77) == 77


def small(**options):
    return RecurrentCNN(2, maps=(3, 4), kernel_size=2, **options)


def strided(params, image, instances):
    """The network as the paper draws it: strides, and one score every 4**instances pixels."""
    seen, step, field = image, 1, 1
    labels = jnp.zeros((*image.shape[:3], 2))
    for _ in range(instances):
        x = jnp.concatenate([seen, labels], axis=-1)
        for name in ("conv1", "conv2", "head"):
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            numbers = ("NHWC", "HWIO", "NHWC")
            x = bias + lax.conv_general_dilated(
                x, kernel, (1, 1), "VALID", dimension_numbers=numbers
            )
            if name != "head":
                window = (1, 2, 2, 1)
                x = jnp.tanh(lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID"))
        labels = x
        field, step = field + 6 * step, 4 * step
        # the mean of the step x step pixels in the middle of the patch of each label
        first = (field - step) // 2
        h, w = labels.shape[1:3]
        block = image[:, first : first + h * step, first : first + w * step]
        seen = block.reshape(image.shape[0], h, step, w, step, -1).mean((2, 4))
    return labels


def test_dense_scores_are_shift_and_stitch():
    instances, context, step = 2, 31, 16
    model = small(instances=instances)
    variables, image = at_random(model, 1, context + 31, context + 15, 1)
    dense = jax.jit(functools.partial(model.apply, train=False))(variables, image)["logits"]
    assert dense.shape == (1, 32, 16, 2)

    shifts = [(i, j) for i in range(step) for j in range(step)]
    shifted = np.concatenate([image[:, i : i + context + step, j : j + context] for i, j in shifts])
    wide = np.pad(shifted, ((0, 0), (0, step), (0, step), (0, 0)))  # room for whole blocks
    coarse = jax.jit(functools.partial(strided, instances=instances))(variables["params"], wide)
    coarse = coarse[:, :2, :1].reshape(step, step, 2, 1, 2)
    stitched = coarse.transpose(2, 0, 3, 1, 4).reshape(2 * step, step, 2)
    np.testing.assert_allclose(dense[0], stitched, rtol=1e-4, atol=1e-5)


def test_an_instance_is_the_network_with_fewer():
    model = small(instances=2)
    variables, image = at_random(model, 3, 36, 40, 2)
    both = jax.jit(functools.partial(model.apply, train=False))(variables, image)
    one = small(instances=1)
    alone = jax.jit(functools.partial(one.apply, train=False))(variables, image)["logits"]
    margin = (31 - 7) // 2
    wanted = alone[:, margin : margin + 6, margin : margin + 10]
    np.testing.assert_allclose(both["instance1"], wanted, rtol=1e-5, atol=1e-5)


def test_padding_adds_a_border():
    variables, image = at_random(small(), 1, 33, 36, 1)
    valid, same = (
        jax.jit(functools.partial(small(padding=padding).apply, train=False))(variables, image)
        for padding in ("valid", "same")
    )
    for name in ("logits", "instance1"):
        assert same[name].shape == (1, 33, 36, 2)
        np.testing.assert_allclose(same[name][:, 15:18, 15:21], valid[name], rtol=1e-4, atol=1e-5)


def test_the_second_instance_sees_the_first():
    variables, image = at_random(small(), 1, 31, 31, 1)
    changed = jax.tree.map(lambda x: x, variables)
    changed["params"]["conv1"]["kernel"] = changed["params"]["conv1"]["kernel"].copy()
    changed["params"]["conv1"]["kernel"][:, :, 1:] += 1
    apply = jax.jit(functools.partial(small().apply, train=False))
    before, after = apply(variables, image), apply(changed, image)
    np.testing.assert_array_equal(before["instance1"], after["instance1"])  # of zeros
    assert not np.allclose(before["logits"], after["logits"])


def test_small_images_are_refused():
    with pytest.raises(InputError, match="instances=2 needs images of at least 121 pixels"):
        RecurrentCNN(2).init(jax.random.key(0), jnp.zeros((1, 121, 120, 3)), train=False)
