"""Embeddings of the same cells from all modalities, and from each modality alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from midas.data import Mosaic, MosaicData
    from midas.model import MIDAS, Part

JOINT = "joint"


def latents(model: MIDAS, data: MosaicData | Mosaic | None = None, *, part: Part = "c") -> dict[str, pd.DataFrame]:
    """Embed cells from each modality alone, and from all modalities that they have.

    Parameters
    ----------
    model
        A trained model.
    data
        New cells; None for the model's own data.
    part
        As in :meth:`midas.MIDAS.latent`.

    Returns
    -------
    Tables cells x dimensions by modality, and last under ``joint``, in the order of the data; NaN for unmeasured cells.

    Examples
    --------
    >>> import midas
    >>> size = midas.simulate.SimulationConfig(n_cells=200, n_genes=60, n_peaks=80, n_proteins=10)
    >>> config = midas.Config.from_dict({"training": {"epochs": 2}})
    >>> model = midas.MIDAS(midas.simulate.mosaic(size), config=config).fit(progress=False)
    >>> {name: table.shape for name, table in midas.tl.latents(model).items()}
    {'adt': (200, 32), 'atac': (200, 32), 'rna': (200, 32), 'joint': (200, 32)}
    """
    mosaic = model.mosaic_of(data)
    found = {name: model.latent(mosaic, modalities=[name], part=part) for name in model.modalities}
    found[JOINT] = model.latent(mosaic, part=part)
    return {name: pd.DataFrame(z, index=mosaic.cells.astype(str)) for name, z in found.items()}
