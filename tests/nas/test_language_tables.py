"""Files of published studies of language models, each a table by its description in `nas/tables/formats`."""

import json

import numpy as np
import pyarrow.parquet
import pytest
from scipy.stats import kendalltau

import predictors
import spaces
from benchmarks import InvalidTable, Table, check_comparable, stack
from benchmarks.testing import table_checks
from nas.cli import main
from nas.compare import Contestant, simulate
from nas.tables import FORMATS, read_file
from nas.tables.files import keys_of
from nas.types import InvalidInput
from spaces.catalog.language_models import FIELDS, LanguageModels

FILES = {
    "chinchilla": ("chinchilla_reconstructed", 245),
    "gemstones": ("gemstones_llm", 62),
    "isoflop": ("isoflop_resolving_discrepancies", 1745),
    "misfitting": ("misfitting_llm_runs", 240),
    "nasbench_nlp": ("nasbench_nlp_wikitext2", 277),
    "olmo_ladder": ("olmo_ladder_losses", 25),
    "openlm_grid": ("openlm_arch_grid", 435),
    "openlm_testbed": ("openlm_scaling_testbed", 104),
    "routed": ("routed_lm_curves", 219),
    "steplaw": ("steplaw_dense", 1911),
    "xlstm": ("xlstm_vs_llama_runs", 428),
}
"""The file of each format, and how many different runs it tells of."""


