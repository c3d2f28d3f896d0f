"""Eight emulated devices, a compilation cache, and nothing left over between runs."""

import os
import tempfile

import jax
import pytest
from absl import flags

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# Compiling is most of the suite's time: a second run in one place finds its programs again.
cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or tempfile.gettempdir() + "/segjax_test_xla"
jax.config.update("jax_compilation_cache_dir", cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # grain reads absl flags


@pytest.fixture(autouse=True)
def data_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Prepared data sets of a test never land in the user's folder."""
    folder = tmp_path_factory.getbasetemp() / "tensorflow_datasets"
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    return folder
