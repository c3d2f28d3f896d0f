import errno
import functools
import io
import os
import pickle
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.file_adapters import ArrayRecordFileAdapter

from segjax.data import source
from segjax.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 65536, (5, 7, 9, 3)).astype(np.uint16)
LABELS = RNG.integers(0, 4, (5, 7, 9)).astype(np.uint8)


class ColourDeepSet(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    examples = range(5)

    def _info(self):
        features = source.features(channels=3, dtype=np.uint16, instances=True)
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in self.examples:
            yield (
                i,
                {
                    "image": source.png(IMAGES[i]),
                    "label": source.png(LABELS[i]),
                    "instances": source.png(LABELS[i].astype(np.uint16) * 300),
                    "name": f"é{i}",
                },
            )


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    return source.prepare(lambda: ColourDeepSet(data_dir=folder))


def test_png_is_read_alike_by_another_decoder():
    rgb = np.uint8([[[250, 20, 3], [0, 1, 2], [9, 8, 7]]])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(source.png(rgb)))), rgb)
    grey = np.uint16([[1, 60000, 3]])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(source.png(grey)))), grey)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(source.png(grey[..., None])))), grey
    )


def test_png_refuses_what_it_cannot_hold():
    with pytest.raises(TypeError, match="float64"):
        source.png(np.zeros((2, 2)))


def test_records_are_what_was_written_in_order(builder):
    records = source.records(builder, "train")
    assert len(records) == 5
    for i, record in enumerate(records):
        assert set(record) == {"image", "label", "name", "instances"}
        assert record["name"] == f"é{i}"
        np.testing.assert_array_equal(record["image"], IMAGES[i])
        np.testing.assert_array_equal(record["label"], LABELS[i])
        np.testing.assert_array_equal(record["instances"], LABELS[i].astype(np.uint16) * 300)
        assert record["image"].dtype == np.uint16
        assert record["label"].dtype == np.uint8
        assert record["instances"].dtype == np.uint16
        assert record["image"].flags.writeable


def test_records_index_like_a_sequence(builder):
    records = source.records(builder, "train[1:4]")
    assert [r["name"] for r in records] == ["é1", "é2", "é3"]
    assert records[-1]["name"] == "é3"
    assert records[np.int64(0)]["name"] == "é1"
    with pytest.raises(IndexError):
        records[3]
    with pytest.raises(IndexError):
        records[-4]


def test_records_travel_closed(builder):
    records = source.records(builder, "train")
    fresh = len(pickle.dumps(records))
    assert records[2]["name"] == "é2"  # now it is open
    sent = pickle.dumps(records)
    assert len(sent) == fresh
    assert pickle.loads(sent)[2]["name"] == "é2"


def test_records_without_a_name_get_one(builder):
    records = source.records(builder, "train", nameless)
    assert records[3]["name"] == records[-2]["name"] == "train_000003"


def nameless(record):
    return {"label": record["label"]}


@pytest.mark.parametrize("split", ["valid", "train[5:]", "trian[:50%]"])
def test_unknown_or_empty_split(builder, split):
    with pytest.raises(InputError, match="train"):
        source.records(builder, split)


def test_prepare_is_silent_on_stdout_and_reports_on_stderr(tmp_path, capfd):
    source.prepare(lambda: ColourDeepSet(data_dir=str(tmp_path)))
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"Preparing colour_deep_set/1.0.0 (once) in {tmp_path}/colour_deep_set/1.0.0"
    ]
    source.prepare(lambda: ColourDeepSet(data_dir=str(tmp_path)))
    assert capfd.readouterr() == ("", "")


def test_interrupted_preparation_is_done_anew(tmp_path, monkeypatch):
    def interrupted():
        yield 0
        raise KeyboardInterrupt

    monkeypatch.setattr(ColourDeepSet, "examples", interrupted())
    with pytest.raises(KeyboardInterrupt):
        source.prepare(lambda: ColourDeepSet(data_dir=str(tmp_path)))
    monkeypatch.undo()
    builder = source.prepare(lambda: ColourDeepSet(data_dir=str(tmp_path)))
    assert len(source.records(builder, "train")) == 5


