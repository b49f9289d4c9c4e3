"""Many people at once: browser sessions on one server, of which one trains; how long they wait, what memory it costs.

    python -m benchmarks.load [--sessions=25] [--minutes=3]

The default network on digits, in a cache of its own; each session is a page in one Chromium, all opened at once. Of 25
one trains the small digits, 14 move the slider, 5 look at the wall at a k between the stops, and 5 compare at k of
their own and download the CSV: again and again until the minutes are over, at least once. Afterwards every final number
that a page showed or a file held is worked out anew. Ends with 1 if a page had an error, or if one number was wrong.
Needs Chromium; trains the network if it is missing.
"""

import argparse
import asyncio
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.async_api import Browser, Error, Page, async_playwright, expect

from benchmarks.recovery import made
from benchmarks.slider import serve
from core.config import TrainingConfig
from core.datasets import load_dataset
from core.evaluation import Examination, examine
from core.pruning import METHODS, Ranks, Sparsity
from core.runs import Run, open_run
from core.scoring import fine_curve
from core.settings import CACHE, PROJECT
from core.sweep import STOPS, Criterion

PAUSE = (1.0, 4.0)
"""Seconds that a person looks at what is there."""
PATIENCE = 600.0
"""Seconds until what does not come counts as an error."""
SMALL = TrainingConfig(dataset="optdigits", epochs=10, hidden_units=(60, 40))
SHOWN = (
    """(root) => ["accuracy", "loss"].map((name) => root.querySelector(`[data-metric=${name}] output`).textContent)"""
)


class Load:
    """What all sessions share: where the server is, and what they note."""

    def __init__(self, run: Run, url: str, server: subprocess.Popen, minutes: float):
        self.run, self.url, self.server = run, url, server
        self.until = time.monotonic() + 60 * minutes
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.problems: list[str] = []
        self.shown: list[tuple[Criterion, str, str, str]] = []
        self.walls: list[tuple[Criterion, str, int]] = []
        self.files: list[pd.DataFrame] = []
        self.trained: list[str] = []
        self.resident: list[float] = []

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[kind].append(time.perf_counter() - began)
        self.resident.append(memory(self.server, "VmRSS"))

    def rounds(self) -> Iterator[None]:
        """One, and others until the time is over."""
        yield
        while time.monotonic() < self.until:
            yield

    def address(self, page: str, method: str, k: str) -> str:
        return f"{self.url}/{page}?run={self.run.id}&method={method}&k={k}"


async def slide(load: Load, page: Page, chance: random.Random) -> None:
    """Drag the slider to one stop after another, at 20 moves a second."""
    method = chance.choice(METHODS)
    at = 50
    with load.timed("open the Pruning page"):
        await page.goto(load.address("pruning", method, str(Sparsity(STOPS[at]))))
        await confirmed(page, str(Sparsity(STOPS[at])))
    for _ in load.rounds():
        await look(page, chance)
        goal = chance.choice([stop for stop in range(len(STOPS)) if stop != at])
        box = await page.get_by_label("Sparsity k", exact=True).bounding_box()
        left, width = box["x"] + 8, box["width"] - 16
        for step in range(11):
            place = (at + (goal - at) * step / 10) / (len(STOPS) - 1)
            await page.mouse.move(left + width * place, box["y"] + box["height"] / 2)
            if step == 0:
                await page.mouse.down()
            await page.wait_for_timeout(50)
        await page.mouse.up()
        at, key = goal, str(Sparsity(STOPS[goal]))
        with load.timed("slider: release to measured"):
            await confirmed(page, key)
        load.shown.append((Criterion(method), key, *await page.locator(".instrument").evaluate(SHOWN)))


async def watch_wall(load: Load, page: Page, chance: random.Random) -> None:
    """Type sparsities that no score is kept of, so that the server predicts every image."""
    method = chance.choice(METHODS)
    with load.timed("open the Pruning page"):
        await page.goto(load.address("pruning", method, "0.5"))
        await confirmed(page, "0.5")
        await page.locator('.wall[data-key="0.5"][data-state=ready]').wait_for()
    for _ in load.rounds():
        await look(page, chance)
        k = chance.randrange(500, 998) / 1000 + 0.0005
        typed = page.get_by_label("Sparsity k in percent")
        await typed.fill(f"{100 * k:.2f}")
        await typed.press("Enter")
        with load.timed("wall: a k between the stops to drawn"):
            await page.locator(f'.wall[data-key="{Sparsity(k)}"][data-state=ready]').wait_for()
        right = await page.locator(".wall").get_attribute("data-right")
        load.walls.append((Criterion(method), str(Sparsity(k)), int(right)))


async def compare(load: Load, page: Page, chance: random.Random) -> None:
    """Open comparisons at k of one's own, and take the CSV."""
    for _ in load.rounds():
        ks = sorted(chance.sample(range(1000), 3))
        with load.timed("comparison: three new k to drawn"):
            await page.goto(f"{load.url}/comparison?runs={load.run.id}&k_vals={','.join(str(k / 1000) for k in ks)}")
            button = page.get_by_role("button", name="CSV", exact=True)
            await button.wait_for()
            await page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        await look(page, chance)
        # While a page is drawn anew, elements of before and after stand there together for a moment.
        await expect(button).to_have_count(1)
        with load.timed("download of the CSV"):
            async with page.expect_download() as started:
                await button.click()
            file = pd.read_csv(await (await started.value).path())
        load.files.append(file)
        if sorted(set(file.k)) != [k / 1000 for k in ks]:
            load.problems.append(f"a CSV of {ks} in thousandths holds {sorted(set(file.k))}")


