"""``midas.report``: from a model and its data to a page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from midas.files import replacing
from midas.reporting.choices import Choices, check_page

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from midas.model import MIDAS

logger = logging.getLogger(__name__)


def report(  # noqa: PLR0913 - one keyword each
    model: MIDAS,
    data: MuData | AnnData,
    path: str | Path,
    *,
    columns: Sequence[str] | str | None = None,
    label: str | None = None,
    features: Sequence[str] | str = (),
    cell_names: bool = True,
    most_cells: int = 50_000,
    title: str = "MIDAS integration",
    command: str | None = None,
    seed: int = 0,
) -> Path:
    """Write one self-contained HTML page about an integration. It opens offline and makes no network requests.

    The page shows the input, the course of training, the embedding as an interactive plot, diagnostics in plain sentences, what
    to try next, and how to repeat the run. It contains the names of the cells drawn and the columns shown: choose them before you
    share a page.

    Parameters
    ----------
    model
        A trained model.
    data
        The model's own data, or new cells; one row of obs per cell.
    path
        Path of the page, ``.html``; replaced in one step once it is complete.
    columns
        Columns of obs to show; None for up to 16 that can be drawn. The batch and each cell's modalities are always included.
    label
        Column of obs with cell types, used by the diagnostics; None for the first one named ``cell_type`` or similar.
    features
        Features to colour by in addition to the most informative ones: ``CD3E``, or ``adt:CD3`` to specify the modality.
    cell_names
        Whether the page includes cell names.
    most_cells
        Maximum number of cells in the plot. If there are more, a sample is drawn in proportion to batches, modalities and types,
        and the page says so.
    title
        Title of the page.
    command
        Command that repeats the run, shown at the end of the page; None for lines of Python.
    seed
        Seed of samples and layout.

    Returns
    -------
    The path.

    Examples
    --------
    >>> import midas
    >>> mdata = midas.simulate.mosaic(midas.simulate.SimulationConfig(n_cells=120, n_genes=40, n_peaks=60, n_proteins=8))
    >>> config = midas.Config.from_dict({"training": {"epochs": 2}})
    >>> model = midas.MIDAS(mdata, config=config).fit(progress=False)
    >>> midas.report(model, mdata, "report.html", label="cell_type", features=["adt:PROT01"]).name
    'report.html'
    """
    page = Path(path)
    check_page(page)
    # The page's dependencies are slow to import, and optional.
    from midas.reporting.content import gather_content  # noqa: PLC0415
    from midas.reporting.render import render  # noqa: PLC0415

    columns = [columns] if isinstance(columns, str) else columns
    features = [features] if isinstance(features, str) else features
    logger.info("Writing the report ...")
    choices = Choices(None if columns is None else tuple(columns), label, tuple(features), cell_names, most_cells)
    content = gather_content(model, data, choices, seed=seed, title=title, command=command)
    text = render(content)
    with replacing(page) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return page
