"""The live slider in headless Chromium: what is drawn while dragging, how soon it is final, what memory it costs.

    python -m benchmarks.slider [run id]

Beside it, in turn, an empty Streamlit app with one slider and one static figure. Needs Chromium, and a complete run; by
default the default network on digits.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, TimeoutError, sync_playwright

from core import runs
from core.config import TrainingConfig
from core.pruning import METHODS
from core.sweep import STOPS

MOVES = 1_000
ROUNDS = 12
EMPTY_APP = """
import plotly.graph_objects as go
import streamlit as st
st.slider("k", 0, 100)
st.plotly_chart(go.Figure(go.Scatter(x=[0, 1], y=[0, 1])), key="figure")
"""
NOTE_TIMES = """() => {
  window.times = { released: null, final: null, changed: null };
  addEventListener("pointerup", () => {
    times.released = times.changed = performance.now();
    times.final = null;
  }, true);
  const instrument = document.querySelector(".instrument"), app = document.querySelector("[data-testid=stApp]");
  window.drawn = new Set();
  window.measured = new Set();
  window.walls = new Set();
  const wall = document.querySelector(".wall");
  if (wall) walls.add(wall.dataset.key);
  if (wall) new MutationObserver(() => { if (wall.dataset.state === "ready") walls.add(wall.dataset.key); })
    .observe(wall, { attributes: true });
  const note = () => {
    if (instrument) {
      drawn.add(instrument.dataset.key);
      measured.add(instrument.dataset.measured);
    }
    const done = instrument ? instrument.dataset.state === "confirmed" : app.dataset.testScriptState === "notRunning";
    if (times.released !== null && done) times.final ??= performance.now();
  };
  note();
  new MutationObserver(note).observe(instrument ?? app, { attributes: true });
  const numbers = () => instrument && [...instrument.querySelectorAll("output")].map((part) => part.textContent).join();
  let earlier = numbers();
  if (instrument) new MutationObserver(() => {
    if (numbers() !== earlier) times.changed = performance.now();
    earlier = numbers();
  }).observe(instrument.querySelector(".metrics"), { childList: true, subtree: true, characterData: true });
}"""


def serve(script: Path, folder: Path) -> tuple[subprocess.Popen, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}", "--server.headless=true"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
        except OSError:
            if process.poll() is not None:
                sys.exit(f"the server for {script} ended")
        else:
            return process, url


def drag(page: Page, slider: str, start: float, end: float, steps: int, pause_ms: int) -> None:
    """Press, move and release the pointer along a slider; positions are fractions of its length."""
    box = page.locator(slider).first.bounding_box()
    y, left, width = box["y"] + box["height"] / 2, box["x"] + 8, box["width"] - 16
    page.mouse.move(left + width * start, y)
    page.mouse.down()
    for step in range(steps + 1):
        page.mouse.move(left + width * (start + (end - start) * step / steps), y)
        page.wait_for_timeout(pause_ms)
    page.mouse.up()


def final_after(page: Page) -> float | None:
    """Milliseconds from the release of the pointer to the final state; None if the change of state was too short to
    be seen, as happens now and then with the empty app."""
    try:
        page.wait_for_function("window.times.final !== null", timeout=5_000)
    except TimeoutError:
        return None
    return page.evaluate("window.times.final - window.times.released")


def memory(process: subprocess.Popen) -> float:
    """Resident memory of a server in MB; Linux only."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def releases(page: Page, slider: str) -> tuple[float, float]:
    """Median milliseconds from the release to the final state, and to the last change of a number shown."""
    finals, changes = [], []
    for index in range(ROUNDS):
        drag(page, slider, 0.2, 0.3 + 0.05 * index, 5, 30)
        final = final_after(page)
        if final is not None:
            finals.append(final)
            changes.append(page.evaluate("window.times.changed - window.times.released"))
    return statistics.median(finals), statistics.median(changes)


def main() -> None:
    project = Path(__file__).parent.parent
    run_id = sys.argv[1] if len(sys.argv) > 1 else TrainingConfig().run_id
    if not runs.open_run(run_id).is_complete():
        sys.exit(f"There is no complete run {run_id}. Train it first: python -m core.train")
    chromium = shutil.which("chromium") or sys.exit("no chromium found")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        script = Path(folder) / "empty.py"
        script.write_text(EMPTY_APP)
        empty, empty_url = serve(script, Path(folder))
        server, url = serve(project / "app.py", project)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(empty_url)
        page.get_by_role("slider").wait_for()
        page.wait_for_timeout(2_000)
        page.evaluate(NOTE_TIMES)
        baseline, _ = releases(page, "[data-testid=stSlider] [role=group] > div")
        print(f"empty app: release to final, median {baseline:.0f} ms")

        for method in METHODS:
            page.goto(f"{url}/pruning?run={run_id}&method={method}&k=0")
            page.locator(".instrument[data-state=confirmed]").wait_for()
            page.wait_for_timeout(2_000)
            page.evaluate(NOTE_TIMES)
            drag(page, ".instrument .slider", 0, 1, len(STOPS) - 1, 50)
            final_after(page)
            drawn, walls = page.evaluate("drawn.size"), page.evaluate("walls.size")
            print(
                f"{method}: {drawn} of {len(STOPS)} stops drawn in a drag at 20 a second, {walls} of them by the wall"
            )
            page.evaluate("measured.clear()")
            began = time.perf_counter()
            drag(page, ".instrument .slider", 0.5, 1, len(STOPS) // 2, 50)
            rate = page.evaluate("measured.size") / (time.perf_counter() - began)
            print(f"{method}: {rate:.1f} sparsities a second pruned and scored while dragging from 50 to 100 %")
            final, changed = releases(page, ".instrument .slider")
            print(
                f"{method}: release to the last change of a number, median {changed:.0f} ms; to the end of the "
                f"measurement that confirms it, median {final:.0f} ms, ratio to empty {final / baseline:.2f}"
            )

        heap = "performance.memory.usedJSHeapSize / 1e6"
        before = memory(server), page.evaluate(heap)
        for move in range(MOVES):
            page.locator(".instrument .slider").press("ArrowRight" if move // 50 % 2 else "ArrowLeft")
        page.locator(".instrument[data-state=confirmed]").wait_for()
        after = memory(server), page.evaluate(heap)
        print(f"{MOVES} moves: server {before[0]:.0f} → {after[0]:.0f} MB, page {before[1]:.0f} → {after[1]:.0f} MB")
        browser.close()
        for process in (empty, server):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    os.environ.setdefault("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")
    main()
