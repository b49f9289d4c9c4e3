"""A run in an address: its id, and the settings that differ from the defaults, so that whoever lacks it can train it.

run=fashion-e20-lr0.001-8b7380a332~dataset.fashion~seed.3
"""

import dataclasses
import re

from core.config import DATASETS, ConfigError, TrainingConfig, parse_sizes

_FIELDS = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
_MADE_ID = re.compile(rf"(?:{'|'.join(DATASETS)})-e\d+-lr[\d.e-]+-[0-9a-f]{{10}}")


def address_of(run_id: str, config: TrainingConfig) -> str:
    """How a run is written in an address; only characters that need no escaping."""
    # A name that somebody gave says nothing by itself, so the dataset is always written behind it.
    parts = [run_id]
    for name, value in config.to_dict().items():
        usual = config.spec.num_valid if name == "num_valid" else _FIELDS[name]
        if name == "hidden_units":
            value, usual = "-".join(map(str, value)), "-".join(map(str, usual))
        if value != usual or (name == "dataset" and run_id != config.run_id):
            parts.append(f"{name}.{value}")
    return "~".join(parts)


def parse_address(text: str) -> tuple[str, TrainingConfig | None]:
    """The inverse of `address_of`.

    Returns:
        The run id, and the configuration to train it with; None if the address does not say it, or says another one
        than the id was made from, as a link made with other defaults would.
    """
    run_id, *parts = text.split("~")
    try:
        values = {name: _value(name, value) for name, _, value in (part.partition(".") for part in parts)}
        config = TrainingConfig.from_dict(values)
    except (ConfigError, ValueError):
        return run_id, None
    if config.run_id == run_id:
        return run_id, config
    # An id made of the settings belongs to others than these; a name that somebody gave needs some.
    return run_id, config if parts and not _MADE_ID.fullmatch(run_id) else None


def _value(name: str, text: str) -> object:
    if name == "hidden_units":
        return parse_sizes(text.replace("-", ","))
    if text in ("True", "False"):
        return text == "True"
    if name == "dataset":
        return text
    return float(text) if "." in text or "e" in text else int(text)
