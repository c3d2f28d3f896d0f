"""Files that torch, safetensors and h5py wrote, read without torch; bad ones refused."""

import json
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from segjax.errors import InputError
from segjax.weights.read import read, unwrap
from segjax.weights.torch_file import LEGACY_MAGIC

GOLDEN = Path(__file__).parent.parent / "golden"
VALUES = np.load(GOLDEN / "torch_values.npz")
NAMES = ("views", "training", "nested", "ema", "averaged", "compiled")
KINDS = ("zip", "legacy")


def values_of(name):
    """What torch loads, the names without what wraps them."""
    found = {key.partition("/")[2]: VALUES[key] for key in VALUES if key.startswith(f"{name}/")}
    found.pop("n_averaged", None)
    wrapped = {"training": "module.", "averaged": "module.", "nested": "model."}
    prefix = wrapped.get(name, "_orig_mod.")
    return {key.removeprefix(prefix): x for key, x in found.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_torch_files_hold_what_torch_finds_in_them(name, kind):
    got, want = read(GOLDEN / f"torch_{name}_{kind}.pt"), values_of(name)
    assert list(got) == list(want)
    for key, x in want.items():
        dtype = ml_dtypes.bfloat16 if key == "bfloat16" else x.dtype
        assert got[key].dtype == dtype, key
        assert got[key].flags.c_contiguous
        np.testing.assert_array_equal(got[key].astype(x.dtype), x, err_msg=key)
        assert got[key].shape == x.shape, key


def test_float8_is_read_as_float32():
    for file in ("torch_float8_zip.pt", "float8.safetensors"):
        got, want = read(GOLDEN / file), values_of("float8")
        for name in ("e4m3", "e5m2", "fnuz"):
            assert got[name].dtype == np.float32
            np.testing.assert_array_equal(got[name], want[name], err_msg=name)
        np.testing.assert_array_equal(got["float32"], want["float32"])
        assert got["uint16"].dtype == np.uint16
        np.testing.assert_array_equal(got["uint16"], [3, 65535])
    assert got["bfloat16"].dtype == ml_dtypes.bfloat16


def test_a_type_that_cannot_be_read_is_named(tmp_path):
    about = {"w": {"dtype": "F4", "shape": [2, 4], "data_offsets": [0, 4]}}
    header = json.dumps(about).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(InputError, match="x.safetensors has arrays of the types F4, which cannot"):
        read(path)


def test_the_averaged_weights_are_taken():
    np.testing.assert_array_equal(read(GOLDEN / "torch_ema_zip.pt")["w"], [1, 1])


def test_contents_not_names_tell_the_format(tmp_path):
    for i, source in enumerate(("torch_nested_zip.pt", "torch_nested_legacy.pt")):
        copy = tmp_path / f"{i}.safetensors"
        copy.write_bytes((GOLDEN / source).read_bytes())
        assert set(read(str(copy))) == {"a", "b"}


@pytest.mark.parametrize("kind", KINDS)
def test_code_in_a_checkpoint_is_refused_and_not_run(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"needs posix.system.*state dict as safetensors"):
        read(GOLDEN / f"torch_malicious_{kind}.pt")
    assert not list(tmp_path.iterdir())


# Globals that a pickle may name to reach code, also through dotted names and torch's own helpers.
GLOBALS = {
    "eval": b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
    "getattr": b"\x80\x02cbuiltins\ngetattr\n.",
    "dotted": b"\x80\x04\x8c\x0bcollections\x8c\x13OrderedDict.__init__\x93.",
    "old_rebuild": b"\x80\x02ctorch._utils\n_rebuild_tensor\n.",
    "load": b"\x80\x02ctorch\nload\n.",
    "extension": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("name", GLOBALS)
def test_every_other_global_is_refused(name, tmp_path):
    path = tmp_path / "bad.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", GLOBALS[name])
    with pytest.raises(InputError, match="bad.pt"):
        read(path)
    (tmp_path / "bare.pt").write_bytes(GLOBALS[name])
    with pytest.raises(InputError, match="bare.pt"):
        read(tmp_path / "bare.pt")


def tensor_pickle(tmp_path, size, offset, shape, strides, storage="FloatStorage", legacy=False):
    """A checkpoint of one tensor written by hand: 6 numbers, and a view of them."""

    def text(s):
        return b"X" + len(s).to_bytes(4, "little") + s.encode()

    def integers(*values):
        return b"(" + b"".join(b"J" + v.to_bytes(4, "little", signed=True) for v in values) + b"t"

    persistent = b"(" + text("storage") + b"ctorch\n" + storage.encode() + b"\n" + text("0")
    persistent += text("cpu") + b"J" + size.to_bytes(4, "little") + b"N" * legacy + b"tQ"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent
    rebuild += b"J" + offset.to_bytes(4, "little", signed=True) + integers(*shape)
    rebuild += integers(*strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    tree = b"\x80\x02}" + text("conv") + b"}" + text("w") + rebuild + b"ss."
    numbers = np.arange(6, dtype=np.float32).tobytes()
    path = tmp_path / "hand.pt"
    if legacy:
        start = [pickle.dumps(x, 2) for x in (LEGACY_MAGIC, 1001, {"little_endian": True})]
        stored = size.to_bytes(8, "little") + numbers
        path.write_bytes(b"".join([*start, tree, pickle.dumps(["0"], 2), stored]))
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", tree)
        archive.writestr("archive/data/0", numbers)
    return path


def test_safetensors_whose_header_is_as_long_as_a_pickle_begins(tmp_path):
    path = tmp_path / "x"
    for padding in range(256):
        save_file({"a": np.ones(2)}, path, {"padding": padding * "x"})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert read(path).keys() == {"a"}


def test_a_view_written_by_hand(tmp_path):
    for legacy in (False, True):
        w = read(tensor_pickle(tmp_path, 6, 1, (2, 2), (1, 3), legacy=legacy))["conv.w"]
        np.testing.assert_array_equal(w, [[1, 4], [2, 5]])


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (7,), (1,)), (3, (2, 2), (1, 3)), (-1, (2,), (1,)), (5, (2,), (-1,)), (0, (2,), (1, 1))],
)
def test_views_beyond_their_storage_are_refused(tmp_path, offset, shape, strides):
    with pytest.raises(InputError, match=r"hand.pt is damaged.*(beyond|impossible)"):
        read(tensor_pickle(tmp_path, 6, offset, shape, strides))


