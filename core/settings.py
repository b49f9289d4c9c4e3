"""Where things lie, and what the environment says. The only reader of `NETWORK_PRUNING_*`."""

import os
import platform
import sys
import tempfile
from pathlib import Path
from types import ModuleType

PROJECT = Path(__file__).parent.parent
"""The folder of `app.py`."""
ASSETS = PROJECT / "assets"
EXAMPLE = PROJECT / "cache" / ".example"
"""The folder of the run that comes with the project."""

SCHEDULER = "NETWORK_PRUNING_SCHEDULER"
CACHE = "NETWORK_PRUNING_CACHE"
DATA = "NETWORK_PRUNING_DATA"
FRAME_ANCESTORS = "NETWORK_PRUNING_FRAME_ANCESTORS"
READ_ONLY = "NETWORK_PRUNING_READ_ONLY"
MAX_TRAININGS = "NETWORK_PRUNING_MAX_TRAININGS"
MAX_WEIGHTS = "NETWORK_PRUNING_MAX_WEIGHTS"
MIN_FREE_MB = "NETWORK_PRUNING_MIN_FREE_MB"
LIMITS = {MAX_TRAININGS: (4, 1), MAX_WEIGHTS: (50_000_000, 1), MIN_FREE_MB: (100, 0)}
"""The default of each limit, and its least value."""


def cache_root() -> Path:
    """The cache folder: `NETWORK_PRUNING_CACHE` if set, else `cache/` beside the code."""
    return _path(CACHE) or PROJECT / "cache"


def data_folder() -> Path | None:
    """The folder with the original files of MNIST and Fashion-MNIST: `NETWORK_PRUNING_DATA`, if set."""
    return _path(DATA)


def _path(name: str) -> Path | None:
    """A path in the environment. In one from an env file or a systemd unit, no shell has expanded `~`."""
    text = os.environ.get(name)
    return Path(text).expanduser() if text else None


def scheduler() -> str | None:
    """The address of the Dask scheduler that is to train: `NETWORK_PRUNING_SCHEDULER`, if set."""
    return os.environ.get(SCHEDULER) or None


def frame_ancestors() -> list[str]:
    """The hosts whose pages may show the app in a frame: `NETWORK_PRUNING_FRAME_ANCESTORS`, separated by spaces."""
    return os.environ.get(FRAME_ANCESTORS, "").split()


def is_read_only() -> bool:
    """Whether nothing may be trained, deleted or written but scores: `NETWORK_PRUNING_READ_ONLY`.

    Whatever it says that does not clearly mean no means yes.
    """
    return os.environ.get(READ_ONLY, "").strip().lower() not in ("", "0", "false", "no", "off")


def limit_text(name: str) -> str:
    """What the environment says of one of `LIMITS`; empty if nothing."""
    return os.environ.get(name, "").strip()


def quiet_keras() -> None:
    """Prepare the import of Keras: on TensorFlow, which keeps its notes on the hardware to itself."""
    if not ensure_temporary_folder():
        sys.exit("error: No folder can be written, the cache neither. Name one for temporary files in TMPDIR.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"


def load_keras() -> ModuleType:
    """Import Keras with its own defaults, so that a run id means the same network whatever `keras.json` says."""
    quiet_keras()
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    # KERAS_MAX_EPOCHS and KERAS_MAX_STEPS_PER_EPOCH would cut a training short.
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)
    return keras


def ensure_temporary_folder() -> bool:
    """Where the system has no folder for temporary files that can be written, let the cache take them.

    Returns:
        Whether there is such a folder now. Keras and TensorFlow need one even to be imported.
    """
    try:
        tempfile.gettempdir()
        return True
    except FileNotFoundError:
        folder = cache_root().absolute() / ".temporary" / platform.node()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    # For this process, and for those that it starts.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return True


def for_child(cache: Path) -> dict[str, str]:
    """The environment of a process that is to find this project's modules and to use that cache."""
    # The module path rather than the working folder: relative paths in the environment stay true.
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, CACHE: str(cache)}


def one_thread(environment: dict[str, str]) -> dict[str, str]:
    """That environment for a process whose products take one thread each.

    Those of two processes that each use all cores wait for each other, and together take several times as long.
    """
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return environment | dict.fromkeys(names, "1")
