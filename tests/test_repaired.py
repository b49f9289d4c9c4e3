"""Repaired networks in the cache: made by the command, asked for by the pages, kept, and never taken for others."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, repair, runs
from core.datasets import load_dataset
from core.errors import ConfigError, RunError
from core.evaluation import evaluate, predict
from core.pruning import METHODS, Sparsity, prune
from core.requests import ask
from core.runs import layout
from core.scoring import fine_curve, score_run, steps_of, unscored_of
from core.settings import PROJECT
from core.state import Repaired, state_of
from core.sweep import REPAIR_STOPS, STOPS, Criterion
from pages.shared import networks
from tests.browsing import confirmed, metric, needs_chromium, serving, visit
from tests.commands import run_command
from tests.test_pages import instrument


def repaired(method="weight", support="admm", scope="layer"):
    return Criterion(method, support, scope, recovery="repair")


@pytest.fixture(scope="module")
def served(trained_run, tmp_path_factory):
    """A cache with a run that was repaired at three k by each method, by the command line."""
    root = tmp_path_factory.mktemp("repaired") / "cache"
    shutil.copytree(trained_run.root, root)
    for method in METHODS:
        arguments = [f"--run={trained_run.id}", f"--method={method}", "--sparsity=0.5,0.8,0.9", f"--output_dir={root}"]
        done = run_command("repair", *arguments)
        assert done.returncode == 0, done.stderr
        assert "as_pruned" in done.stdout
    return root


@pytest.fixture
def run(served, trained_run, cache):
    shutil.rmtree(cache)
    shutil.copytree(served, cache)
    return runs.open_run(trained_run.id, cache)


@pytest.mark.parametrize("method", METHODS)
def test_a_score_is_that_of_the_network_that_is_kept(run, method):
    test = load_dataset("optdigits", run.root).test
    rows = repaired(method).select(run.sweep())
    assert rows.sparsity.tolist() == [0.5, 0.8, 0.9]
    for row in rows.itertuples():
        small, pruned = (
            run.network(repaired(method).key(row.sparsity)).matrices,
            prune(run.kernels(), method, row.sparsity),
        )
        counts = [[np.count_nonzero(kernel) for kernel in kernels[:-1]] for kernels in (small, pruned)]
        if method == "unit":
            counts = [[int(kernel.any(axis=0).sum()) for kernel in kernels[:-1]] for kernels in (small, pruned)]
        assert counts[0] == counts[1]
        score = evaluate(small, test.images, test.labels)
        assert (score.accuracy, score.loss) == pytest.approx((row.accuracy, row.loss))
        kept = state_of(run, repaired(method)).predictions()[f"{row.sparsity:g}"]
        assert np.array_equal(kept, predict(small, test.images))
        assert (row.images, row.epochs) == (1437 - 200, 0)
        assert row.seconds > 0


@pytest.mark.parametrize("method", METHODS)
def test_what_is_recovered_begins_at_the_dense_network(run, method):
    test = load_dataset("optdigits", run.root).test
    state, pruned = state_of(run, repaired(method)), state_of(run, Criterion(method))
    found = state.predictions()
    assert found.keys() == {"0", "0.5", "0.8", "0.9"}
    assert [*state.at_stops()] == ["0", "0.5", "0.8", "0.9"]
    dense = predict(run.kernels(), test.images)
    assert np.array_equal(found["0"], dense)
    assert [*pruned.at_stops()] == [str(Sparsity(k)) for k in STOPS]
    # The networks themselves, and what tells each from an earlier one of the same name.
    for k in (0, 0.0, 0.9):
        assert np.array_equal(predict(state.network(k), test.images), found[str(Sparsity(k))])
    assert state.network(0.7) is None
    assert state.version(0.7) is None
    assert state.version(0) == pruned.version(0.9) == run.version()
    before = state.version(0.9)
    assert before.startswith(run.version())
    assert before != run.version()
    assert before == state.version(0.9)
    assert state.scores().sparsity.tolist() == [0.5, 0.8, 0.9]
    assert state.stops == REPAIR_STOPS
    assert pruned.stops == STOPS
    criterion = Criterion(method, "activation")
    small = state_of(run, criterion).network([0.5, 0.9]).matrices
    expected = criterion.rank(run.kernels(), run.activations()).prune(run.kernels(), [0.5, 0.9])
    assert all(np.array_equal(one, other) for one, other in zip(small, expected, strict=True))
    (run.folder / layout.PREDICTIONS).unlink()
    assert state.predictions() == {}


def test_what_is_repaired_is_never_taken_for_what_is_pruned(run, trained_run):
    for method in METHODS:
        for criterion in (Criterion(method), Criterion(method, scope="global"), Criterion(method, "activation")):
            before, after = criterion.select(trained_run.sweep()), criterion.select(run.sweep())
            assert before.accuracy.tolist() == after.accuracy.tolist()
            assert (after.recovery == "none").all()
    keys = set(run.predictions()) - set(trained_run.predictions())
    assert keys == {repaired(method).key(k) for method in METHODS for k in (0.5, 0.8, 0.9)}


def test_winning_back_wins(run):
    """The point of it: with a tenth of the units, or of the weights, left."""
    for method in METHODS:
        won = repaired(method).select(run.sweep()).set_index("sparsity").accuracy
        pruned = Criterion(method).select(run.sweep()).set_index("sparsity").accuracy
        assert won[0.8] > pruned[0.8] + 0.1


def test_a_row_says_what_it_is_on_validation_images_and_against_the_dense_network(run):
    data = load_dataset("optdigits", run.root)
    row = repaired().select(run.sweep()).iloc[-1]
    small, test = run.network(repaired().key(0.9)), data.test
    assert row.val_accuracy == evaluate(small, data.train.images[:200], data.train.labels[:200]).accuracy
    predictions = predict(small, test.images)
    assert row.agreement == np.mean(predictions == predict(run.kernels(), test.images))
    by_class = [np.mean(predictions[test.labels == label] == label) for label in range(10)]
    assert row.worst_class == min(by_class)


def test_the_command_says_what_came_out_and_what_it_lacks(run, monkeypatch, capsys):
    """Where all is repaired already it only says so."""

    def said(**values) -> str:
        chosen = {"run": run.id, "asked": False, "method": "unit", "support": "admm", "scope": "layer"}
        chosen |= {"sparsity": "0.9,0.5"} | values
        monkeypatch.setattr(
            repair, "flags", SimpleNamespace(FLAGS=SimpleNamespace(**chosen, flag_values_dict=lambda: chosen))
        )
        monkeypatch.setattr(repair.command, "chosen_path", {"output_dir": run.root}.get)
        repair.main([])
        return capsys.readouterr().out

    (names, *lines), rows = said().splitlines(), repaired("unit").select(run.sweep()).set_index("sparsity")
    pruned = Criterion("unit").select(run.sweep()).set_index("sparsity").accuracy
    columns = ["accuracy", "loss", "val_accuracy"]
    assert names.split() == ["sparsity", "as_pruned", "repaired", "loss", "val_accuracy", "images", "seconds"]
    assert [line.split()[:6] for line in lines] == [
        [f"{value:.4f}" for value in (k, pruned[k], *rows.loc[k, columns])] + ["1237"] for k in (0.5, 0.9)
    ]
    # Beside a repaired network stands the pruned one, even where it was never scored.
    rest = run.sweep().query("recovery != 'none' or sparsity != 0.5")
    rest.to_csv(run.folder / layout.SWEEP, index=False)
    assert said().splitlines()[1].split()[1] == f"{pruned[0.5]:.4f}"
    with pytest.raises(ConfigError, match="--run: expected the id of a complete run"):
        said(run=None)
    with pytest.raises(RunError, match=f"There is no complete run none in {run.root} to repair. Train it first."):
        said(run="none")
    ask(run, [(repaired("unit"), [0.85])])
    assert said(asked=True) == ""
    assert repaired("unit").select(run.sweep()).sparsity.tolist() == [0.5, 0.8, 0.85, 0.9]


@pytest.mark.parametrize("criterion", [Criterion("unit"), Criterion("weight", "random", "layer", 2), repaired("unit")])
def test_a_key_is_read_back(criterion):
    assert Criterion.parse(criterion.key(0.995)) == (criterion, 0.995)


def test_the_scores_of_pruning_are_complete_without_any_repair(trained_run):
    assert not unscored_of(trained_run, fine_curve(), with_predictions=True)


def test_a_damaged_network_is_said(run):
    path = layout.repaired(run.folder, repaired().key(0.9))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(runs.run.RunError, match=r"is damaged\. Delete that file"):
        run.network(repaired().key(0.9))
    assert run.network(repaired().key(0.123)) is None
    # And so it is made again.
    path.unlink()
    assert unscored_of(run, [(repaired(), [0.5, 0.9])]) == [(repaired(), [0.9])]


def test_scores_of_a_replaced_run_are_not_kept(run):
    steps = score_run(run, [(repaired(), [0.6, 0.7])])
    next(steps)
    state = run.folder / layout.STATE
    state.write_text(state.read_text().replace(run.version(), "2030-01-01T00:00:00.000+00:00"))
    with pytest.raises(runs.run.RunError, match="deleted or replaced"):
        list(steps)
    assert not layout.repaired(run.folder, repaired().key(0.7)).exists()


def opened(monkeypatch, folds=(), page="pruning", **query):
    """The Pruning page, or another one, and what it asked to be repaired."""
    asked = []
    monkeypatch.setattr(jobs, "start_scoring", lambda run, wanted: asked.extend(steps_of(wanted)))
    app = AppTest.from_file(PROJECT / "pages" / f"{page}.py", default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    for name in folds:
        app.session_state[name] = True
    app.run()
    assert not app.exception, app.exception
    assert not app.error
    return app, [step for step in asked if step[0].recovery == "repair"]


@pytest.mark.parametrize("method", METHODS)
def test_the_slider_is_told_of_the_networks_that_are_kept(run, monkeypatch, method):
    app, _ = opened(monkeypatch, run=run.id, state="repaired", method=method, k="0.8")
    told = instrument(app)
    row = repaired(method).select(run.sweep()).set_index("sparsity").loc[0.8]
    assert told["stops"] == [str(Sparsity(k)) for k in REPAIR_STOPS]
    assert set(told["known"]) == set(told["kept"]) == {"0.5", "0.8", "0.9"}
    assert told["measured"] == {"key": "0.8", "accuracy": row.accuracy, "loss": row.loss}
    pruned = Criterion(method).select(run.sweep()).set_index("sparsity").accuracy
    assert told["beside"] == {"name": "as pruned", "accuracy": {str(Sparsity(k)): value for k, value in pruned.items()}}
    small = run.network(repaired(method).key(0.8)).matrices
    for layer, kernel in enumerate(small[:-1]):
        values = np.abs(kernel[kernel != 0]) if method == "weight" else np.linalg.norm(kernel[:, kernel.any(0)], axis=0)
        kept = told["kept"]["0.8"]
        edges = np.array(told["edges"][layer])
        assert kept["zeroed"][layer] == int((kernel == 0).sum())
        assert kept["bars"][layer] == np.histogram(np.minimum(values, edges[-1]), edges)[0].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_the_page_asks_for_what_it_lacks(run, monkeypatch, method):
    _, asked = opened(monkeypatch, run=run.id, state="repaired", method=method, k="0.77")
    assert asked == [(repaired(method), 0.77), *steps_of(Repaired.wanted(repaired(method)))]


def test_a_projector_says_the_state_and_asks_for_what_it_lacks(run, monkeypatch):
    app, asked = opened(monkeypatch, page="present", run=run.id, state="repaired", k="0.77")
    assert asked == [(repaired(), 0.77), *steps_of(Repaired.wanted(repaired()))]
    assert "weight pruning, repaired" in app.markdown[0].value


def test_as_pruned_asks_for_the_numbers_beside_it_only_once(run, monkeypatch):
    _, asked = opened(monkeypatch, run=run.id, k="0.77")
    assert asked == [(repaired(), 0.9), *steps_of(Repaired.wanted(repaired()))]
    _, asked = opened(monkeypatch, run=run.id, k="0.8")
    assert asked == []


@pytest.mark.parametrize(("state", "k"), [("repaired", "0.9"), ("repaired", "0.77"), ("trained on", "0")])
def test_every_fold_opens_of_a_repaired_or_fine_tuned_network(run, monkeypatch, state, k):
    opened(monkeypatch, folds=("classes", "looks_at", "layers"), run=run.id, state=state, k=k, image="3")


def test_a_network_that_was_not_there_yet_is_shown_once_it_is(run):
    network = networks.load_run(run)
    assert networks.network_at(network, repaired(), 0.97) is None
    list(score_run(run, [(repaired(), [0.97])]))
    assert networks.network_at(network, repaired(), 0.97) is not None
    assert 0.97 in networks.kept_layers(network, repaired())


def test_one_damaged_network_leaves_the_others(run, monkeypatch):
    layout.repaired(run.folder, repaired().key(0.9)).write_bytes(b"nothing")
    app, _ = opened(monkeypatch, run=run.id, state="repaired", k="0.8")
    assert set(instrument(app)["kept"]) == {"0.5", "0.8"}


@needs_chromium
def test_the_switch_shows_the_repaired_network(served, trained_run, page, tmp_path):
    with serving(tmp_path / "cache", served) as server:
        row = repaired("unit").select(runs.open_run(trained_run.id, served).sweep()).set_index("sparsity").loc[0.8]
        visit(page, f"{server.url}/pruning?run={trained_run.id}&method=unit&k=0.8")
        confirmed(page, "0.8")
        page.locator(".instrument .beside").get_by_text(f"repaired: {row.accuracy:.2%}").wait_for()
        page.get_by_role("radio", name="repaired").click()
        page.locator(".instrument .status").get_by_text("Repaired in").wait_for()
        assert metric(page, "accuracy").locator("output").inner_text() == f"{row.accuracy:.2%}"
        right = round(row.accuracy * 360)
        page.locator(f'.wall[data-key="0.8"][data-right="{right}"]').wait_for()
        # What is not known yet is made: the slider waits for it, and its number is that of the network that is kept.
        page.get_by_label("Sparsity k in percent").fill("83")
        page.get_by_label("Sparsity k in percent").press("Enter")
        confirmed(page, "0.83")
        made = runs.open_run(trained_run.id, tmp_path / "cache")
        test = load_dataset("optdigits", made.root).test
        score = evaluate(made.network(repaired("unit").key(0.83)), test.images, test.labels)
        assert metric(page, "accuracy").locator("output").inner_text() == f"{score.accuracy:.2%}"
        # Without a server it would complain.
        page.goto("about:blank")
