import json
import os
import pty
import signal
import subprocess
import sys
import time
from textwrap import indent

import pytest

import nas
from nas.cli import main
from nas.report.live import Progress
from nas.store import Journal
from tests.nas.command_line import call

NAS = [sys.executable, "-m", "nas.cli"]


def test_run_prints_progress_and_a_ranked_table(capsys, campaign_file, tmp_path):
    code, out, err = call(capsys, "run", campaign_file(), "--dir", tmp_path / "run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "1 worker on serial." in lines
    assert any(line.startswith("[1/6] trial 0 done: valid_bpb ") and "left" in line for line in lines)
    head = next(line for line in lines if line.startswith("#"))
    for column in ("trial", "valid_bpb", "parameters", "FLOPs/token", "decode state", "origin"):
        assert column in head
    assert any(line.startswith("Gain over the average of 4 random architectures") for line in lines)
    assert any(line.startswith("test_bpb ") and "fresh seed" in line for line in lines)
    again = call(capsys, "run", campaign_file(), "--dir", tmp_path / "run")
    assert again[0] == 0
    assert head in again[1]


def test_run_as_json(capsys, campaign_file, tmp_path):
    code, out, err = call(capsys, "run", campaign_file(), "--dir", tmp_path / "run", "--json")
    outcome = json.loads(out)
    assert code == 0
    assert "[6/6]" in err
    assert outcome["state"] == "finished"
    assert outcome["done"] == len(outcome["ranking"]) == 6
    assert outcome["ranking"][0]["trial"] == outcome["best_trial"]
    assert outcome["gain"]["metric"] == "valid_bpb"


def test_a_full_disk_is_told_with_what_is_kept(capsys, campaign_file, tmp_path, monkeypatch):
    left = iter(range(6))

    def full(self, records, sync):
        if next(left, None) is None:
            raise OSError(28, "no space left", str(self.path))
        append(self, records, sync)

    append = Journal.append
    monkeypatch.setattr(Journal, "append", full)
    code, _, err = call(capsys, "run", campaign_file(), "--dir", tmp_path / "run")
    kept = len(nas.load(tmp_path / "run").trials)
    told = f"{kept} trials have ended and are kept; once that is mended, the same command goes on"
    assert (code, err.splitlines()[-1]) == (1, f"nas: {tmp_path}/run/events.jsonl: no space left. {told}")


def test_run_goes_on_and_says_so(capsys, campaign_file, tmp_path):
    call(capsys, "run", campaign_file(), "--dir", tmp_path / "run")
    code, out, _ = call(capsys, "run", campaign_file(**{"budget.trials": 7}), "--dir", tmp_path / "run")
    assert code == 0
    assert "Going on: 6 of 7 trials have ended before." in out
    assert "budget.trials is now 7, was 6." in out
    assert "[7/7]" in out
    assert "[6/" not in out
    assert "again on 0" not in out


def test_status_and_list(capsys, campaign_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "list") == (0, "No campaigns in runs; start one with: nas run FILE\n", "")
    call(capsys, "run", campaign_file())
    code, out, _ = call(capsys, "status", "runs/small")
    assert code == 0
    assert out.startswith("small: finished, 6 of 6 trials\n  6 done\n")
    best = nas.load("runs/small").best().proposal.genome
    assert f"Best genome  {best.text}\n\n{indent(best.outline, '  ')}\n\n" in out
    assert "test_bpb " in out
    assert "Gain over the average of 4 random architectures" in out
    facts = json.loads(call(capsys, "status", "runs/small", "--json")[1])
    assert (facts["state"], facts["ended"], facts["driver"]) == ("finished", 6, None)
    code, out, _ = call(capsys, "list")
    assert code == 0
    assert "small" in out
    assert "finished" in out
    assert "6/6" in out
    (tmp_path / "runs" / "small" / "config.json").write_text("{")
    (row,) = json.loads(call(capsys, "list", "--json")[1])
    assert row["state"] == "damaged"


def test_dry_run_starts_nothing(capsys, campaign_file, tmp_path):
    code, out, _ = call(capsys, "run", campaign_file(), "--dir", tmp_path / "run", "--dry-run")
    assert code == 0
    assert not (tmp_path / "run").exists()
    assert '"lr": 0.008' in out
    size = call(capsys, "space", "count", campaign_file())[1].strip()
    for word in (
        f"space     hybrid: {size} genomes, before the limits on cost",
        "\nio        tokens(vocab=256, width=",
        "trial     about",
        "memory    about",
        "campaign  about",
    ):
        assert word in out
    plan = json.loads(call(capsys, "run", campaign_file(), "--dry-run", "--json")[1])
    assert plan["config"]["budget"]["trials"] == 6
    assert plan["trial"]["seconds"] > 0
    assert plan["trial"]["bytes"] > 16 * plan["trial"]["parameters"]


@pytest.mark.parametrize(
    "engine, cpus, threads", [("ray", 64, 2), ("ray", 0.5, 1), ("ray", 1.5, 1), ("serial", 64, 1)]
)
def test_a_dry_run_computes_as_a_worker_does(capsys, campaign_file, monkeypatch, engine, cpus, threads):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    file = campaign_file(**{"workers.engine": f'"{engine}"', "workers.cpus": cpus})
    plan = json.loads(call(capsys, "run", file, "--dry-run", "--json")[1])
    assert plan["trial"]["threads"] == threads


def test_a_dry_run_ends_in_time_and_says_what_it_is_based_on(capsys, campaign_file, monkeypatch):
    assert "slowest of 4 draws, each on 1 thread)" in call(capsys, "run", campaign_file(), "--dry-run")[1]
    monkeypatch.setattr("nas.dry_run.SECONDS", 0.0)
    out = call(capsys, "run", campaign_file(), "--dry-run")[1]
    assert " (one draw, on 1 thread)" in out


def test_progress_knows_the_directions(capsys, campaign_file, tmp_path, monkeypatch):
    made = []

    class Seen(Progress):
        def __init__(self, config, out):
            made.append(config)
            super().__init__(config, out)

    monkeypatch.setattr("nas.report.live.Progress", Seen)
    call(capsys, "run", campaign_file(), "--dir", tmp_path / "run")
    assert [objective.direction for objective in made[0].objectives] == ["min"]


def test_a_campaign_without_a_finished_trial_fails(capsys, campaign_file, tmp_path):
    code, out, _ = call(capsys, "run", campaign_file(**{"budget.seconds": 1e-9}), "--dir", tmp_path / "run")
    assert code == 1
    assert "No trial finished." in out
    assert "6 failed: too slow" in out


def test_two_drivers_do_not_share_a_folder(capsys, campaign_file, tmp_path):
    file = campaign_file(**{"budget.trials": 500})
    driver = subprocess.Popen(
        [*NAS, "run", str(file), "--dir", str(tmp_path / "run")], stdout=subprocess.PIPE
    )
    try:
        wait_for(tmp_path / "run" / "events.jsonl")
        code, _, err = call(capsys, "run", file, "--dir", tmp_path / "run")
        assert code == 2
        assert str(driver.pid) in err
        assert json.loads(call(capsys, "status", tmp_path / "run", "--json")[1])["state"] == "running"
    finally:
        driver.kill()
        driver.wait()


@pytest.mark.parametrize(
    "stop, engine",
    [
        (signal.SIGINT, "ray"),
        (signal.SIGTERM, "serial"),
        pytest.param(signal.SIGINT, "serial", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "ray", marks=pytest.mark.slow),
    ],
)
def test_a_signal_stops_a_campaign_and_keeps_what_ended(campaign_file, tmp_path, stop, engine):
    file = campaign_file(**{"budget.trials": 5000, "workers.engine": f'"{engine}"'})
    driver = subprocess.Popen(
        [*NAS, "run", str(file), "--dir", str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path / "run" / "events.jsonl", 4000)
    driver.send_signal(stop)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert err == ""
    assert "Stopped." in out
    assert "the same command goes on" in out
    trials = nas.load(tmp_path / "run").trials
    assert f" {len(trials)} trials have ended and are kept" in out


def test_a_terminal_gets_a_live_view(campaign_file, tmp_path):
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    driver = subprocess.Popen(
        [*NAS, "run", str(campaign_file()), "--dir", str(tmp_path / "run")],
        stdout=child,
        stderr=child,
        env=environment,
    )
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the terminal is closed with the process
            break
        if not part:
            break
        shown += part
    assert driver.wait() == 0
    text = shown.decode()
    assert "trials/min" in text
    assert "best valid_bpb" in text
    assert "Gain over the average" in text


def wait_for(path, size=1, seconds=180):
    until = time.monotonic() + seconds
    while not (path.exists() and path.stat().st_size >= size):
        assert time.monotonic() < until, f"{path} did not grow to {size} bytes"
        time.sleep(0.02)


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from nas.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'ray', 'numpy', 'pyarrow', 'pydantic', 'rich', 'networkx')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()[-1] == "[]"


def test_status_needs_no_torch_and_no_ray(campaign_file, tmp_path):
    nas.run(campaign_file(), dir=tmp_path / "run")
    code = (
        "import sys\n"
        "from nas.cli import main\n"
        "main(['status', sys.argv[1]])\n"
        "print([name for name in ('torch', 'ray', 'networkx') if name in sys.modules])"
    )
    done = subprocess.check_output([sys.executable, "-c", code, str(tmp_path / "run")], text=True)
    assert done.splitlines()[-1] == "[]"


def test_a_terminal_without_box_drawing_gets_the_genome_in_one_line(campaign_file, tmp_path):
    nas.run(campaign_file(), dir=tmp_path / "run")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [*NAS, "status", str(tmp_path / "run")]
    shown = subprocess.run(command, env=environment, capture_output=True, check=True).stdout.decode("latin-1")
    text = nas.load(tmp_path / "run").best().proposal.genome.text
    assert f"\n\nBest genome  {text}\nvalid_bpb " in shown


def test_brackets_in_texts_are_texts(capsys, campaign_file, tmp_path):
    name = f"brackets{os.getpid()}"
    (tmp_path / f"{name}.py").write_text(
        "from nas.training.tasks.bytes import ByteText\n"
        "class Closes(ByteText):\n"
        "    def evaluate(self, model, split):\n"
        "        raise ValueError('cannot open [/data/x] as [red]tensor')\n"
    )
    file = campaign_file(**{"task.name": f'"{name}:Closes"', "budget.trials": 2})
    for arguments in (("run", file, "--dir", tmp_path / "run"), ("status", tmp_path / "run")):
        _, out, err = call(capsys, *arguments)
        assert err == ""
        assert "cannot open [/data/x] as [red]tensor" in out


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == "0.1.0"


def test_a_malformed_cluster_address_is_an_input_error(capsys, campaign_file, tmp_path):
    file = campaign_file(**{"workers.engine": '"ray"'})
    code, _, err = call(capsys, "run", file, "--dir", tmp_path / "run", "--address", "nonsense")
    assert code == 2
    assert "no Ray cluster answers at nonsense" in err
