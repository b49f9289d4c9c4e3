"""How arrays and tables lie in files of a run, and what is said where one is damaged."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from core.errors import RunError
from core.runs import layout


def read_arrays(path: Path) -> list[np.ndarray]:
    """The arrays `kernel_0`, `kernel_1`, … of an `.npz` file.

    Raises:
        RunError: if the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[f"kernel_{index}"] for index in range(len(arrays.files))]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(
            f"Run {path.parent.name} cannot be read: {path} is missing or damaged ({error}). "
            "Retrain the run (--force_train), or delete it."
        ) from None


def read_table(path: Path) -> pd.DataFrame:
    """A table; an empty one if there is none.

    Raises:
        RunError: if the file is damaged.
    """
    try:
        return pd.read_csv(path, float_precision="round_trip")
    except FileNotFoundError:
        return pd.DataFrame()
    except (ValueError, OSError) as error:
        way_out = (
            "Delete that file, and everything is scored again; the network is not affected."
            if path.name == layout.SWEEP
            else "Retrain the run (--force_train), or delete it."
        )
        raise RunError(f"{path} of run {path.parent.name} is damaged ({error}). {way_out}") from None


def to_csv(table: pd.DataFrame) -> str:
    """A table as the cache keeps it."""
    return table.to_csv(index=False, lineterminator="\n")
