"""A training that is cancelled or killed goes on by a button or the command, and ends with the very same network."""

import dataclasses
import shutil

import numpy as np
import psutil
import pytest
from playwright.sync_api import expect

from core import runs
from core.config import RecoveryConfig
from tests.browsing import confirmed, fill, needs_chromium, serving, visit
from tests.commands import run_command, start
from tests.conftest import SMALL

pytestmark = needs_chromium

LONG = dataclasses.replace(SMALL, epochs=8, hidden_units=(20, 12), batch_size=10)
LONG_ON = RecoveryConfig(SMALL, SMALL.run_id, method="unit", sparsity=0.75, epochs=8)
SETTINGS = "dataset=optdigits&epochs=8&hidden_units=20,12&batch_size=10"


@pytest.fixture(scope="module")
def whole(trained_cache, tmp_path_factory):
    """A cache with what comes of both trainings where nothing interrupts them."""
    root = shutil.copytree(trained_cache, tmp_path_factory.mktemp("whole") / "cache")
    for command, config in (("train", LONG), ("finetune", LONG_ON)):
        done = run_command(command, *config.to_flags(), f"--output_dir={root}", "--k_vals=0")
        assert done.returncode == 0, done.stderr
    return root


def stopped_after(page, run, epoch):
    """The process that trains a run, held as soon as it has kept that epoch."""
    for _ in range(6000):
        state = run.training()
        if state and not state.phase.has_ended and run.kept_epochs() >= epoch:
            process = psutil.Process(state.pid)
            process.suspend()
            return process
        page.wait_for_timeout(10)
    raise AssertionError(f"{run.id} has not reached epoch {epoch}: {run.log()}")


def cancel(page, run, epoch):
    """Press Cancel when that epoch is there."""
    process = stopped_after(page, run, epoch)
    button = page.get_by_role("button", name="Cancel", exact=True)
    expect(button).to_be_visible()
    button.click()
    for _ in range(6000):
        if (run.part / "cancel").exists() or not run.is_training():
            break
        page.wait_for_timeout(10)
    process.resume()


def kill(page, run, epoch):
    process = stopped_after(page, run, epoch)
    process.kill()
    psutil.wait_procs([process])


def goes_on(page, run):
    """Press the button that goes on, and hold that it does."""
    kept = run.kept_epochs()
    assert kept
    page.get_by_role("button", name="Go on", exact=True).click()
    expect(page.get_by_text(f"this one goes on from the end of epoch {kept}")).to_be_visible()


def same(run, whole):
    expected = runs.open_run(run.id, whole)
    for kernel, other in zip(run.kernels(), expected.kernels(), strict=True):
        np.testing.assert_array_equal(kernel, other)
    assert run.history().epoch.tolist() == expected.history().epoch.tolist()


def test_a_training_goes_on_in_app_and_command(server, page, whole, tmp_path):
    run = runs.open_run(LONG.run_id, server.cache)
    visit(page, f"{server.url}/training?{SETTINGS}")
    page.get_by_role("button", name="Train", exact=True).click()
    kill(page, run, 1)
    expect(page.get_by_text("Training was interrupted")).to_be_visible()
    goes_on(page, run)
    cancel(page, run, 2)
    expect(page.get_by_text("Training was cancelled")).to_be_visible()

    (tmp_path / "said").mkdir()
    command = start("core.train", [*LONG.to_flags(), f"--output_dir={server.cache}"], {}, tmp_path / "said")
    kill(page, run, 4)
    command.join()
    assert "goes on from the end of epoch" in (tmp_path / "said" / "stdout").read_text()
    page.reload()
    goes_on(page, run)
    expect(page.get_by_role("link", name="Prune it")).to_be_visible()
    same(run, whole)


def test_fine_tuning_goes_on_after_cancel(trained_cache, page, whole, tmp_path):
    run = runs.open_run(LONG_ON.run_id, tmp_path / "cache")
    with serving(tmp_path / "cache", trained_cache) as server:
        visit(page, f"{server.url}/pruning?run={SMALL.run_id}&state=trained+on&method=unit")
        fill(page, "Sparsity k in percent", "75")
        fill(page, "Epochs", "8")
        page.get_by_role("button", name="Fine-tune", exact=True).click()
        cancel(page, run, 2)
        expect(page.get_by_text("was cancelled")).to_be_visible()
        goes_on(page, run)
        confirmed(page, "0.75")
        same(run, whole)


def test_a_killed_grid_resumes_its_trainings(server, page, whole):
    run = runs.open_run(LONG.run_id, server.cache)
    visit(page, f"{server.url}/grid?{SETTINGS}&grid_seed=0")
    page.get_by_role("button", name="Queue 1 training", exact=True).click()
    trainer = stopped_after(page, run, 2)
    trainer.parent().kill()
    trainer.kill()
    expect(page.get_by_text("Nobody is working off the queue")).to_be_visible()
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_text("1 trained already")).to_be_visible()
    same(run, whole)
