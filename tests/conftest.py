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
