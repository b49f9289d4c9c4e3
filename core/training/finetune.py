"""Fine-tune a pruned network: train it again with labels, with what is pruned held at zero.

- finetune: the mask is fixed, by magnitude (Han et al. 2015, "Learning both Weights and Connections for Efficient
  Neural Networks") or as `core.kernels.repair` chose it, and what stays goes on from there.
- gradual: the mask tightens while it trains (Zhu and Gupta 2017); see `core.training.masks`.
- rewind, a control: what stays returns to its initial weights (Frankle and Carbin 2019, "The Lottery Ticket
  Hypothesis"), or to those after some epochs (Frankle et al. 2020, "Linear Mode Connectivity and the Lottery Ticket
  Hypothesis").
- reinit, a control: as rewind, with other initial weights.
- small, a control: a dense network of about as many weights, trained from scratch; an ordinary training of
  `small_control`.

All but the last train with Adam, whose step size falls to zero as a cosine does (Loshchilov and Hutter 2017), in the
batches of the parent and with its penalties. They learn from the labels and, where the configuration says so, from what
the dense parent answers; see `core.training.distillation`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import keras
import numpy as np
import pandas as pd

from core.config import RecoveryConfig, TrainingConfig
from core.datasets import Dataset
from core.errors import KnownError
from core.keras_layers import set_weights, with_weights
from core.kernels import Repairer, compact, live_units
from core.kernels.layer import none_zero
from core.network import Kernels, Layer, Network, as_network
from core.pruning import prune_count, rank
from core.runs import Checkpoint
from core.training import distillation
from core.training.fit import Step, fit
from core.training.masks import Masks, TighteningMasks, part_zero
from core.training.network import build, compiled, layered, layers_before

RAMP = 2 / 3
"""The part of all steps after which a gradual mask is final."""


@dataclass(frozen=True)
class Start:
    """A pruned network before it is fine-tuned.

    Attributes:
        network: float32, of the shapes of the dense one.
        kept: what is not pruned, boolean: of the shape of each hidden kernel for "weight", (units,) for "unit".
        images, seconds: what a repair has seen and taken; 0 if there was none.
    """

    network: Network
    kept: list[np.ndarray]
    images: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned network.

    Attributes:
        network: float32, of the shapes of the dense one. In each hidden kernel as many weights, or columns, are zero as
            `core.pruning.prune` zeroes.
        history: as `core.training.fit.fit` gives it.
        start: what it began with.
    """

    network: Network
    history: pd.DataFrame
    start: Start


def finetune(
    config: RecoveryConfig,
    network: Network | Kernels,
    data: Dataset,
    on_batch: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[pd.DataFrame], None] = lambda history: None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Tuned:
    """Prune a network and fine-tune it.

    Args:
        config: how.
        network: the parent's, or arrays of shape (inputs, units), hidden layers first, output layer last; only read.
        data: the dataset it was trained on.
        on_batch, on_epoch, on_checkpoint, checkpoint: see `core.training.fit.fit`.

    Example:
        `finetune(RecoveryConfig(run.config(), run.id, sparsity=0.99), run.network(), data).network`
    """
    network = as_network(network)
    start = start_of(config, network, data)
    steps = config.epochs * config.batches
    each = rank(network, config.method).weights_each(network.matrices[:-1])
    units = [matrix.shape[1] for matrix in network.matrices]
    if config.how == "gradual":
        masks = TighteningMasks(config.method, start.kept, each, config.sparsity, math.ceil(RAMP * steps))
        small, live = start.network, [np.ones(size, bool) for size in (network.inputs, *units)]
    else:
        # What cannot influence an output cannot learn either, and need not take part.
        small, live = compact(start.network).network, live_units(start.network)
        if not all(units.any() for units in live):
            raise KnownError(
                f"Nothing is left to train at k = {config.sparsity:g}: no path leads from a pixel to an output. Choose "
                "a smaller sparsity."
            )
        sizes = [kept.size for kept in start.kept]
        pruned = [prune_count(size, config.sparsity) for size in sizes]
        masks = Masks(_narrow_masks(start.kept, live), part_zero(pruned, sizes, each))
    keras.utils.set_random_seed(config.seed)
    model = layered(small, config, masks.constraints, output=None)
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    model = compiled(model, config, schedule, distillation.Distillation(config.distillation), distillation.metrics())
    set_weights(model, small)
    targets = distillation.targets_of(network, data.train.images, data.train.labels)
    pixels = None if live[0].all() else live[0]
    history = fit(model, config, data, on_batch, on_epoch, masks, pixels, targets, on_checkpoint, checkpoint)
    kept = [*(masks.kept if config.how == "gradual" else start.kept), True]
    layers = [
        _put_back(layer, trained, np.ix_(rows, units), mask)
        for layer, trained, (rows, units), mask in zip(
            start.network.layers, with_weights(small, model).layers, pairwise(live), kept, strict=True
        )
    ]
    return Tuned(replace(start.network, layers=tuple(layers)), history, start)


