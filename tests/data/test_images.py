import os

import cv2
import numpy as np
import pytest
from by_hand import png, tiff, tiff_page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, TiffImagePlugin

from segjax.data.images import (
    has_alpha,
    load_image,
    load_mask,
    read_image,
    read_mask,
    rescaled,
)
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


ODD_GREY = np.arange(40, dtype=np.uint8).reshape(5, 8) * 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("array", [ODD_GREY, RGB, DEEP, DEEP_RGB], ids=["8", "rgb", "16", "rgb16"])
def test_orientation_of_a_tiff_is_not_applied(tmp_path, array, orientation):
    path = tiff(tmp_path / "a.tif", tiff_page(array, t274=orientation))
    found = load_image(path)
    np.testing.assert_array_equal(found.pages[0], array.reshape(5, 8, -1))
    assert found.turned == (orientation > 1)
    if array.ndim == 2:
        mask = load_mask(path)
        np.testing.assert_array_equal(mask.pages[0], array)
        assert mask.turned == (orientation > 1)
    if array is RGB:  # another decoder of Pillow's
        packed = saved(tmp_path / "b.tif", RGB, tiffinfo={274: orientation}, compression="tiff_lzw")
        np.testing.assert_array_equal(read_image(packed)[0], RGB)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_orientation_is_not_applied_and_known(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to look at
    found = load_image(saved(tmp_path / f"a.{suffix}", RGB, exif=exif))
    assert found.pages[0].shape == (5, 8, 3)
    assert found.turned
    assert not load_image(saved(tmp_path / f"b.{suffix}", RGB)).turned


def test_orientation_told_behind_the_pixels_and_in_xmp(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    tag = (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    assert load_mask(png(tmp_path / "a.png", GREY, 8, chunks=[tag])).turned
    broken = load_mask(png(tmp_path / "b.png", GREY, 8, chunks=[(b"eXIf", b"nonsense")]))
    np.testing.assert_array_equal(broken.pages[0], GREY)
    assert not broken.turned
    xmp = b'<x:xmpmeta tiff:Orientation="3"/>'
    found = load_image(saved(tmp_path / "c.tif", RGB, tiffinfo={700: xmp}))
    np.testing.assert_array_equal(found.pages[0], RGB)
    assert found.turned


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("kind", ["png", "interlaced", "tif"])
def test_small_grey_masks_are_ids_and_images_are_bright(tmp_path, bits, kind):
    ids = RNG.integers(0, 2**bits, (9, 11))
    ids[0, :2] = 0, 2**bits - 1
    if kind == "tif":
        path = tiff(tmp_path / "a.tif", tiff_page(ids, bits))
    else:
        path = png(tmp_path / "a.png", ids, bits, interlaced=kind == "interlaced")
    np.testing.assert_array_equal(read_mask(path)[0], ids)
    np.testing.assert_array_equal(read_image(path)[0][..., 0], ids * (255 // (2**bits - 1)))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_masks_whose_zero_is_shown_white_are_ids(tmp_path, bits):
    ids = RNG.integers(0, 2**bits, (9, 11)).astype(np.uint8)
    path = tiff(tmp_path / "a.tif", tiff_page(ids, bits, t262=0))
    np.testing.assert_array_equal(read_mask(path)[0], ids)
    np.testing.assert_array_equal(read_image(path)[0][..., 0], 255 - ids * (255 // (2**bits - 1)))


def with_alpha(path, mode, alpha):
    ids = Image.fromarray(GREY % 3)
    if mode == "P":
        ids = ids.convert("P")
        ids.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8])
        ids.save(path, transparency=bytes([0, 255, 255] if alpha.min() < alpha.max() else [7] * 3))
    else:
        ids = ids.convert(mode)
        ids.putalpha(Image.fromarray(alpha))
        ids.save(path)
    return path


@pytest.mark.parametrize("name", ["LA.png", "LA.tif", "PA.tif", "RGBA.png", "RGBA.tif"])
def test_masks_with_varying_transparency_are_refused(tmp_path, name):
    mode = name.split(".")[0]
    constant = with_alpha(tmp_path / name, mode, np.full((5, 8), 255, np.uint8))
    np.testing.assert_array_equal(read_mask(constant)[0], GREY % 3)
    varying = with_alpha(tmp_path / name, mode, np.uint8(GREY > 99) * np.uint8(255))
    with pytest.raises(InputError, match=rf"{name}: a mask with transparency that varies.*save it"):
        read_mask(varying)
    read_image(varying)


def test_a_transparent_colour_of_a_palette_hides_no_index(tmp_path):
    path = with_alpha(tmp_path / "a.png", "P", np.uint8(GREY > 99) * np.uint8(255))
    np.testing.assert_array_equal(read_mask(path)[0], GREY % 3)


def test_masks_drawn_in_premultiplied_alpha_are_refused(tmp_path):
    both = np.dstack([GREY * 0, GREY])
    tags = {256: 8, 257: 5, 258: (8, 8), 277: 2, 338: 1}
    path = tiff(tmp_path / "a.tif", (tags, both.tobytes()))
    with pytest.raises(InputError, match="transparency that varies"):
        read_mask(path)
    np.testing.assert_array_equal(read_image(path)[0], np.zeros((5, 8, 1)))


@pytest.mark.parametrize("beside", [{254: 1}, {254: 4, 262: 4}, {254: 5}, {255: 2}], ids=str)
@pytest.mark.parametrize("array", [ODD_GREY, DEEP_RGB], ids=["grey", "deep"])
def test_overviews_and_transparency_masks_are_no_pages(tmp_path, beside, array):
    small = np.ones((2, 4), np.uint8)
    tags, strip = tiff_page(small)
    if 262 in beside:
        tags, strip = tiff_page(small, 1)
    half = (tags | beside, strip)
    path = tiff(
        tmp_path / "a.tif", tiff_page(array, t254=0), half, tiff_page(array[::-1], t255=3), half
    )
    pages = read_image(path)
    assert len(pages) == 2
    np.testing.assert_array_equal(pages[0], array.reshape(5, 8, -1))
    np.testing.assert_array_equal(pages[1], array[::-1].reshape(5, 8, -1))
    if array.ndim == 2:
        assert len(read_mask(path)) == 2


def test_a_file_of_overviews(tmp_path):
    alone = tiff(tmp_path / "a.tif", tiff_page(GREY, t254=1))  # cut out of a pyramid
    np.testing.assert_array_equal(read_image(alone)[0][..., 0], GREY)
    two = tiff(tmp_path / "b.tif", tiff_page(GREY, t254=1), tiff_page(GREY[:2], t254=1))
    with pytest.raises(InputError, match=r"b\.tif: holds overviews .* no page"):
        read_image(two)


def test_files_beyond_the_limit_of_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # it refuses twice that, of our 40
    for suffix in ("png", "tif", "bmp", "gif", "webp"):
        path = saved(tmp_path / f"a.{suffix}", GREY)
        assert read_image(path)[0].shape[:2] == (5, 8)
        read_image(path, max_pixels=40)
        with pytest.raises(InputError, match=rf"a\.{suffix}: unfolds to .*max_pixels=4; raise"):
            read_image(path, max_pixels=4)
    second = tiff(tmp_path / "b.tif", tiff_page(GREY[:1]), tiff_page(GREY))
    assert len(read_mask(second)) == 2
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("array", [GREY, RGB, DEEP, DEEP_RGB], ids=["8", "rgb", "16", "rgb16"])
def test_the_limit_is_of_bytes_and_of_all_pages(tmp_path, array):
    path = tiff(tmp_path / "a.tif", tiff_page(array), tiff_page(array), tiff_page(array))
    enough = array.nbytes  # three pages, three bytes a pixel
    assert len(read_image(path, max_pixels=enough)) == 3
    with pytest.raises(InputError, match=r"a\.tif: unfolds to 0.0 MiB"):
        read_image(path, max_pixels=enough - 1)


def test_too_large_a_file_is_refused_before_it_is_unfolded(tmp_path, monkeypatch):
    """Eight pages of 240 million pixels from a few bytes: 1.8 GiB."""
    claim = ({256: 16000, 257: 15000, 258: 8, 259: 5}, b"\x80\x0b")
    path = tiff(tmp_path / "a.tif", *[claim] * 8)
    assert path.stat().st_size < 2000

    def load(self):
        raise AssertionError("unfolded")

    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", load)
    for read in (read_image, read_mask):
        with pytest.raises(InputError, match=r"to 1,831.1 MiB, more than the 1,536.0 MiB of"):
            read(path)
    with pytest.raises(InputError, match="unfolded"):  # the limit is what stops it
        read_image(path, max_pixels=2**30)


def test_sixteen_bits_in_planes_are_refused(tmp_path):
    planes = {258: (16,) * 3, 262: 2, 277: 3, 284: 2, 273: (8, 88, 168), 279: (80,) * 3}
    strip = np.moveaxis(DEEP_RGB, -1, 0).tobytes()
    with pytest.raises(InputError, match="separate planes"):
        read_image(tiff(tmp_path / "a.tif", ({256: 8, 257: 5} | planes, strip)))


def test_sixteen_bits_colour_with_a_name_that_is_not_utf8(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), DEEP_RGB[..., ::-1])
    path = (tmp_path / "a.png").rename(tmp_path / os.fsdecode(b"\xff.png"))
    np.testing.assert_array_equal(read_image(path)[0], DEEP_RGB)


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


def test_a_scale_that_no_memory_holds_is_refused():
    with pytest.raises(InputError, match=r"A scale of 1e\+06 makes .* image of 9 x 6: choose"):
        rescaled(np.zeros((6, 9, 3), np.uint8), 1e6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.webp", {"quality": 80}),
        ("b.webp", {"quality": 80, "exif": b"Exif\0\0" + bytes(9)}),  # in the extended format
        ("a.tif", {"compression": "jpeg"}),
        ("a.jpg", {}),
    ],
)
def test_masks_that_compression_has_blurred_are_refused(tmp_path, name, options):
    picture = Image.fromarray(np.uint8(GREY % 3))
    picture.save(tmp_path / name, **options)
    with pytest.raises(InputError, match=f"{name}: a .* mask, whose ids that has blurred"):
        read_mask(tmp_path / name)
    read_image(tmp_path / name)
    picture.save(tmp_path / "good.webp", lossless=True)
    np.testing.assert_array_equal(read_mask(tmp_path / "good.webp")[0], GREY % 3)


def test_a_tile_larger_than_its_image_counts(tmp_path):
    tiff(tmp_path / "a.tif", ({256: 16, 257: 16, 258: 8, 322: 4096, 323: 4096}, bytes(256)))
    with pytest.raises(InputError, match="unfolds to 16.0 MiB, more than"):
        read_image(tmp_path / "a.tif", max_pixels=1000)


def test_a_limit_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="max_pixels must be at least 1, not -5"):
        read_image(tmp_path / "a.tif", max_pixels=-5)
