import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from segjax.data.images import has_alpha, read_image, read_mask
from segjax.errors import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 8)).astype(np.uint8)
RGB = RNG.integers(0, 256, (5, 8, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (5, 8)).astype(np.uint16)
DEEP_RGB = RNG.integers(0, 65536, (5, 8, 3)).astype(np.uint16)


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
def test_eight_bits(tmp_path, suffix, array):
    (page,) = read_image(saved(tmp_path / f"a.{suffix}", array))
    np.testing.assert_array_equal(page, array.reshape(5, 8, -1))
    assert page.dtype == np.uint8


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_grey(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", DEEP)
    np.testing.assert_array_equal(read_image(path)[0], DEEP[..., None])
    np.testing.assert_array_equal(read_mask(path)[0], DEEP)
    assert read_image(path)[0].dtype == read_mask(path)[0].dtype == np.uint16


def test_big_endian_tiff_becomes_native(tmp_path):
    (page,) = read_image(saved(tmp_path / "a.tif", DEEP.astype(">u2")))
    np.testing.assert_array_equal(page[..., 0], DEEP)
    assert page.dtype.isnative


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_colour_keeps_all_bits_and_the_order(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), DEEP_RGB[..., ::-1])
    np.testing.assert_array_equal(read_image(path)[0], DEEP_RGB)
    cv2.imwrite(str(path), np.dstack([DEEP_RGB[..., ::-1], DEEP]))  # with alpha
    np.testing.assert_array_equal(read_image(path)[0], DEEP_RGB)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_truncated_sixteen_bit_colour(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    big = RNG.integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    cv2.imwrite(str(path), big)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(InputError, match=rf"a\.{suffix}: .*damaged"):
        read_image(path)


def test_alpha_is_dropped(tmp_path):
    rgba = np.dstack([RGB, GREY])
    path = saved(tmp_path / "a.png", rgba)
    np.testing.assert_array_equal(read_image(path)[0], RGB)
    assert has_alpha(path)
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(255 - GREY)])
    la.save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png")[0], GREY[..., None])
    assert has_alpha(tmp_path / "la.png")
    assert not has_alpha(saved(tmp_path / "b.png", RGB))


def palette_file(path, colours):
    image = Image.fromarray(GREY % len(colours)).convert("P")
    image.putpalette(np.uint8(colours).ravel().tolist())
    image.save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "gif", "tif"])
def test_palette_is_colours_as_image_and_indices_as_mask(tmp_path, suffix):
    colours = np.uint8([[0, 0, 0], [200, 10, 20], [5, 90, 7], [255, 255, 255]])
    path = palette_file(tmp_path / f"a.{suffix}", colours)
    np.testing.assert_array_equal(read_image(path)[0], colours[GREY % 4])
    np.testing.assert_array_equal(read_mask(path)[0], GREY % 4)


def test_grey_palette_is_a_grey_image(tmp_path):
    path = palette_file(tmp_path / "a.png", [[9] * 3, [200] * 3, [30] * 3])
    np.testing.assert_array_equal(read_image(path)[0][..., 0], np.uint8([9, 200, 30])[GREY % 3])
    assert read_image(path)[0].shape == (5, 8, 1)


def test_black_and_white(tmp_path):
    path = saved(tmp_path / "a.png", GREY > 99)
    np.testing.assert_array_equal(read_image(path)[0][..., 0], np.where(GREY > 99, 255, 0))
    np.testing.assert_array_equal(read_mask(path)[0], GREY > 99)
    assert read_mask(path)[0].dtype == np.uint8


def test_stack_has_its_pages_in_order(tmp_path):
    pages = [Image.fromarray(DEEP + np.uint16(i)) for i in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    read = read_image(tmp_path / "a.tif")
    assert len(read) == len(read_mask(tmp_path / "a.tif")) == 3
    for i, page in enumerate(read):
        np.testing.assert_array_equal(page[..., 0], DEEP + np.uint16(i))
    deep = [DEEP_RGB, DEEP_RGB[::-1]]
    cv2.imwritemulti(str(tmp_path / "b.tif"), [np.ascontiguousarray(d[..., ::-1]) for d in deep])
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif"), deep)


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert len(read_image(tmp_path / "a.gif")) == 1


def test_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to look at
    path = saved(tmp_path / "a.jpg", RGB, exif=exif)
    assert read_image(path)[0].shape == (5, 8, 3)


def test_colour_mask_of_equal_channels_is_ids(tmp_path):
    path = saved(tmp_path / "a.png", np.dstack([GREY] * 3))
    np.testing.assert_array_equal(read_mask(path)[0], GREY)


def test_painted_mask_is_refused(tmp_path):
    for suffix in ("png", "tif"):
        with pytest.raises(InputError, match=r"a\.\w+: a mask painted in colours"):
            read_mask(saved(tmp_path / f"a.{suffix}", RGB))
    cv2.imwrite(str(tmp_path / "d.png"), DEEP_RGB)
    with pytest.raises(InputError, match="painted in colours"):
        read_mask(tmp_path / "d.png")


def test_jpeg_mask_is_refused(tmp_path):
    path = saved(tmp_path / "a.jpg", np.uint8(GREY > 99) * np.uint8(255))
    assert len(np.unique(read_image(path)[0])) > 2  # why: the ids are no longer there
    with pytest.raises(InputError, match=r"a\.jpg: a JPEG mask"):
        read_mask(path)


def test_thirty_two_bits(tmp_path):
    path = saved(tmp_path / "a.tif", DEEP.astype(np.int32))
    np.testing.assert_array_equal(read_image(path)[0][..., 0], DEEP)
    saved(path, DEEP.astype(np.int32) + 65536)
    with pytest.raises(InputError, match="do not fit 16 bits"):
        read_image(path)
    saved(path, -DEEP.astype(np.int32) - 1)
    with pytest.raises(InputError, match="do not fit 16 bits"):
        read_mask(path)


def test_fractions_are_refused(tmp_path):
    path = saved(tmp_path / "a.tif", GREY.astype(np.float32) / 255)
    for read in (read_image, read_mask):
        with pytest.raises(InputError, match=r"a\.tif: holds fractions"):
            read(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
@pytest.mark.parametrize("keep", [0.0, 0.05, 0.5, 0.95])
def test_truncated_files_are_named(tmp_path, suffix, keep):
    path = saved(tmp_path / f"a.{suffix}", RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    for read in (read_image, read_mask):
        with pytest.raises(InputError, match=rf"a\.{suffix}: .*damaged"):
            read(path)


def test_other_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.png: there is no such file"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image at all")
    with pytest.raises(InputError, match=r"text\.png: empty, damaged or not an image"):
        read_image(tmp_path / "text.png")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    ),
    st.sampled_from(["png", "tif"]),
)
def test_ids_survive_writing_and_reading(tmp_path, ids, suffix):
    (mask,) = read_mask(saved(tmp_path / f"a.{suffix}", ids))
    np.testing.assert_array_equal(mask, ids)
    assert mask.dtype == ids.dtype
