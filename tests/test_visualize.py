import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segjax import visualize

GREY = [128, 128, 128]


@pytest.mark.parametrize("num_classes", [1, 2, 21, 150])
def test_palette_has_a_black_background_and_colours_that_differ(num_classes):
    colours = visualize.palette(num_classes)
    assert colours.shape == (num_classes, 3)
    assert colours.dtype == np.uint8
    assert not colours[0].any()
    assert len(np.unique(colours, axis=0)) == num_classes
    assert (colours[1:].max(-1) >= 200).all()


def test_colours_follow_the_labels_and_what_is_no_class_is_grey():
    colours = np.array([[0, 0, 0], [1, 2, 3], [4, 5, 6]], np.uint8)
    labels = np.array([[[0, 1, 2], [3, 255, -1]]])
    picture = visualize.colour_labels(labels, colours)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[[0, 0, 0], [1, 2, 3], [4, 5, 6]], [GREY, GREY, GREY]]]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_scale_become_rgb(channels):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, 20, 30, channels)) * [[[[3e4]]], [[[1e-3]]]] + 7
    rgb = visualize.to_rgb(images)
    assert rgb.shape == (2, 20, 30, 3)
    assert rgb.dtype == np.uint8
    assert (rgb.max(axis=(1, 2, 3)) == 255).all()
    assert (rgb.min(axis=(1, 2, 3)) == 0).all()
    used = images[..., : 3 if channels >= 3 else 1]
    for picture, image in zip(rgb, used, strict=True):  # the order of the values is kept
        order = np.argsort(image, axis=None)
        shown = np.broadcast_to(picture[..., : image.shape[-1]], image.shape)
        assert (np.diff(shown.ravel()[order].astype(int)) >= 0).all()


def test_an_image_of_one_value_is_no_error():
    assert not visualize.to_rgb(np.full((1, 4, 5, 1), 3.0)).any()


@given(st.floats(0, 1), st.integers(0, 2), st.integers(0, 255))
def test_overlay_mixes_and_leaves_the_background(opacity, label, value):
    colours = np.array([[9, 9, 9], [10, 20, 30], [255, 0, 99]], np.uint8)
    image = np.full((2, 3, 3), value, np.uint8)
    labels = np.full((2, 3), label)
    picture = visualize.overlay(image, labels, colours, opacity)
    expected = (1 - opacity) * value + opacity * colours[label] if label else image[0, 0]
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(float) - expected).max() <= 0.5 + 1e-6


def test_errors_are_red_and_what_does_not_count_is_grey():
    labels = np.array([[[0, 1], [1, 255]]])
    predictions = np.array([[[0, 0], [1, 1]]])
    picture = visualize.errors(labels, predictions, labels != 255)
    white, red = [255] * 3, [230, 40, 40]
    assert picture.tolist() == [[[white, red], [white, GREY]]]


def test_sheet_is_columns_by_name_and_rows_by_example():
    first = np.zeros((3, 10, 40, 3), np.uint8)
    first += np.arange(1, 4, dtype=np.uint8)[:, None, None, None]
    second = np.full((3, 10, 50, 3), 99, np.uint8)
    sheet = visualize.sheet({"image": first, "truth": second}, rows=2, gap=4)
    assert sheet.shape == (24 + 2 * (10 + 4), 40 + 4 + 50, 3)
    assert (sheet[24:34, :40] == 1).all()
    assert (sheet[38:48, :40] == 2).all()
    assert (sheet[24:34, 44:] == 99).all()
    assert (sheet[:24, :40] < 128).any(), "the title"
    assert visualize.sheet({"image": first[:1]}).shape == (38, 40, 3)
