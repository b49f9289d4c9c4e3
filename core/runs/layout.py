"""What is where in the cache. The only file with its file names.

    cache/<run_id>/          a complete run: written once, whole, by a rename
        config.json          the hyper-parameters
        state.json           how the training went, and the result
        history.csv          loss and accuracy of every epoch
        model.keras          the trained network
        network.json         its layers: what is beside the kernels
        kernels.npz          its kernels, for NumPy
        activations.npz      rms of every kernel's inputs over training images
        sweep.csv            accuracy and loss of every sparsity scored so far
        predictions.npz      the predicted class of every test image at every sparsity scored so far
        repaired/            the kernels of every repaired network that was scored
        speed/               how fast the networks made from it were, where that was measured
        tiny/                the smallest files that were made from it, and what is known of each
        exports/             files of small networks, what is known of each, and what the process said that made it
        results.csv          the table of the original experiment
        notes.json           the name and the note that somebody gave it, if any
        *.png, *.gif         figures and animations, drawn after scoring
        histograms/          one picture a method and sparsity
    cache/<run_id>.part/     the same files while they come to be, or where a training ended early
        checkpoint.npy       what that training goes on from, as it was after its last completed epoch
        log.txt              what its process said, if the app or the queue started it
        cancel               asks it to stop
    cache/<run_id>.old/      a run that is just being replaced
    cache/.queue/            tickets of trainings that wait; see `core.jobs.queue`
    cache/.asked/            what pages ask for, by run: scores and repairs (`core.worker`), a measurement
                             (`core.speed`), smallest files (`core.smallest`)
    cache/.locks/            held by whoever trains or changes a run; freed by the system when they die
    cache/datasets/          decoded datasets
    cache/.example-adopted   says that the example of the project has been copied into this cache once

A run whose `.part` folder exists but whose lock nobody holds was interrupted.
"""

import re
from collections.abc import Iterator
from pathlib import Path

CONFIG, STATE, HISTORY = "config.json", "state.json", "history.csv"
NETWORK, MODEL, KERNELS, ACTIVATIONS, SWEEP = (
    "network.json",
    "model.keras",
    "kernels.npz",
    "activations.npz",
    "sweep.csv",
)
PREDICTIONS = "predictions.npz"
LOG, CANCEL, CHECKPOINT = "log.txt", "cancel", "checkpoint.npy"
RESULTS, TRAINING_FIGURE, PRUNING_FIGURE = "results.csv", "loss_accuracy.png", "pruned_loss_accuracy.png"
HISTOGRAMS = "histograms"
REPAIRED = "repaired"
SPEED, SMALLEST = "speed", "tiny"
"""Folders of a run, and what the work is called, with its lock, that fills them."""
EXPORTS = "exports"
NOTES = "notes.json"
GIFS = {"weight": "pruned_weights.gif", "unit": "pruned_units.gif"}
PART, OLD = ".part", ".old"
EXAMPLE_MARKER = ".example-adopted"
RESERVED = ("datasets",)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_run_id(name: str) -> bool:
    """Whether a name can be the folder of a run."""
    return bool(_ID.fullmatch(name)) and name not in RESERVED and not name.endswith((PART, OLD))


def lock(root: Path, name: str, what: str) -> Path:
    """The file whose lock says that somebody does this with the run, or the queue, of that name."""
    return root / ".locks" / f"{name}.{what}"


def queue(root: Path) -> Path:
    return root / ".queue"


def queue_lock(root: Path) -> Path:
    return root / ".locks" / "queue"


def starting_lock(root: Path) -> Path:
    """Held by whoever is just starting a training."""
    return root / ".locks" / "starting"


def repaired(folder: Path, key: str) -> Path:
    """The kernels of a repaired network, by the key of its criterion and k; in the folder of its run."""
    return folder / REPAIRED / f"{key.replace(',', '-')}.npz"


def speed(folder: Path, key: str) -> Path:
    """How fast a network was, by the key of its criterion and k; in the folder of its run."""
    return folder / SPEED / f"{key.replace(',', '-')}.json"


def work(root: Path, run_id: str, what: str) -> Path:
    """How far `SPEED` or `SMALLEST` on a run is; to remove it is to stop it."""
    return root / ".asked" / run_id / f"{what}.txt"


def work_log(root: Path, run_id: str, what: str) -> Path:
    """What the process said that does it."""
    return root / ".asked" / run_id / f"{what}-log.txt"


def smallest(folder: Path, name: str) -> Path:
    """A smallest file, in the folder of its run."""
    return folder / SMALLEST / f"{name}.tiny"


def smallest_record(path: Path) -> Path:
    """What is known of a smallest file."""
    return path.with_suffix(".json")


def exported(folder: Path, name: str) -> Path:
    """The file of a small network, in the folder of its run."""
    return folder / EXPORTS / name


def export_record(path: Path) -> Path:
    """What is known of the file of a small network: size, checksum, accuracy."""
    return path.with_name(f"{path.name}.json")


def export_log(path: Path) -> Path:
    """What the process said that makes, or made, the file of a small network."""
    return path.with_name(f"{path.name}.txt")


def export_lock(name: str) -> str:
    """What the lock is called of whoever makes the file of that name; see `core.runs.Run.lock`."""
    return f"export-{name}"


def asked(root: Path, run_id: str) -> Path:
    """The scores of a run that pages ask for, one a line, the most urgent first; see `core.requests`."""
    return root / ".asked" / run_id / "key.txt"


def all_asked(root: Path) -> list[str]:
    """The ids of the runs that something is asked for."""
    names = [path.parent.name for path in root.glob(".asked/*/key.txt")]
    return [name for name in names if is_run_id(name)]


def touched(root: Path, run_id: str) -> Path:
    """Changed whenever a page opens or touches a run, so that the one touched last comes first."""
    return root / ".asked" / run_id / "touched"


def asked_log(root: Path, run_id: str) -> Path:
    """Why what is asked for could not be done, if so."""
    return root / ".asked" / run_id / "log.txt"


def worker_lock(root: Path, machine: str) -> Path:
    """Held by the process of a machine that works off what pages ask for."""
    return root / ".locks" / f"worker-{machine}"


def worker_log(root: Path) -> Path:
    """What that process said."""
    return root / ".asked" / "worker-log.txt"


def trash(root: Path, name: str, pid: int) -> Path:
    """Where a run is moved to before its files are removed, so that nobody ever lists half of one."""
    return root / f".trash-{name}-{pid}"


def all_trash(root: Path) -> Iterator[tuple[Path, str]]:
    """What a process left that was killed while it deleted: each folder, and the name of its run."""
    for path in root.glob(".trash-*"):
        name = path.name.removeprefix(".trash-").rpartition("-")[0]
        if is_run_id(name):
            yield path, name
