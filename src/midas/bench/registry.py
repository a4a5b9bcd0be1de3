"""The methods: their scripts, what to install for them, and the tasks that they do not support."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mudata import MuData

SCRIPTS: Final = Path(__file__).parent / "methods"
TORCH: Final = "torch==2.13.0"
_MUDATA: Final = "mudata==0.3.10"
_OLDEST: Final = (3, 11)


@dataclass(frozen=True)
class Shape:
    """Properties of a task that decide whether a method supports it.

    Attributes
    ----------
    modalities
        All modalities in the mosaic.
    combinations
        Sets of modalities found in its cells.
    """

    modalities: frozenset[str]
    combinations: frozenset[frozenset[str]]

    @classmethod
    def of(cls, mdata: MuData) -> Shape:
        """Read from a mosaic."""
        import numpy as np  # noqa: PLC0415 - keep --help fast

        names = np.asarray(list(mdata.mod))
        has = np.stack([mdata.obs_names.isin(mdata[name].obs_names) for name in names], axis=1)
        return cls(frozenset(names.tolist()), frozenset(frozenset(names[p].tolist()) for p in np.unique(has, axis=0)))


Refusal = Callable[[Shape], str | None]


def _never(_: Shape) -> str | None:
    return None


@dataclass(frozen=True)
class Environment:
    """Virtual environment of a method.

    Attributes
    ----------
    requirements
        Pinned requirements for pip.
    bare
        Packages that pip installs without dependencies, after `requirements`.
    oldest, newest
        Supported Python versions, both included; None for no limit.
    """

    name: str
    requirements: tuple[str, ...]
    bare: tuple[str, ...] = ()
    oldest: tuple[int, int] = _OLDEST
    newest: tuple[int, int] | None = None

    def unsuited(self, version: tuple[int, int] | None = None) -> str | None:
        """Return why a Python version is not supported, or None if it is."""
        found = version or sys.version_info[:2]
        if self.oldest <= found and (self.newest is None or found <= self.newest):
            return None
        wanted = f"{self.oldest[0]}.{self.oldest[1]} or newer"
        if self.newest is not None:
            wanted = f"{self.oldest[0]}.{self.oldest[1]} to {self.newest[0]}.{self.newest[1]}"
        return f"needs Python {wanted}, found {found[0]}.{found[1]}"


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes
    ----------
    name
        Name in the table and on the command line.
    script
        File in ``methods/``; it runs as ``PYTHON script --task T --truth T --out R --seed N [--seconds S] [--epochs N]``.
    description
        What it is and how it is used, for the notes below the table.
    environment
        Environment that it runs in; None for that of this package.
    refuses
        Returns why it cannot do a task; None if it can.
    iterates
        Whether a limit on training seconds applies.
    as_long_as
        Another method whose training CPU seconds, for the same task and seed, are the limit of this one.
    folder
        Folder of the script.
    """

    name: str
    script: str
    description: str
    environment: Environment | None = None
    refuses: Refusal = field(default=_never)
    iterates: bool = False
    as_long_as: str | None = None
    folder: Path = SCRIPTS


def _needs_rna_everywhere(shape: Shape) -> str | None:
    if not {"rna", "adt"} <= shape.modalities:
        return "models RNA together with proteins; the task lacks one of them"
    if "atac" in shape.modalities:
        return "has no model of chromatin accessibility"
    if any("rna" not in cells for cells in shape.combinations):
        return "needs RNA in every cell; some cells have none"
    return None


def _needs_rna_or_atac(shape: Shape) -> str | None:
    if "rna" not in shape.modalities:
        return "its set-up needs RNA in some cells; the task has none"
    return None


def _not_for_this_python(_: Shape) -> str | None:
    return "not run: its releases on PyPI are for Python below 3.11 or from 3.12, and the benchmark is kept on 3.11"


def _needs_pairs(shape: Shape) -> str | None:
    if len(shape.modalities) < 2:
        return "predicts one modality from another; the task has one"
    if all(len(cells) == 1 for cells in shape.combinations):
        return "learns from cells measured in two modalities; the task has none"
    if all(cells == shape.modalities for cells in shape.combinations):
        return "imputes only; no cell lacks a modality"
    return None


