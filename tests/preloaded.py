"""What the server of `tests/commands.py` imports once, before it forks: all that takes long, but runs nothing."""

import importlib

from core.settings import quiet_keras

quiet_keras()
for name in ("core.exports.pictures", "core.training.fit", "core.training.train", "sklearn.datasets", "tests.faults"):
    importlib.import_module(name)