async def train(load: Load, page: Page, chance: random.Random) -> None:
    await page.goto(f"{load.url}/training?dataset=optdigits&epochs={SMALL.epochs}&hidden_units=60,40")
    await look(page, chance)
    with load.timed("training of the small digits, 10 epochs"):
        await page.get_by_role("button", name="Train", exact=True).click()
        await page.get_by_role("button", name="Prune it").wait_for()
    load.trained.append(await page.get_by_test_id("stMetricValue").first.inner_text())


async def confirmed(page: Page, key: str) -> None:
    """Wait until Python has pruned and scored this k."""
    await page.locator(f'.instrument[data-key="{key}"][data-state=confirmed]').wait_for()


async def look(page: Page, chance: random.Random) -> None:
    await page.wait_for_timeout(1000 * chance.uniform(*PAUSE))


async def session(load: Load, browser: Browser, number: int) -> None:
    """One person, in a browser context of their own; what fails is noted, and the others go on."""
    doing = train if number == 0 else (slide, watch_wall, compare, slide, slide)[(number - 1) % 5]
    context = await browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(1000 * PATIENCE)
    page = await context.new_page()
    page.on("pageerror", lambda error: load.problems.append(f"{doing.__name__} {number}: {error}"))
    try:
        await doing(load, page, random.Random(number))
    except (Error, AssertionError) as error:
        load.problems.append(f"{doing.__name__} {number}: {error}")
    for box in await page.locator("[data-testid=stAlertContentError], [data-testid=stException]").all_inner_texts():
        load.problems.append(f"{doing.__name__} {number} shows: {box}")
    await context.close()


async def visit(load: Load, sessions: int) -> None:
    chromium = shutil.which("chromium") or sys.exit("no chromium found")
    expect.set_options(timeout=1000 * PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        await asyncio.gather(*(session(load, browser, number) for number in range(sessions)))
        await browser.close()


def memory(process: subprocess.Popen, name: str) -> float:
    """Of a process in MB, by its name in the kernel's list: VmRSS (resident now) or VmHWM (the most so far). Linux."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def check(load: Load) -> tuple[int, list[str]]:
    """Work out every number anew: how many there were, and what is wrong with them."""
    kernels, activations = load.run.kernels(), load.run.activations()
    test = load_dataset("digits", load.run.root).test

    @cache
    def ranked(criterion: Criterion) -> Ranks:
        return criterion.rank(kernels, activations)

    @cache
    def really(criterion: Criterion, key: str) -> Examination:
        pruned = ranked(criterion).prune(kernels, Sparsity.parse(key, len(kernels) - 1))
        return examine(pruned, test.images, test.labels)

    wrong, numbers = [], 0
    for criterion, key, *shown in load.shown:
        score = really(criterion, key).score
        numbers += 2
        if shown != [f"{score.accuracy:.2%}", f"{score.loss:.4f}"]:
            wrong.append(f"{criterion} at {key} is {score}, under the slider {shown}")
    for criterion, key, right in load.walls:
        expected = int(np.sum(really(criterion, key).predictions == test.labels))
        numbers += 1
        if right != expected:
            wrong.append(f"{criterion} at {key} reads {expected} right, on the wall {right}")
    for row in (row for file in load.files for row in file.itertuples()):
        score = really(Criterion(row.method, row.ranking, row.scope, row.ranking_seed), str(Sparsity(row.k))).score
        numbers += 2
        if row.accuracy != score.accuracy or not np.isclose(row.loss, score.loss):
            wrong.append(f"{row} is {score}")
    if load.trained:
        small, images = open_run(SMALL.run_id, load.run.root), load_dataset("optdigits", load.run.root).test
        expected = f"{examine(small.kernels(), images.images, images.labels).score.accuracy:.2%}"
        numbers += 1
        if load.trained != [expected]:
            wrong.append(f"the trained network reaches {expected}, on the page {load.trained}")
    return numbers, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=25)
    parser.add_argument("--minutes", type=float, default=3.0)
    chosen = parser.parse_args()
    run = made(TrainingConfig(), fine_curve())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cache"
        shutil.copytree(run.folder, root / run.id)
        os.environ[CACHE] = str(root)
        load_dataset("digits")
        server, url = serve(PROJECT / "app.py", PROJECT)
        load = Load(open_run(run.id, root), url, server, chosen.minutes)
        busy = os.getloadavg()[0]
        began, before = time.perf_counter(), memory(server, "VmRSS")
        try:
            asyncio.run(visit(load, chosen.sessions))
            seconds, peak = time.perf_counter() - began, memory(server, "VmHWM")
        finally:
            server.terminate()
            server.wait()
        numbers, wrong = check(load)
    print(f"{chosen.sessions} sessions in {seconds:.0f} s on {os.cpu_count()} cores, load before {busy:.1f}")
    for kind, taken in sorted(load.seconds.items()):
        percentiles = ", ".join(f"p{part} {np.percentile(taken, part):.2f}" for part in (50, 90, 99))
        print(f"{kind}: {percentiles} s ({len(taken)} times)")
    first, second = np.array_split(load.resident, 2)
    print(
        f"server memory: {before:.0f} MB before, at most {peak:.0f} MB; after actions of the first half at most "
        f"{max(first):.0f} MB, of the second {max(second):.0f} MB, median {statistics.median(second):.0f} MB"
    )
    print(f"{numbers} final numbers worked out anew, {len(wrong)} wrong; {len(load.problems)} errors on pages")
    if wrong or load.problems:
        sys.exit("\n".join([*wrong, *load.problems]))


if __name__ == "__main__":
    os.environ.setdefault("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")
    main()
