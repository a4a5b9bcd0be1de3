"""``midas map``: new data into a reference's space, with its labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from midas.cli.common import Quiet, Seed, Source, errors, key_of, layer_of, log_to, tell_if_interrupted
from midas.cli.options import grouped

if TYPE_CHECKING:
    from midas.model import MIDAS
    from midas.transfer import Labels, Mapped, Query
    from midas.transfer.config import Mode


@dataclass(frozen=True)
class Reference:
    """What is mapped to, how, and what of it the cells get."""

    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            "-r",
            help="A saved model: folder, URL of an archive, or hf://owner/name.",
            show_default=False,
        ),
    ]
    sha256: Annotated[str | None, typer.Option(help="Of the archive, when the reference is a URL.")] = None
    mode: Annotated[
        str | None,
        typer.Option(
            help="reciprocal (needs the reference's counts), query, transfer (likewise) or encode (no training); by default "
            "reciprocal where the reference has counts, else query."
        ),
    ] = None
    labels: Annotated[
        list[str] | None, typer.Option(help="Column of the reference's obs to transfer; may be given several times.")
    ] = None

    def load(self) -> tuple[MIDAS, Mode]:
        """Read the reference, and refuse a way of mapping or labels that it does not have."""
        from midas.model import MIDAS  # noqa: PLC0415 - keep --help fast
        from midas.transfer.automatic import check_mode  # noqa: PLC0415
        from midas.transfer.voting import check_columns  # noqa: PLC0415

        known = MIDAS.load(self.reference, sha256=self.sha256)
        mode = check_mode(known, self.mode)
        check_columns(known.cells, self.labels or [])
        return known, mode


@dataclass(frozen=True)
class Results:
    """What is written."""

    output: Annotated[Path, typer.Option("--output", "-o", help="Result, an .h5mu file.", show_default=False)]
    model: Annotated[
        Path | None, typer.Option(help="Folder to save the tuned model in: a reference for the next query.")
    ] = None
    impute: Annotated[
        bool, typer.Option("--impute", help="Add imputed counts of every modality of the reference for every cell.")
    ] = False


@grouped
def map_(
    reference: Reference,
    results: Results,
    source: Source,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Place new cells in a reference's space and give them its labels.

    The result is the query with `obsm["X_midas"]`, `obsm["X_midas_u"]`, and for each label column `obs["<label>_transferred"]`,
    `obs["<label>_confidence"]` and `obs["<label>_unknown_score"]`. Cells of a type that the reference lacks are `Unknown`.
    `--impute` adds counts as in `midas integrate`. The reference is not changed.

    Example: `midas map query.h5mu --reference model/ -o mapped.h5mu --labels cell_type`
    """
    console = Console(stderr=True, quiet=quiet)
    with errors(console):
        from midas.io import read_file  # noqa: PLC0415
        from midas.transfer import Query, label_cells, map_query  # noqa: PLC0415

        log_to(console)
        _check_targets(results, source, reference.reference)
        known, mode = reference.load()
        content = read_file(source.data)
        query = Query(
            content, batch_key=key_of(source.batch_key), layer=layer_of(source.layer), seed=seed, progress=not quiet
        )
        mapped = map_query(known, query, mode=mode)
        console.print(f"Mapped {int(mapped.is_query.sum()):,} cells ({mapped.mode}).")
        found = label_cells(mapped, reference.labels, seed=seed) if reference.labels else None
        if found is not None:
            _print_labels(console, found, reference.labels or [])
        _write(console, results, query, mapped, found)
        if mapped.mode != "encode":  # else the model is the reference, and nothing was trained
            tell_if_interrupted(console, mapped.model)


def _check_targets(results: Results, source: Source, reference: str) -> None:
    """Refuse what could not be written, before the tuning."""
    from midas.io import check_target  # noqa: PLC0415
    from midas.storage import check_folder  # noqa: PLC0415

    check_target(results.output, source.data)
    if results.model is not None:
        if results.model.resolve() == Path(reference).resolve():
            msg = f"Expected --model to be another folder than --reference, found {reference} for both. The reference is kept."
            raise ValueError(msg)
        check_folder(results.model)


def _write(console: Console, results: Results, query: Query, mapped: Mapped, found: Labels | None) -> None:
    from anndata import AnnData  # noqa: PLC0415
    from mudata import MuData  # noqa: PLC0415

    from midas.io import write_mapped  # noqa: PLC0415

    assert isinstance(query.data, MuData | AnnData)
    labels = None if found is None else found.table
    write_mapped(results.output, query.data, mapped, labels, impute=results.impute)
    console.print(f"Result: {results.output}")
    if results.model is not None:
        mapped.model.save(results.model)
        console.print(f"Model: {results.model}")


def _print_labels(console: Console, found: Labels, columns: list[str]) -> None:
    for column in columns:
        table = Table(title=column, title_justify="left")
        table.add_column("label")
        table.add_column("cells", justify="right")
        table.add_column("mean confidence", justify="right")
        given = found.table[f"{column}_transferred"]
        sure = found.table[f"{column}_confidence"].groupby(given, observed=True).agg(["size", "mean"])
        for label, n, mean in sure.sort_values("size", ascending=False).itertuples():
            table.add_row(str(label), f"{n:,}", f"{mean:.2f}")
        console.print(table)
