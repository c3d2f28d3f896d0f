"""The notebook runs from top to bottom."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "quickstart.ipynb"


# The kernel's libraries warn on their own account.
@pytest.mark.filterwarnings("ignore")
def test_quickstart(tmp_path, monkeypatch, data_dir):
    monkeypatch.setenv("SEGJAX_NOTEBOOK_STEPS", "2")
    monkeypatch.setenv("SEGJAX_NOTEBOOK_RUNS", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": NOTEBOOK.parent}}
    )
    client.execute()
    text = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "transposed   mIoU 0." in text
    assert "nearest      mIoU 0." in text
    assert (tmp_path / "nearest" / "panel.png").exists()
    assert os.listdir(tmp_path / "transposed" / "checkpoints")
