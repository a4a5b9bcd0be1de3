"""The state of a run in one file, written atomically: tensors in safetensors, the rest as JSON in its header."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from midas.files import apply_umask, check_writable, replacing
from midas.training.schedule import EarlyStopping, LearningRate

if TYPE_CHECKING:
    from torch import Tensor

    from midas.training.step import Learner


_COUNTERPARTS = "counterparts"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Position in a training run.

    Attributes
    ----------
    epoch, step
        The next epoch and step.
    seconds
        Time spent so far.
    rate, early_stopping, history
        State of the training loop.
    fingerprint
        What a resumed run must have in common with this one.
    """

    epoch: int
    step: int
    seconds: float
    rate: LearningRate
    early_stopping: EarlyStopping
    history: list[dict[str, float]]
    fingerprint: dict[str, Any]


@dataclass(frozen=True)
class State:
    """Complete state of a run at the end of an epoch.

    Attributes
    ----------
    position
        Position in the run.
    tensors
        Tensors of networks, optimisers and others, by their names in the file.
    """

    position: Position
    tensors: dict[str, Tensor]

    @classmethod
    def of(
        cls, learner: Learner, position: Position, best: dict[str, Tensor] | None, counterparts: Tensor | None
    ) -> State:
        """Copy everything that later steps modify.

        Parameters
        ----------
        best
            Weights of the best epoch so far; not copied.
        counterparts
            In the canonical order of the cells; not copied.
        """
        changing = {
            **_prefixed("vae", learner.vae.state_dict()),
            **_prefixed("discriminators", learner.discriminators.state_dict()),
            **_prefixed("vae_optimizer", _moments(learner.vae_optimizer)),
            **_prefixed("discriminator_optimizer", _moments(learner.discriminator_optimizer)),
        }
        tensors = {name: tensor.detach().clone() for name, tensor in changing.items()} | _prefixed("best", best or {})
        if counterparts is not None:
            tensors[_COUNTERPARTS] = counterparts
        position = replace(position, early_stopping=replace(position.early_stopping), history=list(position.history))
        return cls(position, tensors)


def check_checkpoint(path: Path) -> None:
    """Raise an error before the run if the checkpoint could not be written, or would replace another file.

    Raises
    ------
    OSError
        Saying what is in the way.
    """
    check_writable(path)
    if path.exists() and not _is_checkpoint(path):
        msg = (
            f"{path}: expected a checkpoint of midas, or no file yet, found another file, which would be replaced. Name another "
            "checkpoint."
        )
        raise FileExistsError(msg)


def _is_checkpoint(path: Path) -> bool:
    """Whether a file starts like a checkpoint (possibly truncated) or is empty."""
    with path.open("rb") as file:
        length = file.read(8)
        if not length:
            return True
        size = int.from_bytes(length, "little")
        if size > path.stat().st_size:
            return False
        try:
            return "position" in json.loads(file.read(size))["__metadata__"]
        except (ValueError, KeyError, TypeError):
            return False


class Checkpoint:
    """A file that holds the state of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, state: State) -> None:
        """Write a state, atomically replacing an existing one."""
        with replacing(self.path) as scratch:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()},
                scratch,
                metadata={"position": json.dumps(asdict(state.position))},
            )
            apply_umask(scratch)

    def read(
        self, learner: Learner, fingerprint: dict[str, Any]
    ) -> tuple[Position, dict[str, Tensor] | None, Tensor | None]:
        """Restore networks and optimisers from the file.

        Returns
        -------
        Position, best weights so far, and counterparts in canonical order; the latter two may be None.

        Raises
        ------
        ValueError
            When the file is damaged, or of a run with another configuration, seed or data.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                position = json.loads(file.metadata()["position"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, KeyError, TypeError, OSError) as error:
            msg = f"{self.path}: expected a checkpoint of midas, found a damaged or foreign file ({error}). Start without resume."
            raise ValueError(msg) from error
        self._check_same(position["fingerprint"], fingerprint)
        learner.vae.load_state_dict(_part("vae", tensors))
        learner.discriminators.load_state_dict(_part("discriminators", tensors))
        _restore(learner.vae_optimizer, _part("vae_optimizer", tensors))
        _restore(learner.discriminator_optimizer, _part("discriminator_optimizer", tensors))
        best = _part("best", tensors)
        rate, early_stopping = LearningRate(**position.pop("rate")), EarlyStopping(**position.pop("early_stopping"))
        return Position(rate=rate, early_stopping=early_stopping, **position), best or None, tensors.get(_COUNTERPARTS)

    def _check_same(self, found: dict[str, Any], expected: dict[str, Any]) -> None:
        differ = [key for key in expected if key in found and found[key] != expected[key]]
        if differ:
            msg = (
                f"{self.path}: expected a checkpoint of the same run, found different {', '.join(differ)}. Start without resume, "
                "or repeat the run with what it began with."
            )
            raise ValueError(msg)
        missing = [key for key in expected if key not in found]
        if missing:
            msg = (
                f"{self.path}: expected a checkpoint that tells of which data it is, found one of an older version, which does "
                f"not tell {', '.join(missing)}. Start without resume."
            )
            raise ValueError(msg)


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _part(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(f"{prefix}/"): t for n, t in tensors.items() if n.startswith(f"{prefix}/")}


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state, flat: `<parameter>.<name>`."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def _restore(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    state = optimizer.state_dict()
    state["state"] = {}
    for key, tensor in moments.items():
        index, name = key.split(".", 1)
        state["state"].setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(state)
