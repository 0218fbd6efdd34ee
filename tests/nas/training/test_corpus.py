"""How text is found and dealt out to splits."""

from itertools import chain
from pathlib import Path

import pytest

from nas.training.tasks.corpus import read_text, split_by_file
from nas.types import InvalidInput

SPLITS = {"train", "valid", "test"}


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def split(place: Path | str) -> dict[str, list[bytes]]:
    return {
        key: [file.content for file in part]
        for key, part in split_by_file(read_text(str(place)), "x").items()
    }


def numbered(count: int, size: int = 100) -> dict[str, bytes]:
    return {f"{i}.txt": f"{i:0{size}d}".encode() for i in range(count)}


def test_splits_share_no_file_and_hold_all(tmp_path):
    contents = numbered(200)
    splits = split(write(tmp_path, contents))
    assert set(splits) == SPLITS
    assert sorted(chain(*splits.values())) == sorted(contents.values())
    assert {key: len(part) for key, part in splits.items()} == {"train": 180, "valid": 10, "test": 10}


def test_splits_depend_on_contents_and_on_nothing_else(tmp_path):
    contents = numbered(50)
    here = write(tmp_path / "here", contents)
    renamed = write(tmp_path / "there", {f"deep/{50 - int(name[:-4])}.md": c for name, c in contents.items()})
    assert split(here) == split(renamed)


def test_equal_files_are_one(tmp_path):
    contents = numbered(40)
    copies = {f"copy/{name}": content for name, content in contents.items()}
    splits = split(write(tmp_path, {**contents, **copies}))
    assert sorted(chain(*splits.values())) == sorted(contents.values())


def test_every_split_has_a_file_however_uneven(tmp_path):
    splits = split(write(tmp_path, {"a": b"a", "b": b"b", "c": b"c" * 10_000}))
    assert {key: len(part) for key, part in splits.items()} == dict.fromkeys(SPLITS, 1)
    assert splits["train"] == [b"c" * 10_000]


def test_a_tiny_file_does_not_make_a_whole_split(tmp_path):
    big = {f"{i}": bytes([65 + i]) * 10_000 for i in range(10)}
    splits = split(write(tmp_path, {**big, "readme": b"x"}))
    assert all(sum(map(len, part)) >= 10_000 for part in splits.values())


def test_folder_glob_and_hidden_files(tmp_path):
    write(
        tmp_path, {"a.txt": b"a", "deep/b.txt": b"b", "deep/c.md": b"c", ".git/d.txt": b"d", "empty.txt": b""}
    )

    def names(text: str) -> list[str]:
        return [str(Path(file.name).relative_to(tmp_path)) for file in read_text(text)]

    assert names(str(tmp_path)) == ["a.txt", "deep/b.txt", "deep/c.md"]
    assert names(f"{tmp_path}/**/*.txt") == ["a.txt", "deep/b.txt"]
    assert names(f"{tmp_path}/a.txt") == ["a.txt"]


def test_stdlib_is_the_library_without_its_tests():
    names = [file.name for file in read_text("stdlib")]
    assert any(name.endswith("/json/decoder.py") for name in names)
    assert not any("site-packages" in name or "/test/" in name or "/idlelib/" in name for name in names)


@pytest.mark.parametrize(
    "contents, text, said",
    [
        ({}, "nowhere.txt", "'task.text' is '{}', but there is no such path"),
        ({}, "*.txt", "'task.text' is '{}', which holds no file"),
        ({"a.txt": b"", "b.txt": b""}, "*.txt", "every file is empty \\(2 found\\)"),
        ({"a.txt": b"text"}, "a.txt", "holds one file of different content.*cut it into three files or more"),
        ({"a": b"text", "b": b"other", "c": b"other"}, "*", "holds two files of different content"),
    ],
)
def test_errors_name_the_key_the_value_and_what_to_do(tmp_path, contents, text, said):
    place = f"{write(tmp_path, contents)}/{text}"
    with pytest.raises(InvalidInput, match=said.format(place.replace("*", r"\*"))):
        split_by_file(read_text(place), place)
