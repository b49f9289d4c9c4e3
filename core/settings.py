"""Where things lie, and what the environment says. The only reader of `NETWORK_PRUNING_*`."""

import os
from pathlib import Path

PROJECT = Path(__file__).parent.parent
"""The folder of `app.py`."""
ASSETS = PROJECT / "assets"
EXAMPLE = PROJECT / "cache" / ".example"
"""The folder of the run that comes with the project."""

SCHEDULER = "NETWORK_PRUNING_SCHEDULER"
CACHE = "NETWORK_PRUNING_CACHE"
DATA = "NETWORK_PRUNING_DATA"


def cache_root() -> Path:
    """The cache folder: `NETWORK_PRUNING_CACHE` if set, else `cache/` beside the code."""
    return Path(os.environ.get(CACHE) or PROJECT / "cache")


def data_folder() -> Path | None:
    """The folder with the original files of MNIST and Fashion-MNIST: `NETWORK_PRUNING_DATA`, if set."""
    folder = os.environ.get(DATA)
    return Path(folder) if folder else None


def scheduler() -> str | None:
    """The address of the Dask scheduler that is to train: `NETWORK_PRUNING_SCHEDULER`, if set."""
    return os.environ.get(SCHEDULER) or None


def quiet_keras() -> None:
    """Prepare the import of Keras: on TensorFlow, which keeps its notes on the hardware to itself."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def for_child(cache: Path) -> dict[str, str]:
    """The environment of a process that is to find this project's modules and to use that cache."""
    # The module path rather than the working folder: relative paths in the environment stay true.
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, CACHE: str(cache)}
