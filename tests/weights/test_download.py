"""Downloads: checked, kept, and never left half."""

import hashlib

import pytest

from segjax.errors import InputError
from segjax.weights.download import fetch


@pytest.fixture
def remote(tmp_path):
    content = b"weights" * 1000
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "remote").mkdir()
    path = tmp_path / "remote" / f"net-{digest[:8]}.pth"
    path.write_bytes(content)
    return path


def test_the_name_holds_the_checksum_and_the_copy_is_kept(remote, tmp_path):
    copy = fetch(remote.as_uri(), str(tmp_path / "cache"))
    assert copy.read_bytes() == remote.read_bytes()
    address = remote.as_uri()
    remote.unlink()
    assert fetch(address, str(tmp_path / "cache")) == copy  # not asked for again


def test_a_fragment_holds_the_checksum(remote, tmp_path):
    plain = remote.rename(remote.with_name("plain.pth"))
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()
    copy = fetch(f"{plain.as_uri()}#sha256={digest}", str(tmp_path / "cache"))
    assert copy.name == "plain.pth"
    with pytest.raises(InputError, match="has no checksum: add #sha256="):
        fetch(plain.as_uri(), str(tmp_path / "cache"))


def test_what_differs_or_does_not_come_leaves_nothing(remote, tmp_path):
    cache = tmp_path / "cache"
    remote.write_bytes(b"something else")
    with pytest.raises(InputError, match="the SHA-256 of what came is"):
        fetch(remote.as_uri(), str(cache))
    address = remote.as_uri()
    remote.unlink()
    with pytest.raises(InputError, match="cannot be downloaded"):
        fetch(address, str(cache))
    assert not list(cache.iterdir())


def test_a_damaged_copy_is_fetched_again(remote, tmp_path):
    copy = fetch(remote.as_uri(), str(tmp_path / "cache"))
    copy.write_bytes(b"damaged")
    assert fetch(remote.as_uri(), str(tmp_path / "cache")).read_bytes() == remote.read_bytes()
