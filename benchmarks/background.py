"""What background scoring of other networks costs the network that is looked at, or trained.

    python -m benchmarks.background

In a cache of its own, with the default network on digits and four others of which nothing is scored. Alone, and then
while those four are scored: release of the slider until the measurement confirms, and every tenth percent of both
methods after a training of one epoch. Then one more network is opened, and must have all its scores first. Ends with 1
if that takes more than 90 s, or anything 1.5 times as long as alone. Needs Chromium; trains the network if it is
missing.
"""

import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.first_seconds import after_training
from benchmarks.recovery import made
from benchmarks.slider import NOTE_TIMES, releases, serve
from core import jobs
from core.config import TrainingConfig
from core.datasets import load_dataset
from core.runs import Run, layout, open_run
from core.scoring import fine_curve, unscored_of
from core.settings import CACHE, PROJECT

OTHERS = 4
MOST_SECONDS, MOST_RATIO = 90.0, 1.5


def unscored_copy(run: Run, root: Path, seed: int) -> Run:
    """The same network under another seed, without its scores."""
    config = dataclasses.replace(run.config(), seed=seed)
    copy = open_run(config.run_id, root)
    shutil.copytree(run.folder, copy.folder)
    (copy.folder / layout.CONFIG).write_text(json.dumps(config.to_dict()))
    for name in (layout.SWEEP, layout.PREDICTIONS):
        (copy.folder / name).unlink(missing_ok=True)
    return copy


def confirmation(page: Page, url: str, run: Run) -> float:
    """Milliseconds from a release of the slider until the network is measured, median."""
    # This page has nothing repaired by itself.
    page.goto(f"{url}/present?run={run.id}&method=weight&k=0.5")
    page.locator(".instrument[data-state=confirmed]").wait_for()
    page.wait_for_timeout(2_000)
    page.evaluate(NOTE_TIMES)
    final, _ = releases(page, ".instrument .slider")
    return final


def complete_after(page: Page, url: str, run: Run) -> float:
    """Seconds from opening a run until everything that the slider uses is scored."""
    began = time.perf_counter()
    page.goto(f"{url}/pruning?run={run.id}")
    while unscored_of(run, fine_curve(), with_predictions=True):
        page.wait_for_timeout(500)
    return time.perf_counter() - began


def main() -> None:
    chromium = shutil.which("chromium") or sys.exit("no chromium found")
    run = made(TrainingConfig(), fine_curve())
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder).resolve() / "cache"
        shutil.copytree(run.folder, root / run.id)
        os.environ[CACHE] = str(root)
        load_dataset("digits")
        *others, opened = [unscored_copy(run, root, 1_000 + number) for number in range(OTHERS + 1)]
        # The server that the work in the background belongs to is this process as well.
        server, url = serve(PROJECT / "app.py", PROJECT)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)

        def both(seed: int) -> tuple[float, float]:
            _, _, tenths = after_training(TrainingConfig(epochs=1, seed=seed), root)
            return confirmation(page, url, open_run(run.id, root)), tenths

        alone = both(2_000)
        for other in others:
            jobs.start_scoring(other, fine_curve())
        beside = both(2_001)
        left = sum(bool(unscored_of(other, fine_curve())) for other in others)
        seconds = complete_after(page, url, opened)
        browser.close()
        server.terminate()
        server.wait()
    ratios = [busy / idle for busy, idle in zip(beside, alone, strict=True)]
    print(f"release to confirmation: {alone[0]:.0f} ms alone, {beside[0]:.0f} ms beside, ratio {ratios[0]:.2f}")
    print(f"every tenth percent after a training: {alone[1]:.1f} s, {beside[1]:.1f} s, ratio {ratios[1]:.2f}")
    print(f"a run that is opened while {left} others are being scored has all its scores after {seconds:.0f} s")
    if not left:
        sys.exit("the others were scored too soon for this to say anything")
    sys.exit(int(seconds > MOST_SECONDS or max(ratios) >= MOST_RATIO))


if __name__ == "__main__":
    os.environ.setdefault("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")
    main()
