"""The script on tables, with fewer evaluations."""

import importlib.util
from pathlib import Path

FILE = Path(__file__).parents[2] / "examples" / "tables.py"


def test_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    spec = importlib.util.spec_from_file_location("tables_example", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(evaluations=8, seeds=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Table('nasbench201/cifar10', 15,625 rows, ")
    assert lines[1].startswith("The ResNet cell reaches 90.86 %, place 240; the best is |nor_conv_3x3~0|+")
    top = float(lines[2].partition("reach ")[2].partition(" %")[0])
    assert 87.3 < top < 91.7, "better than the median cell of the table"
    assert [line.split()[0] for line in lines[3:]] == ["random"] * 3 + ["evolution"] * 3
