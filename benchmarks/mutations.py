"""What share of small mistakes in `core/` the tests notice: a random sample of all that mutmut's operators make.

    pip install "mutmut>=3.8,<4"
    python -m benchmarks.mutations --sample=100 --seed=1
    python -m benchmarks.mutations --sample=40 --only=core/runs

Each mutant is one change of the source in a copy of the last commit. The tests of its module run until the first fails;
those in a browser are left out. So are changes of words (a text with a blank in it), which people read. Printed are
each change with what killed it, and the share that was killed, with its 95 % Wilson interval.
"""

import argparse
import difflib
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import libcst
from libcst import matchers
from mutmut.mutation.file_mutation import Mutation, create_mutations, deep_replace
from scipy.stats import binomtest

from core.settings import PROJECT

SECONDS = 400
"""A mutant with which the tests take longer has been noticed: it never ends."""
TESTS = {
    "core/analysis/comparison.py": "comparison footprint trained_page",
    "core/analysis/distributions.py": "evaluation pages",
    "core/analysis/drawing.py": "drawing",
    "core/analysis/footprint.py": "footprint size_page",
    "core/analysis/inspection.py": "inspection pages",
    "core/analysis/knees.py": "knees",
    "core/analysis/latency.py": "footprint size_page",
    "core/analysis/uncertainty.py": "evaluation comparison knees",
    "core/analysis/wall.py": "wall",
    "core/arrays.py": "arrays formats wall damaged_cache architecture",
    "core/charts": "charts looks pictures comparison export size_page smallest",
    "core/command.py": "config train hostile_input finetune",
    "core/config/recovery.py": "finetune links",
    "core/config/__init__.py": "config links",
    "core/config/training.py": "config links earlier_runs grid hostile_input",
    "core/datasets.py": "datasets drawing pages damaged_cache",
    "core/errors.py": "runs train grid",
    "core/evaluation.py": "evaluation scoring inspection wall pruning",
    "core/export.py": "models hostile_input",
    "core/exports/models": "models",
    "core/exports/qr.py": "smallest_coding",
    "core/exports/tables.py": "export knees hostile_input",
    "core/exports": "export comparison pictures smallest hostile_input",
    "core/files.py": "files runs damaged_cache",
    "core/grid.py": "grid hostile_input",
    "core/jobs/background.py": "background grid limits",
    "core/jobs/exports.py": "models grid",
    "core/jobs/work.py": "footprint size_page smallest grid",
    "core/jobs": "grid runs limits training repaired pages",
    "core/network.py": "network evaluation kernels formats footprint",
    "core/kernels/coding.py": "formats smallest_coding",
    "core/kernels/compaction.py": "kernels footprint models",
    "core/kernels/number_formats.py": "formats footprint",
    "core/kernels/layer.py": "repair repaired",
    "core/kernels/repairer.py": "repair repaired",
    "core/kernels": "smallest_coding formats smallest",
    "core/limits.py": "limits grid smallest",
    "core/links.py": "links hostile_input",
    "core/log.py": "deployment",
    "core/make.py": "train finetune interrupted",
    "core/parameters.py": "config hostile_input",
    "core/pruning.py": "pruning scoring repair",
    "core/finetune.py": "finetune",
    "core/repair.py": "repaired hostile_input",
    "core/requests.py": "worker background",
    "core/runs/checkpoint.py": "run_files runs interrupted damaged_cache",
    "core/runs/damaged.py": "runs damaged_cache runs_page",
    "core/runs/example.py": "example",
    "core/runs/formats.py": "run_files runs wall damaged_cache",
    "core/runs/notes.py": "runs_page",
    "core/runs/predictions.py": "run_files runs wall",
    "core/runs/smallest.py": "runs smallest damaged_cache",
    "core/runs/work.py": "work smallest footprint",
    "core/runs": "runs run_files runs_page interrupted grid train damaged_cache",
    "core/scoring.py": "scoring repaired finetune runs earlier_runs",
    "core/settings.py": "limits deployment datasets example",
    "core/smallest.py": "smallest hostile_input",
    "core/speed.py": "footprint hostile_input",
    "core/state.py": "repaired trained_page finetune",
    "core/sweep.py": "scoring pruning repair earlier_runs runs comparison repaired",
    "core/terminal.py": "train grid",
    "core/training/distillation.py": "finetune smallest",
    "core/training/masks.py": "finetune",
    "core/training/finetune.py": "finetune",
    "core/training/smallest.py": "smallest",
    "core/training/train.py": "training interrupted train finetune",
    "core/training": "training interrupted train",
    "core/turns.py": "worker background",
    "core/worker.py": "worker background",
    "core/train.py": "train",
}
"""Which tests hold a module: the first entry that its path begins with."""