def _nothing_shared(shape: Shape) -> str | None:
    """Factorisations need a chain of shared cells or features; as modalities share no features, cells must link them."""
    groups: list[set[str]] = []
    for cells in shape.combinations:
        joined = set(cells)
        rest = []
        for group in groups:
            if group & joined:
                joined |= group
            else:
                rest.append(group)
        groups = [*rest, joined]
    return "needs cells that link the modalities; the task has none" if len(groups) > 1 else None


_SCVI = Environment("scvi", (TORCH, "scvi-tools==1.4.2", _MUDATA))
# scmidas requires torch<2.11 with torchvision and torchaudio. It imports neither of the latter and runs unchanged with the torch
# used here, so all methods have the same one.
_SCMIDAS = Environment(
    "scmidas",
    (
        TORCH, "lightning>=2.4,<2.7", "anndata>=0.11,<0.13", _MUDATA, "scanpy>=1.10,<2", "tqdm>=4.64,<5", "requests<3", "toml<1",
        "natsort<9", "matplotlib>=3.7,<4", "scikit-learn>=1.4,<2", "pandas>=2,<3", "numpy>=1.26,<3", "scipy>=1.12,<2",
    ),
    bare=("scmidas==0.3.0",),
)  # fmt: skip


def _registry(*methods: Method) -> Mapping[str, Method]:
    return MappingProxyType({method.name: method for method in methods})


METHODS: Final = _registry(
    Method("midas", "run_midas.py", "this package at its defaults"),
    Method(
        "scmidas",
        "run_scmidas.py",
        "the published package, 2,000 epochs as its documentation advises for real data",
        _SCMIDAS,
        iterates=True,
    ),
    Method(
        "scmidas-equal-time",
        "run_scmidas.py",
        "the same, stopped after as many CPU seconds of training as this package took on that task",
        _SCMIDAS,
        iterates=True,
        as_long_as="midas",
    ),
    Method("totalvi", "run_totalvi.py", "scvi-tools, defaults", _SCVI, _needs_rna_everywhere, iterates=True),
    Method("multivi", "run_multivi.py", "scvi-tools, defaults", _SCVI, _needs_rna_or_atac, iterates=True),
    Method("multigrate", "", "not run", refuses=_not_for_this_python),
    Method(
        "scmomat",
        "run_scmomat.py",
        "the settings of its tutorial: 30 factors, 4,000 steps",
        Environment("scmomat", (TORCH, "scmomat==0.2.2", _MUDATA)),
        _nothing_shared,
    ),
    Method(
        "mofa",
        "run_mofa.py",
        "MOFA+ (mofapy2), batches as groups, 15 factors, at most 5,000 variable features of a modality",
        Environment("mofa", ("mofapy2==0.7.5", _MUDATA, "scikit-learn>=1.4")),
        _nothing_shared,
    ),
    Method(
        "harmony",
        "run_harmony.py",
        "harmonypy on the joined PCA",
        Environment("harmony", ("harmonypy==2.1.0", _MUDATA, "scikit-learn>=1.4")),
    ),
    Method("pca", "run_pca.py", "30 components of each modality side by side, zeros where a cell lacks one"),
    Method(
        "knn", "run_knn.py", "imputation by 20 nearest neighbours on 20 components; no embedding", refuses=_needs_pairs
    ),
    Method(
        "ridge", "run_ridge.py", "imputation by ridge regression on 20 components; no embedding", refuses=_needs_pairs
    ),
)


def parse_methods(names: str | None) -> list[Method]:
    """Look up methods by comma-separated names; None for all.

    Raises
    ------
    ValueError
        If there is no such method.
    """
    wanted = list(METHODS) if names is None else [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in METHODS]
    if unknown or not wanted:
        msg = f"Expected methods out of {', '.join(METHODS)}, found {', '.join(unknown) or 'none'}."
        raise ValueError(msg)
    # In the order of the registry, as a method may need another one's time.
    return [method for name, method in METHODS.items() if name in wanted]
