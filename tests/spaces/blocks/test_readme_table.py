from tests.spaces.blocks.table import README, written


def test_the_table_of_blocks_is_what_they_are() -> None:
    text = README.read_text(encoding="utf-8")
    assert written(text) == text, "run: python -m tests.spaces.blocks.table"


def test_the_lines_of_the_readme_run() -> None:
    ran: dict[str, object] = {}
    for code in README.read_text(encoding="utf-8").split("```python\n")[1:]:
        exec(code.split("```")[0], ran)
    assert ran["y"].shape == (2, 100, 64)
    assert ran["ahead"].shape == (2, 96, 7)
