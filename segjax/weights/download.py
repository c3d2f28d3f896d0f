"""Fetch a checkpoint that was asked for by its address, and check that it arrived whole."""

import hashlib
import os
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from rich.progress import wrap_file

from segjax.errors import InputError

FOLDER = "~/.cache/segjax/weights"


def fetch(address: str, folder: str = FOLDER) -> Path:
    """The local copy of `https://.../NAME`, downloaded once.

    Its SHA-256 must begin as the address says: NAME-0676ba61.pth, as torchvision names its files,
    or a fragment, `https://.../NAME#sha256=0676ba61...`. Raises InputError for an address without
    one, for a file that differs, and where the download fails; then no file is left.
    """
    parts = urlsplit(address)
    name = Path(parts.path).name
    digest = re.search(r"sha256=([0-9a-f]{8,64})$", parts.fragment) or re.search(
        r"-([0-9a-f]{8,64})\.\w+$", name
    )
    if not digest:
        raise InputError(
            f"{address} has no checksum: add #sha256= and at least 8 digits of the file's SHA-256, "
            "or download it yourself and give the path."
        )
    target = Path(folder).expanduser() / name
    if target.exists() and sha256(target).startswith(digest[1]):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{name}.{os.getpid()}.partial")
    try:
        with urllib.request.urlopen(address) as remote, partial.open("wb") as local:
            size = int(remote.headers.get("Content-Length", 0))
            stream = wrap_file(cast(BinaryIO, remote), size, description=name, transient=True)
            with stream as shown:
                shutil.copyfileobj(shown, local)
        found = sha256(partial)
        if not found.startswith(digest[1]):
            raise InputError(f"{address}: the SHA-256 of what came is {found}, not {digest[1]}...")
        partial.replace(target)
    except (urllib.error.URLError, OSError) as error:
        raise InputError(
            f"{address} cannot be downloaded ({error}): download it elsewhere and give its path."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