def test_two_processes_preparing_at_once_share_the_first_result(tmp_path, monkeypatch):
    def slow():  # the other process prepares the same set while this one is at work
        yield from range(2)
        monkeypatch.undo()
        source.prepare(lambda: ColourDeepSet(data_dir=str(tmp_path)))
        yield from range(2, 4)

    monkeypatch.setattr(ColourDeepSet, "examples", slow())
    builder = source.prepare(lambda: ColourDeepSet(data_dir=str(tmp_path)))
    assert len(source.records(builder, "train")) == 5
    assert [p.name for p in (tmp_path / "colour_deep_set").iterdir()] == ["1.0.0"]


def test_other_disk_errors_are_not_swallowed(tmp_path, monkeypatch):
    def stale():
        yield 0
        raise OSError("Stale file handle")

    monkeypatch.setattr(ColourDeepSet, "examples", stale())
    with pytest.raises(OSError, match="Stale"):
        source.prepare(lambda: ColourDeepSet(data_dir=str(tmp_path)))


def full_disk(tmp_path, why="is full"):
    where = tmp_path / "colour_deep_set" / "1.0.0"
    with pytest.raises(InputError, match=f"prepared in {where}: the disk .* {why}") as error:
        source.prepare(lambda: ColourDeepSet(data_dir=str(tmp_path)))
    text = str(error.value)
    assert "data_dir or $TFDS_DATA_DIR" in text
    assert text.endswith(".")
    assert text.count(". ") == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_full_disk_stops_with_a_sentence(tmp_path):
    """The system's own limit of a file's size stops the writers as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        full_disk(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    builder = source.prepare(lambda: ColourDeepSet(data_dir=str(tmp_path)))
    assert len(source.records(builder, "train")) == 5


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to finalize: write() failed: No space left on device; at byte 9"),
        OSError("Not enough disk space. Needed: Unknown size"),  # as tfds foresees it
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    ],
)
def test_every_way_to_say_that_the_disk_is_full(tmp_path, monkeypatch, error):
    def full():
        yield 0
        raise error

    monkeypatch.setattr(ColourDeepSet, "examples", full())
    full_disk(tmp_path)


def test_a_disk_that_fails_for_another_reason(tmp_path, monkeypatch):
    def write(*_):
        raise RuntimeError("handle is closed")

    monkeypatch.setattr(ArrayRecordFileAdapter, "write_examples", write)
    full_disk(tmp_path, why="cannot be written .*handle is closed")


def test_a_disk_full_at_the_last_note(tmp_path, monkeypatch):
    """Without the note of where it came from, a set could pass for that of another folder."""
    manual, write = tmp_path / "manual", Path.write_text
    manual.mkdir()
    (manual / "file").touch()

    def full(path, *args):
        if path.name != "manual_dir.txt":
            return write(path, *args)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(Path()), "write_text", full)
    make = functools.partial(ColourDeepSet, data_dir=str(tmp_path / "tfds"))
    with pytest.raises(InputError, match="is full"):
        source.prepare(make, manual_dir=manual)
    assert not make().data_path.exists()


def test_manual_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="nowhere is empty or no folder"):
        source.prepare(
            lambda: ColourDeepSet(data_dir=str(tmp_path)), manual_dir=tmp_path / "nowhere"
        )


def test_no_tensorflow(builder):
    assert source.records(builder, "train")[0]
    assert "tensorflow" not in sys.modules


def test_the_data_folder_is_looked_up_when_it_is_used(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "/somewhere")
    assert source.data_folder(None) == "/somewhere"
    assert source.data_folder("/else") == "/else"
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert source.data_folder(None).endswith("/tensorflow_datasets")


def test_a_data_folder_whose_name_is_not_utf8(tmp_path):
    with pytest.raises(InputError, match=r"data_dir .*\\udcff is a name that is not UTF-8"):
        source.data_folder(str(tmp_path / os.fsdecode(b"\xff")))
