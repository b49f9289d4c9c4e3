"""A run in an address: its id, and the settings that differ from the defaults, enough to train it elsewhere.

run=fashion-e20-lr0.001-8b7380a332~dataset.fashion~seed.3
"""

from core.config import PARAMETERS, Config, ConfigError, RecoveryConfig, TrainingConfig, is_made_id


def address_of(run_id: str, config: Config) -> str:
    """How a run is written in an address; only characters that need no escaping.

    A fine-tuned one is its id alone: a cache without it may lack its parent, too.
    """
    if isinstance(config, RecoveryConfig):
        return run_id
    parts = [run_id]
    for name, about in PARAMETERS.items():
        value = getattr(config, name)
        # A chosen name says nothing by itself, so the dataset is always written behind it.
        if value != config.default_of(name) or (name == "dataset" and run_id != config.run_id):
            parts.append(f"{name}.{about.kind.short(value)}")
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
        # A link that was made before a hyper-parameter existed means the value from before.
        candidates = [TrainingConfig.from_dict(values), TrainingConfig.from_saved(values)]
    except ConfigError:
        return run_id, None
    for config in candidates:
        if config.run_id == run_id:
            return run_id, config
    # An id made of settings belongs to other settings than these; a chosen name needs some.
    return run_id, candidates[0] if parts and not is_made_id(run_id) else None


def _value(name: str, text: str) -> object:
    if name not in PARAMETERS:
        raise ConfigError(f"Unknown hyper-parameter. Expected names among {', '.join(PARAMETERS)}. Received: {name}.")
    values = PARAMETERS[name].kind.read(name, text)
    if len(values) != 1:
        raise ConfigError(f"{name}: expected one value. Received: {text!r}.")
    return values[0]
