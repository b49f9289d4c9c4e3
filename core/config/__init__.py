"""Hyper-parameters, once: every value that decides which network a run produces."""

from core.config.recovery import (
    HOWS,
    RECOVERY,
    STARTS,
    Config,
    RecoveryConfig,
    read_config,
)
from core.config.training import (
    DATASETS,
    K_VALUES,
    PARAMETERS,
    DatasetSpec,
    TrainingConfig,
    is_made_id,
    parse_k_values,
)
from core.errors import ConfigError

__all__ = [
    "DATASETS",
    "HOWS",
    "K_VALUES",
    "PARAMETERS",
    "RECOVERY",
    "STARTS",
    "Config",
    "ConfigError",
    "DatasetSpec",
    "RecoveryConfig",
    "TrainingConfig",
    "is_made_id",
    "parse_k_values",
    "read_config",
]
