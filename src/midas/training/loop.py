"""The training loop: epochs, validation, best weights, winding down, interruption."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from midas.data.loader import Order, collect, epoch_indices, scattered
from midas.data.resident import Resident, held_on
from midas.inference import encode
from midas.memory import keep_freed
from midas.nn import VAE, Discriminators, Noise
from midas.training.checkpoint import Checkpoint, Position, State, check_checkpoint
from midas.training.counterparts import counterparts, modalities_of
from midas.training.device import compute_of
from midas.training.fingerprint import fingerprint
from midas.training.means import Means
from midas.training.plan import Plan, plan_training
from midas.training.progress import Progress
from midas.training.recorded import Recorder, records
from midas.training.schedule import EarlyStopping, LearningRate
from midas.training.step import Anchor, Learner, check_finite, losses_of, teach_discriminators, train_step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.config import Config
    from midas.data.minibatch import Minibatch
    from midas.data.mosaic import Mosaic

logger = logging.getLogger(__name__)


class Logger(Protocol):
    """What a Lightning logger offers (TensorBoard, CSV, Weights & Biases, MLflow, ...)."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write some numbers."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that do not change its result.

    Attributes
    ----------
    progress
        Whether to draw a progress bar.
    loggers
        Lightning loggers.
    checkpoint
        File for the state of the run at the end of an epoch: written after the first epoch, then at most every
        `checkpoint_seconds`, at the end, and on Ctrl-C.
    resume
        Whether to resume from that file if it exists.
    """

    progress: bool = True
    loggers: tuple[Logger, ...] = ()
    checkpoint: Path | None = None
    checkpoint_seconds: float = 30.0
    resume: bool = False


@dataclass(frozen=True)
class Trained:
    """Result of a run besides the weights.

    Attributes
    ----------
    history
        One record per epoch: its number, seconds so far, learning rate, and the mean of each loss term over the steps
        that had it (some steps hide the batch or do not update the discriminators; terms of no step are omitted); those
        of validation cells with the prefix ``val_``, and ``val_kept``, 1 if the validation loss was the best so far and
        the weights were kept.
    interrupted
        Whether Ctrl-C stopped it.
    """

    history: list[dict[str, float]]
    interrupted: bool = False


def fit(
    vae: VAE,
    discriminators: Discriminators,
    mosaic: Mosaic,
    config: Config,
    seed: int,
    run_options: RunOptions,
    *,
    anchor: Anchor | None = None,
    discriminator_warmup_steps: int = 0,
) -> Trained:
    """Train both networks in place; the final weights are those of the best epoch, or of the last without validation cells.

    Parameters with ``requires_grad=False`` are not changed. With ``training.devices``, each process takes a share of
    every minibatch, and all end with the same weights.

    Parameters
    ----------
    vae, discriminators
        Moved to the training device.
    mosaic
        Training data; some cells may be held out for validation.
    config
        Configuration of the objective and the training.
    seed
        Random seed.
    run_options
        Progress bar, loggers, checkpoint.
    anchor
        Target posterior means of some cells.
    discriminator_warmup_steps
        Steps in which only the discriminators are trained, before the model is.
    """
    if run_options.checkpoint is not None:
        check_checkpoint(run_options.checkpoint)
    plan = plan_training(mosaic, config.training, seed)
    config = replace(config, objective=config.objective.for_cells(len(plan.train)))
    learner = replace(learner_for(vae, discriminators, mosaic, config), anchor=anchor)
    ranks = learner.compute.ranks
    like = fingerprint(config, mosaic, plan.order, seed)
    ranks.check_same(like)
    ranks.broadcast([*vae.state_dict().values(), *discriminators.state_dict().values()])
    if not ranks.first:
        run_options = replace(run_options, progress=False, loggers=())
    keep_freed()
    if discriminator_warmup_steps:
        _warm_up_discriminators(learner, mosaic, plan, seed, discriminator_warmup_steps)
    run = _Run(learner, mosaic, plan, seed, run_options, like)
    status = "failed"
    try:
        run.go()
        status = "success"
    except KeyboardInterrupt:
        status = "interrupted"
        run.leave_checkpoint()
        if ranks.size > 1:  # processes stopped at different steps, so there is no common result
            raise
        kept = "last weights" if run.best is None else "best weights so far"
        logger.warning("Interrupted after %s epochs; the model keeps the %s.", len(run.history), kept)
    finally:
        for sink in run_options.loggers:
            if hasattr(sink, "finalize"):  # flush buffered records to the file
                sink.finalize(status)
        for optimizer in (learner.vae_optimizer, learner.discriminator_optimizer):
            optimizer.zero_grad()  # free the gradients, which are as large as the networks
    run.finish()
    return Trained(run.history, interrupted=status == "interrupted")


def _warm_up_discriminators(learner: Learner, mosaic: Mosaic, plan: Plan, seed: int, steps: int) -> None:
    rng = np.random.default_rng([seed, 3])
    ranks = learner.compute.ranks
    noise = Noise(int(rng.integers(2**62)) + ranks.rank, learner.compute.device)
    _set_rate(learner.discriminator_optimizer, learner.config.training.discriminator_learning_rate)
    indices = [rng.choice(plan.train, min(plan.batch_size, len(plan.train)), replace=False) for _ in range(steps)]
    with _minibatches(mosaic, [ranks.share(index) for index in indices], learner.compute.device) as minibatches:
        for minibatch in minibatches:
            teach_discriminators(learner, minibatch, noise)


def learner_for(vae: VAE, discriminators: Discriminators, mosaic: Mosaic, config: Config) -> Learner:
    """Choose device and precision, move the networks there, and give them their optimisers."""
    compute = compute_of(config.training)
    logger.info("On %s, matrix products in %s.", compute.device, "bfloat16" if compute.bf16 else "float32")
    logger.info("Discriminators are weighted %.0f.", config.objective.adversarial)
    logger.info("Depths are taken from the counts of: %s.", ", ".join(vae.depth_names) or "no modality")
    for module in (vae, discriminators):
        module.to(compute.device)
    fused, cuda = compute.device.type in {"cpu", "cuda"}, compute.device.type == "cuda"

    def adamw(module: torch.nn.Module, rate: float, momentum: float = 0.9) -> torch.optim.Optimizer:
        decay = config.training.weight_decay
        tuned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(
            tuned,
            # A CUDA graph reads the rate from this tensor, which is updated in place.
            lr=torch.tensor(rate, device=compute.device) if cuda else rate,
            betas=(momentum, 0.999),
            weight_decay=decay,
            fused=fused,
            capturable=cuda,
        )

    return Learner(
        vae,
        discriminators,
        adamw(vae, config.training.learning_rate),
        adamw(discriminators, config.training.discriminator_learning_rate, config.training.discriminator_momentum),
        compute,
        mosaic.schema,
        config,
    )


class _Run:
    """One run of the loop, from its first or a later epoch."""

    def __init__(
        self,
        learner: Learner,
        mosaic: Mosaic,
        plan: Plan,
        seed: int,
        run_options: RunOptions,
        like: dict[str, Any],
    ) -> None:
        training = learner.config.training
        self.fingerprint = like
        self.learner, self.mosaic, self.plan, self.seed, self.run_options = learner, mosaic, plan, seed, run_options
        self.history: list[dict[str, float]] = []
        self.rate = LearningRate.of(training, plan.total_steps)
        self.early_stopping = EarlyStopping(training.patience)
        self.step = 0
        self.seconds_before = 0.0
        self.best: dict[str, torch.Tensor] | None = None
        self.checkpoint = None if run_options.checkpoint is None else Checkpoint(run_options.checkpoint)
        self.state: State | None = None  # as of the end of the last epoch; None once written
        self.alike: torch.Tensor | None = None  # counterparts in canonical order
        self.noise = Noise(seed, learner.compute.device)
        ranks = learner.compute.ranks
        self.resident = held_on(mosaic, learner.compute.device, ranks)
        self.stored = self.resident is None and scattered(mosaic, len(plan.train))
        self.recorder = Recorder(learner.compute.device) if records(learner, alike=not self.stored) else None
        if self.recorder is not None:
            logger.info("Steps are recorded and replayed as CUDA graphs.")

    def go(self) -> None:
        """Train until the schedule ends."""
        first = self._resume()
        started, last_saved = time.monotonic(), -math.inf
        with Progress(self.rate.end, done=self.step, shown=self.run_options.progress) as bar:
            epoch = first
            while self.step < self.rate.end:
                record = {"epoch": float(epoch), **self._train_epoch(epoch, bar)}
                record = record | self._validate(epoch)
                record["seconds"] = self.seconds_before + time.monotonic() - started
                self.history.append(record)
                epoch += 1
                self._note(epoch, record["seconds"])
                for sink in self.run_options.loggers:
                    sink.log_metrics(record, step=self.step)
                bar.epoch(record, self.rate.end)
                waited = time.monotonic() - last_saved
                if self.step < self.rate.end and waited >= self.run_options.checkpoint_seconds:
                    self._save()
                    last_saved = time.monotonic()
        self.leave_checkpoint()

    def leave_checkpoint(self) -> None:
        """Write the state at the end of the last epoch, if it has not been written yet."""
        try:
            self._save()
        except OSError as error:  # not fatal, as the trained model would be lost
            logger.warning("The last checkpoint could not be written: %s.", error)

    def _progress(self, ahead: int = 0) -> float:
        return (self.step + ahead) / max(1, self.plan.total_steps)

    def finish(self) -> None:
        """Put the best weights in place."""
        if self.best is not None:
            self.learner.vae.load_state_dict(self.best)

    def _portions(self, indices: list[NDArray[np.int64]]) -> Iterator[list[NDArray[np.int64]]]:
        """Yield the minibatches of an epoch, split where adversarial training begins: there, batches are compared, once."""
        objective = self.learner.config.objective
        wanted = objective.counterparts and objective.adversarial > 0 and len(self.learner.schema.batches) > 1
        ahead = range(len(indices)) if wanted and self.learner.counterparts is None else range(0)
        cut = next((i for i in ahead if self._progress(i) >= objective.adversarial_start), None)
        if cut is None:
            yield indices
            return
        if cut:
            yield indices[:cut]
        self._compare_batches()
        yield indices[cut:]

    def _compare_batches(self) -> None:
        """Compute the counterparts, with cells in canonical order, as cells are subsampled."""
        learner, order, batch = self.learner, self.plan.order, self.mosaic.model_batch

        def states(modalities: tuple[str, ...]) -> NDArray[np.float32]:
            z = encode(learner.vae, self.mosaic, modalities, with_batch=False, ranks=learner.compute.ranks).mean
            return z[order, : learner.config.network.dim_c]

        measured = modalities_of(self.mosaic, batch, len(learner.schema.batches))
        self._know(torch.from_numpy(counterparts(states, batch[order], measured, seed=self.seed)))

    def _know(self, alike: torch.Tensor) -> None:
        """Set the counterparts, given in canonical order."""
        self.alike = None if self.checkpoint is None else alike
        rows = torch.empty_like(alike)
        rows[torch.from_numpy(self.plan.order)] = alike
        self.learner = replace(self.learner, counterparts=rows.to(self.learner.compute.device))

    def _train_epoch(self, epoch: int, bar: Progress) -> dict[str, float]:
        learner, config = self.learner, self.learner.config
        rng = np.random.default_rng([self.seed, 2, epoch])
        # Seeds depend on the epoch, so a resumed run draws the same numbers as an uninterrupted one.
        ranks = learner.compute.ranks
        noise = self.noise.restart(int(rng.integers(2**62)) + ranks.rank)
        indices = epoch_indices(
            self.plan.train,
            self.mosaic.model_batch[self.plan.train],
            self.plan.batch_size,
            config.training,
            rng,
            self.mosaic,
            (ranks.rank, ranks.size),
            order=self._order(),
        )[: self.rate.end - self.step]
        means = Means()
        device = torch.device("cpu") if self.recorder is not None else learner.compute.device
        for portion in self._portions(indices):
            with _minibatches(self.resident or self.mosaic, portion, device) as minibatches:
                for minibatch in minibatches:
                    factor = self.rate.factor(self.step)
                    _set_rate(learner.vae_optimizer, factor * config.training.learning_rate)
                    _set_rate(learner.discriminator_optimizer, factor * config.training.discriminator_learning_rate)
                    with_batch = bool(rng.random() >= config.objective.batch_expert_dropout)
                    means.add(self._train_step(minibatch, noise, with_batch=with_batch), with_batch=with_batch)
                    self.step += 1
                    bar.advance()
        terms = means.terms(config.objective.batch_reconstruction)
        if ranks.size > 1:
            terms = {name: total / ranks.size for name, total in ranks.all_reduce_sum(terms).items()}
        check_finite(terms, learner, minibatch.to(learner.compute.device))
        return {**terms, "learning_rate": factor * config.training.learning_rate}

    def _order(self) -> Order:
        if self.stored:
            return "stored"
        return "free" if self.recorder is None else "alike"

    def _train_step(self, minibatch: Minibatch, noise: Noise, *, with_batch: bool) -> Mapping[str, torch.Tensor]:
        progress = self._progress()
        if self.recorder is not None:
            return self.recorder.step(self.learner, minibatch, noise, with_batch=with_batch, progress=progress)
        return train_step(self.learner, minibatch, noise, with_batch=with_batch, progress=progress).named()

    def _validate(self, epoch: int) -> dict[str, float]:
        if not len(self.plan.validation):
            return {}
        size = self.plan.batch_size
        indices = [self.plan.validation[i : i + size] for i in range(0, len(self.plan.validation), size)]
        ranks, sums = self.learner.compute.ranks, dict[str, float]()
        indices = indices[ranks.rank :: ranks.size]
        with (
            torch.no_grad(),
            _minibatches(self.resident or self.mosaic, indices, self.learner.compute.device) as minibatches,
        ):
            for minibatch in minibatches:
                with self.learner.compute.autocast():
                    outputs = self.learner.vae(minibatch, None)
                for name, term in losses_of(self.learner, outputs, minibatch).named().items():
                    sums[name] = sums.get(name, 0.0) + float(term) * minibatch.n_cells
        terms = {f"val_{name}": total / len(self.plan.validation) for name, total in ranks.all_reduce_sum(sums).items()}
        if self._progress() < self.learner.config.objective.warmup_end:
            return terms  # losses are not comparable while the weights of the objective change
        better = self.early_stopping.better(terms["val_total"], epoch)
        terms["val_kept"] = float(better)
        if better:
            self._remember()
        elif self.early_stopping.exhausted(epoch) and self.learner.config.training.schedule == "constant":
            self.rate = replace(self.rate, end=self.step)
        elif self.early_stopping.exhausted(epoch) and self.step < self.rate.decay_start:
            self.rate = self.rate.wind_down(self.step)
            logger.info("No better validation loss for %s epochs: winding down.", self.early_stopping.patience)
        return terms

    def _remember(self) -> None:
        """Copy the weights; not in place, as Ctrl-C could interrupt it, and a checkpoint may still need the old copy."""
        self.best = {name: value.clone() for name, value in self.learner.vae.state_dict().items()}

    def _note(self, epoch: int, seconds: float) -> None:
        """Copy the state at the end of an epoch, as Ctrl-C comes during the next one, from which a run cannot be resumed."""
        if self.checkpoint is None or not self.learner.compute.ranks.first:
            return
        position = Position(
            epoch=epoch,
            step=self.step,
            seconds=seconds,
            rate=self.rate,
            early_stopping=self.early_stopping,
            history=self.history,
            fingerprint=self.fingerprint,
        )
        self.state = State.of(self.learner, position, self.best, self.alike)

    def _save(self) -> None:
        if self.checkpoint is not None and self.state is not None:
            self.checkpoint.write(self.state)
            self.state = None

    def _resume(self) -> int:
        found = self.checkpoint is not None and self.run_options.resume and self.checkpoint.path.exists()
        self.learner.compute.ranks.check_same({"checkpoint": found})
        if self.checkpoint is None or not found:
            if self.checkpoint is not None and self.run_options.resume:
                logger.info("%s: no checkpoint yet, starting from the beginning.", self.checkpoint.path)
            return 0
        position, self.best, alike = self.checkpoint.read(self.learner, self.fingerprint)
        if alike is not None:
            self._know(alike)
        self.learner.compute.ranks.check_same({"checkpoint": position.step})
        self.step, self.rate, self.early_stopping = position.step, position.rate, position.early_stopping
        self.history, self.seconds_before = position.history, position.seconds
        logger.info(
            "Going on from epoch %s (%s done), by %s.", position.epoch + 1, position.epoch, self.checkpoint.path
        )
        return position.epoch


@contextmanager
def _minibatches(
    cells: Mosaic | Resident, indices: list[NDArray[np.int64]], device: torch.device
) -> Iterator[Iterator[Minibatch]]:
    """Yield minibatches on the device; the thread that collects them always ends with the block."""
    if isinstance(cells, Resident):
        yield map(cells.gather, indices)
        return
    source = collect(cells, indices)
    try:
        yield (minibatch.to(device) for minibatch in source)
    finally:
        source.close()


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