@pytest.fixture(scope="module")
def table(shared_data, tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            file, _ = FILES[name]
            path = tmp_path_factory.mktemp(name) / "table.arrow"
            made[name] = read_file(name, path, shared_data(f"{file}.parquet"))
        return made[name]

    return get


def test_every_format_is_tested():
    assert set(FORMATS) - set(FILES) == {"nasbench201_epochs"}, "which is no study of language models"


@pytest.mark.parametrize("name", FILES)
def test_a_study_is_a_table(name, table):
    made = table(name)
    assert len(made) == FILES[name][1]
    assert made.description.paper
    assert made.description.source
    checks = [check for check in table_checks if name != "olmo_ladder" or "curves" not in check.__name__]
    for check in checks:  # curves of 11 metrics at 1,243 amounts take seconds
        check(made)
    losses = [metric for metric in made.metrics.values() if "loss" in metric.name]
    assert all(metric.unit.startswith("nats per ") and metric.data for metric in losses)


@pytest.mark.parametrize("name", FILES)
def test_a_study_is_searched(name, table):
    trials = [*simulate(Contestant.parse("random").make(table(name), 0), table(name), 8, workers=2)]
    told = [trial.metrics.get(table(name).objective.name, np.nan) for trial in trials]
    np.testing.assert_array_equal(told, [table(name).query(trial.proposal.genome) for trial in trials])
    assert sum(trial.status == "done" for trial in trials) >= 6


def test_gemstones_are_curves_over_tokens(table):
    made = table("gemstones")
    stable = made.filter("recipe == main_stable_lr")
    assert len(stable) == 22
    run = {"width": 1024, "layers": 28, "recipe": "main_stable_lr"}
    curve = made.curve(run)
    assert len(curve.amounts) == 50
    assert curve.values[0] == 4.0399007797
    assert made.query(run) == curve.values[-1]
    assert made.query(run, "parameters") == 543482880
    assert made.seconds(run) == 23850 * made.query(run, "step_time")
    assert made.seconds(run, int(curve.amounts[24])) == pytest.approx(made.seconds(run) / 2, rel=1e-3)


def test_step_law_holds(table):
    """The paper's law, at the nearest point of the grid, is within 0.32 % of the best of each of 17 cells."""
    made = table("steplaw")
    size, loss = made.column("parameters_without_embedding"), made.column()
    values = [made.space.values(made.genome(row)) for row in range(len(made))]
    rate, batch, tokens = (
        np.array([each[key] for each in values]) for key in ("learning_rate", "batch", "tokens")
    )
    cells = {(n, d) for n, d in zip(size.tolist(), tokens.tolist(), strict=True)}
    assert len(cells) == 17
    for n, d in cells:
        cell = (size == n) & (tokens == d)
        law_rate, law_batch = 1.79 * n**-0.713 * d**0.307, 0.58 * d**0.571
        off = np.log(rate[cell] / law_rate) ** 2 + np.log(batch[cell] / law_batch) ** 2
        assert loss[cell][off.argmin()] / loss[cell].min() < 1.0032


def test_runs_of_one_configuration_are_seeds(table):
    made = table("xlstm")
    assert made.objective.seeds == 2
    again = np.flatnonzero(~np.isnan(made.column("valid_loss", seed=1)))
    assert len(again) == 1
    genome = made.genome(again[0])
    assert len(made.curve(genome, "train_loss", seed=0).amounts) > 30
    assert made.query(genome) == np.mean([made.query(genome, seed=seed) for seed in (0, 1)])
    longest = made.filter("context == 16384")
    both = {family: made.filter("context == 16384", f"family == {family}") for family in ("llama", "mlstm")}
    assert len(longest) == sum(map(len, both.values()))


def test_olmo_improves_with_size_and_tokens(table):
    made = table("olmo_ladder")
    sizes = [768, 1024, 1536, 2048, 3328]
    loss = [
        [made.column()[made.filter(f"width == {w}", f"token_multiple == {m}")[0]] for m in (0.5, 1, 2, 5, 10)]
        for w in sizes
    ]
    assert (np.diff(loss, axis=0) < 0).all()
    assert (np.diff(loss, axis=1) < 0).all()
    assert round(loss[0][0], 3) == 3.747
    assert round(loss[-1][-1], 3) == 2.664


def test_routed_models(table):
    made = table("routed")
    best = made.best()[0].genome
    assert made.space.values(best)["experts"] == 512
    assert round(made.query(best, "parameters") / 1e9) == 207


def test_recurrent_cells(table, shared_data, capsys):
    """Published cells are looked up as they are published, sizes are those of the space, and writings of one cell agree."""
    made = table("nasbench_nlp")
    rows = pyarrow.parquet.read_table(shared_data("nasbench_nlp_wikitext2.parquet")).to_pylist()
    for row in rows:
        genome = made.space.parse(row["recipe_json"])
        assert made.space.cost(genome).parameters == row["n_params"]
    done = [row for row in rows if row["status"] == "OK"]
    best = made.best()[0].genome
    assert best.digest == made.space.architecture("lstm").digest
    assert [made.query(each["recipe_json"], "parameters") for each in done[:9]] == [
        each["n_params"] for each in done[:9]
    ]
    curve = made.curve(best)
    assert curve.amounts.tolist() == [*range(1, 51)]
    assert (
        curve.values.tolist()
        == next(row for row in rows if row["recipe_id"] == "1000001")["valid_loss_curve"]
    )
    assert np.exp(made.query(best, "test_loss")) == pytest.approx(91.5, abs=1)
    digests = {made.genome(row).digest for row in range(len(made))}
    assert len(digests) == 260, "17 rows are other writings of a cell, or hold operators that do not count"
    assert made.network_count == 260
    failed = np.flatnonzero(np.isnan(made.column()))
    assert [len(made.curve(int(row)).amounts) for row in failed] == [22, 0], (
        "losses of two cells became no number"
    )
    assert made.lengths[failed].tolist() == [23, 1]
    assert main(["bench", "info", str(made.path), "--networks"]) == 0
    out = capsys.readouterr().out
    assert "networks   260 different ones\n" in out
    assert "fidelities 50 from 1 to 50 epochs, along training\n" in out


def test_predictors_learn_from_recurrent_cells(table):
    made = table("nasbench_nlp")
    measured = np.flatnonzero(~np.isnan(made.column()))
    genomes = [made.genome(row) for row in np.random.default_rng(0).permutation(measured)]
    fitted = predictors.load("gaussian", space=made.space).fit(genomes[:150], made.query_many(genomes[:150]))
    assert kendalltau(fitted.predict(genomes[150:]).mean, made.query_many(genomes[150:])).statistic > 0.2


def test_predictors_learn_from_it(table):
    made = table("openlm_grid")
    genomes = [made.genome(row) for row in range(0, len(made), 4)]
    fitted = predictors.load("trees", space=made.space).fit(genomes[::2], made.query_many(genomes[::2]))
    told = np.corrcoef(fitted.predict(genomes[1::2]).mean, made.query_many(genomes[1::2]))[0, 1]
    assert told > 0.8


def test_losses_of_different_studies_are_not_mixed(table):
    gemstones, steplaw, xlstm = table("gemstones"), table("steplaw"), table("xlstm")
    with pytest.raises(InvalidTable, match="one is of the split train, the other valid"):
        stack([gemstones, xlstm])
    small, large = table("openlm_grid"), table("openlm_testbed")
    with pytest.raises(InvalidTable, match=r"does not compare .*: one was measured on the validation tokens"):
        check_comparable(small, large)
    with pytest.raises(
        InvalidTable, match="one was measured on the training tokens of Gemstones, the other "
    ):
        stack([gemstones, steplaw])


def test_the_data_of_each_study_is_told_apart():
    seen = {}
    for name, path in FORMATS.items():
        for metric in keys_of(path)["metrics"].values():
            if "data" in metric:
                assert seen.setdefault(metric["data"], name) == name


def test_what_compares_is_stacked(table):
    made = table("openlm_grid")
    rows = stack([made, made])
    assert rows.num_rows == 2 * len(made)
    assert rows["value"].to_pylist()[: len(made)] == made.column().tolist()
    assert rows["text"][3].as_py() == made.genome(3).text
    with pytest.raises(InvalidTable, match="no tables to stack"):
        stack([])


def test_the_command(shared_data, tmp_path, capsys):
    file, out = str(shared_data("openlm_arch_grid.parquet")), tmp_path / "grid.arrow"
    assert main(["bench", "add", file, "--as", "openlm_grid", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"language/openlm-grid: 435 rows, valid_loss\nKept in {out}\n"
    assert Table(out).objective.name == "valid_loss"


def test_formats_are_listed(capsys):
    assert main(["bench", "list", "--formats", "--json"]) == 0
    listed = [row["format"] for row in json.loads(capsys.readouterr().out)]
    assert listed == [*FORMATS, "hpob:PART", "nats-topology:PART", "nats-size:PART"]
    assert main(["bench", "list", "--formats"]) == 0
    assert "mcleish7/gemstone-scaling-laws" in capsys.readouterr().out


def test_an_unknown_format(capsys, tmp_path):
    assert main(["bench", "add", "x.parquet", "--as", "gemstone", "--out", str(tmp_path / "x.arrow")]) == 2
    assert (
        "unknown format 'gemstone', did you mean 'gemstones'? allowed: chinchilla, "
        in capsys.readouterr().err
    )
    with pytest.raises(InvalidInput, match=r"gemstones: 'file' is 'none\.parquet', which is not in "):
        read_file("gemstones", tmp_path / "x.arrow", tmp_path / "none.parquet")


def test_the_space_of_language_models():
    space = LanguageModels(values={"layers": [8, 2], "width": [64, 32], "family": ["llama", "S-Base"]})
    assert list(space.fields) == ["family", "width", "layers"], "in the order of the schema"
    genome = space.genome(family="S-Base", width=32, layers=8)
    assert genome.text == 'language_model(family="S-Base", width=32, layers=8)'
    assert space.parse(genome.text) == genome
    assert space.fields["layers"].values == (2, 8)
    assert not space.fields["family"].ordered
    with pytest.raises(spaces.InvalidSpace, match="knows no field 'widht', did you mean 'width'"):
        LanguageModels(values={"widht": [1]})
    with pytest.raises(spaces.InvalidSpace, match="reads tokens"):
        LanguageModels(spaces.vector(3))
    assert all(FIELDS.values())


def test_queries_along_training_and_of_what_is_like_it(table, capsys):
    made = table("gemstones")
    text = "language_model(width=1024, layers=28, recipe=main_stable_lr)"
    path, rank = str(made.path), made.rank(text)
    assert main(["bench", "query", path, text, "--fidelity", "2000683008"]) == 0
    assert capsys.readouterr().out.startswith("train_loss after 2000683008 tokens 4.0399 nats per token\n")
    assert main(["bench", "query", path, text, "--curve"]) == 0
    heads, first, *rest = capsys.readouterr().out.splitlines()
    assert heads.split("  ")[-1] == "train_loss, nats per token"
    assert first.split() == ["2000683008", "4.0399"]
    assert len(rest) == 49
    assert main(["bench", "query", path, text, "--curve", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rank"], told["unit"], len(told["curve"])) == (rank, "tokens", 50)
    assert main(["bench", "query", path, text, "--nearest", "2", "--json"]) == 0
    same, other = json.loads(capsys.readouterr().out)
    assert (same["rank"], same["distance"]) == (rank, 0)
    assert other["distance"] == 1
    assert main(["bench", "query", path, text, "--nearest", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split("  ") == [
        "distance",
        "train_loss, nats per token",
        "genome",
    ]
    assert main(["bench", "query", path, text, "--fidelity", "5"]) == 2
    assert "was not measured after 5 tokens; nearest: 2000683008, of 61 from" in capsys.readouterr().err


def test_a_run_that_was_not_trained_has_near_ones(table):
    made = table("openlm_grid")
    values = made.space.values(made.genome(0))
    other = next(v for v in made.space.fields["layers"].values if v != values["layers"])
    with pytest.raises(InvalidTable, match=r"has no row of the genome .*; nearest: row "):
        made.query({**values, "layers": other})