def mutants(seed: int, beginning: str) -> Iterator[tuple[str, str]]:
    """The path and the changed source of every mutant, in random order."""
    found = []
    for name in sorted(path.relative_to(PROJECT).as_posix() for path in (PROJECT / "core").rglob("*.py")):
        if name.startswith(beginning):
            module, mutations, *_ = create_mutations(name, (PROJECT / name).read_text())
            found += [(name, module, each) for each in mutations]
    random.Random(seed).shuffle(found)
    for name, module, each in found:
        if not _in_words(each):
            yield name, deep_replace(module, each.original_node, each.mutated_node).code


def change(module: str, code: str) -> str:
    """The lines of a module that differ, and its name."""
    before = (PROJECT / module).read_text().splitlines()
    _, _, *lines = difflib.unified_diff(before, code.splitlines(), n=0, lineterm="")
    return "\n".join([module, *lines])


def _in_words(mutation: Mutation) -> bool:
    """Whether all that changes stands in texts with a blank in them."""
    return _without_words(mutation.original_node).deep_equals(_without_words(mutation.mutated_node))


def _without_words(node: libcst.CSTNode) -> libcst.CSTNode:
    words = matchers.MatchIfTrue(lambda text: " " in text)
    node = matchers.replace(node, matchers.SimpleString(words), libcst.SimpleString('""'))
    return matchers.replace(node, matchers.FormattedStringText(words), libcst.FormattedStringText(""))


def tests_of(module: str) -> list[str]:
    """The test files that hold a module, those that fail soonest first."""
    chosen = next((tests for prefix, tests in TESTS.items() if module.startswith(prefix)), None)
    assert chosen, f"benchmarks/mutations.py does not say which tests hold {module}"
    walls = ["architecture"] if module.endswith("__init__.py") else []
    return [f"tests/test_{name}.py" for name in [*chosen.split(), *walls]]


def failing(copy: Path, tests: list[str], *flags: str) -> list[str]:
    """Which test fails first; none if all pass.

    Raises:
        subprocess.TimeoutExpired: after `SECONDS`.
    """
    left = copy.with_name(f"{copy.name}-left")
    # What a mistake leaves may be such that pytest cannot remove it.
    subprocess.run(["rm", "-rf", left], check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-m", "not browser", "--tb=no"]
    environment = {name: value for name, value in os.environ.items() if name != "NETWORK_PRUNING_CACHE"}
    done = subprocess.run(
        [*command, f"--basetemp={left}", *flags, *tests],
        cwd=copy,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if done.returncode == 0:
        return []
    found = re.findall("^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    assert found or "conftest" in done.stderr, done.stdout + done.stderr
    return found or ["nothing can be imported"]


def killed_by(copy: Path, module: str, code: str, trained: Path) -> list[str]:
    """The test that fails once `code` stands in the place of a module; none if all pass."""
    place = copy / module
    original = place.read_text()
    place.write_text(code)
    # A network that is at hand spares training one, unless the mutant is in what makes it.
    flags = [] if module.startswith(("core/training", "core/make", "core/train.py")) else [f"--trained={trained}"]
    try:
        return failing(copy, tests_of(module), "-x", *flags)
    except subprocess.TimeoutExpired:
        return ["it never ends"]
    finally:
        place.write_text(original)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=100, help="how many mutants")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--only", default="core/", help="the beginning of their path")
    parser.add_argument("--list", action="store_true", help="print the changes and try none")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="how many at a time")
    chosen = parser.parse_args()

    sample = list(islice(mutants(chosen.seed, chosen.only), chosen.sample))
    if chosen.list:
        print(*(change(module, code) for module, code in sample), sep="\n\n")
        return

    for module, _ in sample:
        tests_of(module)
    with tempfile.TemporaryDirectory() as folder:
        trained = Path(folder) / "trained"
        copies = [Path(folder) / f"copy-{index}" for index in range(chosen.workers)]
        for copy in copies:
            subprocess.run(["git", "clone", "-q", PROJECT, copy], check=True)
        subprocess.run(
            [sys.executable, "-c", "import sys; from tests.conftest import train; train(sys.argv[1])", trained],
            cwd=PROJECT,
            check=True,
        )
        free = list(copies)

        def tried(mutant: tuple[str, str]) -> list[str]:
            module, code = mutant
            copy = free.pop()
            noticed = killed_by(copy, module, code, trained)
            free.append(copy)
            print(change(module, code), f"killed by {noticed[0]}" if noticed else "SURVIVED", "", sep="\n", flush=True)
            return noticed

        with ThreadPoolExecutor(chosen.workers) as pool:
            tests = list(pool.map(tried, sample))
        # A test that fails without a mistake notices none.
        named = sorted({name for names in tests for name in names if name.startswith("tests/")})
        broken = failing(copies[0], named, f"--trained={trained}") if named else []
        assert not broken, f"these fail without a mutant, so what they killed counts for nothing: {broken}"
    killed = sum(map(bool, tests))
    low, high = binomtest(killed, len(sample)).proportion_ci(method="wilson")
    print(f"{killed} of {len(sample)} killed: {killed / len(sample):.1%}, 95 % interval {low:.1%} to {high:.1%}")


if __name__ == "__main__":
    main()