def test_an_unknown_storage_is_named(tmp_path):
    with pytest.raises(InputError, match="torch.QInt8Storage"):
        read(tensor_pickle(tmp_path, 6, 0, (6,), (1,), "QInt8Storage"))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_tensor_of_more_numbers_than_its_file_is_refused_by_name(tmp_path, legacy):
    path = tensor_pickle(tmp_path, 6, 0, (1 << 20, 1 << 20), (0, 0), legacy=legacy)
    assert path.stat().st_size < 1600
    with pytest.raises(InputError, match=r"hand.pt: the tensor conv.w .* to 4,398,046,511,104 by"):
        read(path)


def test_views_that_are_large_together_are_refused(tmp_path):
    """Each is no larger than the storage, and costs the file a few bytes."""
    path = tmp_path / "views.pt"
    row = b"X\x03\x00\x00\x00%03dh\x00(h\x01K\x00K\x28K\x28\x86K\x01K\x28\x86\x89}tR"
    start = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x000(X\x07\x00\x00\x00storage"
    start += b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuM@\x06tQq\x010}("
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", start + b"".join(row % i for i in range(1000)) + b"u.")
        archive.writestr("a/data/0", np.random.default_rng(0).bytes(6400), zipfile.ZIP_STORED)
    with pytest.raises(InputError, match=r"views.pt: the tensors up to \d+ are .* bytes of views"):
        read(path)


def test_names_that_double_without_end_are_refused(tmp_path):
    """A dict that holds the next twice, thirty times over."""
    tree = {}
    for _ in range(30):
        tree = {"a": tree, "b": tree}
    with zipfile.ZipFile(tmp_path / "double.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(tree, 2))
    with pytest.raises(InputError, match="double.pt is damaged.*more names than bytes"):
        read(tmp_path / "double.pt")


def test_a_memo_of_more_entries_than_the_pickle_is_refused(tmp_path):
    (tmp_path / "memo.pt").write_bytes(b"\x80\x02}r\x00\x00\x00\x08.")  # 2 GiB of pointers
    with pytest.raises(InputError, match="memo.pt is damaged.*LONG_BINPUT 134217728"):
        read(tmp_path / "memo.pt")


def test_storages_that_hold_less_than_they_say_are_refused(tmp_path):
    path = tensor_pickle(tmp_path, 1 << 30, 0, (6,), (1,), legacy=True)
    with pytest.raises(InputError, match="hand.pt is damaged.*has 6 of 1073741824 numbers"):
        read(path)


def test_files_that_decompress_to_a_hundred_times_their_size_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        archive.writestr("a/data/0", bytes(1 << 20))
    options = {
        "filled.h5": {"shape": (1 << 20, 1 << 20), "dtype": "f4", "fillvalue": 1},
        "packed.h5": {"data": np.zeros(1 << 19), "compression": "gzip", "chunks": (1 << 19,)},
        "chunk.h5": {"data": np.ones(9), "chunks": (1 << 19,), "maxshape": (None,)},
    }
    options["chunk.h5"]["compression"] = "gzip"
    for name, given in options.items():
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("w", **given)
    for name in ("bomb.pt", *options):
        with pytest.raises(InputError, match=f"{name} says .* more than 100 times its own"):
            read(tmp_path / name)


def test_hdf5_without_data_or_compressed(tmp_path):
    kernel = np.random.default_rng(0).normal(size=(9, 9))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["nothing"] = h5py.Empty("f4")
        file.create_dataset("ones", (3,), "f4", fillvalue=1)
        file.create_dataset("kernel", data=kernel, compression="gzip")
    got = read(tmp_path / "x.h5")
    assert got.keys() == {"ones", "kernel"}
    np.testing.assert_array_equal(got["ones"], [1, 1, 1])
    np.testing.assert_array_equal(got["kernel"], kernel)


def test_safetensors_of_less_than_its_header_says_is_refused(tmp_path):
    for shape, end in (([1 << 20, 1 << 20], 1 << 42), ([1 << 20, 1 << 20], 24), ([6], 24)):
        about = {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
        about |= {"v": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}  # the same bytes
        header = json.dumps(about).encode()
        path = tmp_path / "x.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
        with pytest.raises(InputError, match="x.safetensors is damaged"):
            read(path)


def test_safetensors(tmp_path):
    arrays = {
        "params/a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "params/b": np.arange(4, dtype=ml_dtypes.bfloat16),
        "c": np.zeros((0, 2), np.float16),
        "d": np.array(3),
    }
    save_file(arrays, tmp_path / "x.bin")
    got = read(tmp_path / "x.bin")
    assert got.keys() == arrays.keys()
    for name, x in arrays.items():
        assert got[name].dtype == x.dtype
        np.testing.assert_array_equal(got[name], x)
        assert got[name].shape == x.shape


def test_hdf5(tmp_path, monkeypatch):
    kernel = np.arange(12, dtype=np.float32).reshape(3, 4)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["model_weights/conv/conv/kernel:0"] = kernel
        file["optimizer/step"] = np.int64(3)
        file["names"] = np.array([b"conv"])
        file.attrs["keras_version"] = "2.9"
    got = read(tmp_path / "x.h5")
    assert got.keys() == {"model_weights/conv/conv/kernel:0", "optimizer/step"}
    np.testing.assert_array_equal(got["model_weights/conv/conv/kernel:0"], kernel)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"x.h5 is an HDF5 file: `pip install h5py`"):
        read(tmp_path / "x.h5")


def test_nested_modules_get_dotted_names_and_a_prefix_of_some_stays(tmp_path):
    nested = {"encoder": {"w": np.ones(2), "lr": 0.1}, "epoch": 3, "b": np.zeros(1)}
    assert unwrap(nested).keys() == {"encoder.w", "b"}
    arrays = {"model.a": np.ones(2), "head": np.zeros(1)}
    save_file(arrays, tmp_path / "some")
    assert read(tmp_path / "some").keys() == arrays.keys()
    save_file({"module.model.a": np.ones(2), "module.model.b": np.ones(1)}, tmp_path / "all")
    assert read(tmp_path / "all").keys() == {"a", "b"}


def test_what_a_wrapping_module_keeps_beside_the_network_is_dropped(tmp_path):
    """As Lightning saves a module whose `model`, or compiled `net`, is the network."""
    beside = {"mean": np.ones((3, 1, 1)), "std": np.ones((3, 1, 1)), "loss_fn.weight": np.ones(4)}
    for prefix in ("model.", "net.", "net._orig_mod.", "_orig_mod.module."):
        save_file(
            {f"{prefix}a.weight": np.ones(2), f"{prefix}b": np.ones(1), **beside}, tmp_path / "x"
        )
        assert read(tmp_path / "x").keys() == {"a.weight", "b"}
    save_file({"encoder._orig_mod.a": np.ones(2), "mean": np.ones(3)}, tmp_path / "part")
    assert read(tmp_path / "part").keys() == {"encoder.a", "mean"}  # nothing wraps these


def save_shards(folder, index="model.safetensors.index.json"):
    files = {"model-00001-of-00002.safetensors": {"net.a": np.arange(3)}}
    files["model-00002-of-00002.safetensors"] = {"net.b.weight": np.ones((2, 1), np.float32)}
    for name, arrays in files.items():
        save_file(arrays, folder / name)
    names = {key: name for name, arrays in files.items() for key in arrays}
    if index:
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": names}))


@pytest.mark.parametrize("index", ["model.safetensors.index.json", None])
def test_a_checkpoint_in_several_files(tmp_path, index):
    """As transformers writes large ones: shards, and an index of them."""
    save_shards(tmp_path, index)
    (tmp_path / "config.json").write_text("{}")
    for path in (tmp_path, *tmp_path.glob("*.index.json")):
        got = read(path)
        assert got.keys() == {"a", "b.weight"}
        np.testing.assert_array_equal(got["a"], [0, 1, 2])
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"download (them )?all"):
        read(tmp_path)


def test_a_folder_of_one_file(tmp_path):
    save_file({"a": np.ones(2)}, tmp_path / "model.safetensors")
    assert read(tmp_path).keys() == {"a"}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "index.json has no weight_map"),
        ('{"weight_map": [1]}', "index.json has no weight_map"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "which is not beside it"),
        ('{"weight_map": {"a": "none.safetensors"}}', "names none.safetensors, which is not"),
    ],
)
def test_a_bad_index_is_refused(tmp_path, text, match):
    inner = tmp_path / "inner"
    inner.mkdir()
    save_file({"a": np.ones(2)}, tmp_path / "x.safetensors")
    (inner / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match=match):
        read(inner)