def _put_back(layer: Layer, trained: Layer, place: tuple[np.ndarray, ...], kept: np.ndarray | bool) -> Layer:
    """A layer with what was trained of it; what is not kept is zero, and so is what dead units say, as it is folded."""
    matrix, (_, units) = layer.matrix.copy(), place
    matrix[place] = trained.matrix
    kept = np.broadcast_to(kept, matrix.shape)
    bias = layer.bias
    if bias is not None:
        bias = np.zeros_like(bias)
        bias[units[0]] = trained.bias
        bias *= kept.any(axis=0)
    return replace(layer, matrix=none_zero(np.where(kept, matrix, np.float32(0)), kept), bias=bias)


def _narrow_masks(kept: Sequence[np.ndarray], live: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [
        mask[columns] if mask.ndim == 1 else mask[np.ix_(rows, columns)]
        for mask, (rows, columns) in zip(kept, pairwise(live[:-1]), strict=True)
    ]


def start_of(config: RecoveryConfig, network: Network, data: Dataset) -> Start:
    """What fine-tuning begins with: the network and its first mask, see `finetune`."""
    sparsity = config.sparsity
    if config.how == "gradual":
        sparsity = start_sparsity(config)
    if config.start == "repaired":
        repaired = Repairer(network, data.train.images[config.num_valid :]).repair(config.method, sparsity)
        nonzero = [kernel != 0 for kernel in repaired.kernels[:-1]]
        kept = [mask.any(axis=0) for mask in nonzero] if config.method == "unit" else nonzero
        return Start(repaired.network, kept, repaired.images, round(repaired.seconds, 3))
    ranks = rank(network, config.method)
    kept = [each >= count for each, count in zip(ranks.ranks, ranks.pruned(sparsity), strict=True)]
    weights = initial_network(config, data) if config.how in ("rewind", "reinit") else network
    return Start(ranks.prune(weights, sparsity), kept)


def start_sparsity(config: RecoveryConfig) -> float:
    """Where a gradual mask begins: at 0, or repaired so far that about as large a factor is left for training."""
    return round(1 - math.sqrt(1 - config.sparsity), 3) if config.start == "repaired" else 0.0


def initial_network(config: RecoveryConfig, data: Dataset) -> Network:
    """What rewind and reinit return to: the parent's weights after `rewind_epoch` epochs, or those of another seed.

    They are made again as the parent's training made them, which the same machine repeats exactly.
    """
    if config.how == "reinit":
        model = build(dataclasses.replace(config.training, seed=config.seed))
    else:
        model = build(config.training)
        if config.rewind_epoch:
            fit(model, dataclasses.replace(config.training, epochs=config.rewind_epoch, keep_best=False), data)
    return with_weights(layers_before(config), model)


def small_control(config: RecoveryConfig) -> TrainingConfig:
    """A dense network of about as many weights as the pruned one has left, trained from scratch for as long in all.

    Its hidden widths are those of the parent scaled by one factor. What pruning leaves is counted as the weights that
    are not pruned, and for units without the rows that go with them.

    Example:
        `small_control(config).to_flags()`, for `python -m core.train`
    """
    spec, widths = config.spec, config.hidden_units

    def scaled(factor: float) -> list[int]:
        return [max(1, round(units * factor)) for units in widths]

    def weights(hidden: list[int]) -> int:
        return sum(inputs * units for inputs, units in pairwise([spec.inputs, *hidden, len(spec.classes)]))

    if config.method == "unit":
        left = weights([units - prune_count(units, config.sparsity) for units in widths])
    else:
        sizes = [inputs * units for inputs, units in config.layer_shapes]
        left = sum(size - prune_count(size, config.sparsity) for size in sizes[:-1]) + sizes[-1]
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if weights(scaled(middle)) <= left else (low, middle)
    epochs = config.training.epochs + config.epochs
    return dataclasses.replace(config.training, hidden_units=tuple(scaled(low)), epochs=epochs)
