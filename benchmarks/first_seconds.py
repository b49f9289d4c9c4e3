"""How long until something can be dragged: on a first visit, and after a training.

    python -m benchmarks.first_seconds [dataset]

The first visit is of a new cache, by a browser that has never seen the app; beside it an empty Streamlit app. After a
training of the dataset (one epoch, the default network; MNIST digits by default), from the end of the fit until the run
stands in the cache, with which scores, and until every tenth percent of both methods is there. Needs Chromium.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.slider import EMPTY_APP, serve
from core.config import TrainingConfig
from core.runs import open_run
from core.scoring import experiment, unscored
from core.settings import CACHE, PROJECT
from core.sweep import STOPS

ROUNDS = 5


def opening(browser: Browser, url: str, ready: str) -> float:
    """Seconds from asking for a page until something is on it, in a browser that knows nothing."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.locator(ready).first.wait_for()
    seconds = time.perf_counter() - began
    context.close()
    return seconds


def first_visits() -> None:
    chromium = shutil.which("chromium") or sys.exit("no chromium found")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        script = Path(folder) / "empty.py"
        script.write_text(EMPTY_APP)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        empty, empty_url = serve(script, Path(folder))
        baseline, ours = [], []
        for index in range(ROUNDS):
            # A new cache and a new server each time: somebody's very first visit.
            os.environ[CACHE] = str(Path(folder) / f"cache-{index}")
            server, url = serve(PROJECT / "app.py", PROJECT)
            ours.append(opening(browser, url, ".instrument[data-state=confirmed]"))
            server.terminate()
            server.wait()
            baseline.append(opening(browser, empty_url, "[data-testid=stSlider]"))
        empty.terminate()
        empty.wait()
        browser.close()
    first, empty = statistics.median(ours), statistics.median(baseline)
    print(
        f"first visit until a true accuracy stands under the slider: median {first:.2f} s, slowest {max(ours):.2f} s; "
        f"ratio to the slider of an empty app {first / empty:.2f}"
    )


def after_training(config: TrainingConfig, root: Path) -> tuple[float, int, float]:
    """Train as the app does: seconds from the end of the fit until the network can be opened, with how many scores, and
    seconds until every tenth percent of both methods is scored."""
    run = open_run(config.run_id, root)
    command = ["-m", "core.train", *config.to_flags(), "--fine_curve", "--leave_curve", f"--output_dir={root}"]
    process = subprocess.Popen(
        [sys.executable, *command], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in process.stdout:
        if re.match(f"Epoch {config.epochs}/", line):
            break
    fitted = time.perf_counter()
    tenths = experiment(STOPS[::10])
    while not run.is_complete():
        time.sleep(0.02)
    stands = time.perf_counter() - fitted
    known = len(run.sweep())
    while unscored(run.sweep(), tenths):
        time.sleep(0.02)
    seconds = time.perf_counter() - fitted
    process.terminate()
    process.wait()
    return stands, known, seconds


def main() -> None:
    first_visits()
    dataset = sys.argv[1] if len(sys.argv) > 1 else "digits"
    with tempfile.TemporaryDirectory() as folder:
        stands, known, seconds = after_training(TrainingConfig(dataset=dataset, epochs=1), Path(folder))
    print(
        f"after a training of {dataset}: {stands:.1f} s until the network can be opened, with {known} scores; "
        f"{seconds:.1f} s until every tenth percent of both methods is scored"
    )


if __name__ == "__main__":
    main()
