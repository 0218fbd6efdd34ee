import os
from pathlib import Path

import pytest
import torch

# Tensors here are tiny, and pytest-xdist already keeps every core busy.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory):
    """A folder with a few files of made-up text."""
    folder = tmp_path_factory.mktemp("text")
    for i in range(12):
        words = " ".join(f"word{i * j % 17}" for j in range(200))
        (folder / f"{i}.txt").write_text(f"file {i}\n{words}\n")
    return folder


@pytest.fixture(scope="session")
def shared_data():
    """Finds a file of published measurements, which are too large for the repository; skips where it is missing."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NAS_SHARED_DATA", beside))

    def find(name):
        path = folder / name
        if not path.is_file():
            pytest.skip(f"needs {name} in {folder}, or in the folder that NAS_SHARED_DATA names")
        return path

    return find


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Tables are made once for all tests, and nothing is left in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