def test_shards_with_an_array_of_one_name_are_refused(tmp_path):
    for i in (1, 2):
        save_file({"a": np.ones(i)}, tmp_path / f"model-0000{i}-of-00002.safetensors")
    with pytest.raises(InputError, match="00002-of-00002.safetensors is no part of"):
        read(tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.3, 0.6, 0.95, 0.999])
def test_files_cut_off_say_so(keep, tmp_path):
    save_file({"a": np.ones((9, 9))}, tmp_path / "x.safetensors")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = np.ones((9, 9))
    files = [GOLDEN / f"torch_{name}_{kind}.pt" for name in NAMES for kind in KINDS]
    for path in [*files, tmp_path / "x.safetensors", tmp_path / "x.h5"]:
        whole = path.read_bytes()
        cut = tmp_path / "cut.pth"
        cut.write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(InputError, match=r"cut.pth .*(download|whole|again)"):
            read(cut)


def test_foreign_files_say_what_can_be_read(tmp_path):
    files = {
        "page.pth": b"<!DOCTYPE html><html><body>Not found</body></html>",
        "pointer.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "list.pt": pickle.dumps([1, 2], 2),
        "state.pkl": pickle.dumps(OrderedDict(a=1), 4),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    np.savez(tmp_path / "arrays.npz", a=np.ones(2))
    words = {"list.pt": "save its arrays", "state.pkl": "save its arrays", "arrays.npz": "zip file"}
    for name in (*files, "arrays.npz"):
        with pytest.raises(InputError, match=f"{name} .*{words.get(name, 'a torch .pt')}"):
            read(tmp_path / name)
    with pytest.raises(InputError, match=r"none.pt cannot be read: No such file"):
        read(tmp_path / "none.pt")
    with pytest.raises(InputError, match="is a folder without weights that are known"):
        read(tmp_path)
    save_file({}, tmp_path / "empty")
    with pytest.raises(InputError, match="empty holds no named arrays"):
        read(tmp_path / "empty")


def test_what_the_loss_keeps_is_no_weight(tmp_path):
    """HRNet's authors save the network with its loss, and so with the weights of the classes."""
    network = {"model.conv1.weight": np.ones(2), "model.bn1.bias": np.ones(3)}
    save_file({**network, "loss.criterion.weight": np.ones(4)}, tmp_path / "x")
    assert sorted(read(tmp_path / "x")) == ["bn1.bias", "conv1.weight"]


def test_newer_types_in_the_older_format_are_refused(tmp_path, monkeypatch):
    # torch 2.13 writes them with untyped storages, and cannot load them again
    path = GOLDEN / "torch_training_legacy.pt"
    data = path.read_bytes()
    assert data.count(b"FloatStorage") > 0
    other = data.replace(b"c" + b"torch\nFloatStorage\n", b"c" + b"torch\nUntypedStorage\n")
    assert other != data
    (tmp_path / "x.pt").write_bytes(other)
    with pytest.raises(InputError, match="x.pt has numbers of a newer type, .* as safetensors"):
        read(tmp_path / "x.pt")


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match="pipe.pth is no file: give a checkpoint file"):
        read(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match="is a folder without weights that are known"):
        read(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="has no weight_map"):
        read(tmp_path)
