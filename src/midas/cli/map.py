"""``midas map`` and ``midas label``: new data into a reference's space, with its labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from midas.cli.common import QueryOptions, Quiet, Seed, errors, key_of, layer_of, log_to, names_of, tell_if_interrupted
from midas.cli.options import grouped

if TYPE_CHECKING:
    from midas.model import MIDAS
    from midas.transfer import LabelConfig, Labels, Mapped, Query
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
            help="reciprocal (needs the reference's counts), query_to_reference, reference_to_query (needs them, too) or encode "
            "(no training); by default reciprocal where the reference has counts, else query_to_reference."
        ),
    ] = None
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of the reference's obs to transfer; several by commas, or by giving it several times."
        ),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with tables [transfer] and [labels], for what the defaults do not fit."),
    ] = None


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
    source: QueryOptions,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Place new cells in a reference's space and give them its labels.

    The result is the query with `obsm["X_midas"]`, `obsm["X_midas_u"]`, and for each label column `obs["<label>_transferred"]`,
    `obs["<label>_confidence"]` and `obs["<label>_unknown_score"]`. Cells that look unlike every type of the
    reference are called `Unknown`; some new types are missed. `--impute` adds counts as in `midas integrate`. The reference is
    not changed.

    Example: `midas map query.h5mu --reference model/ -o mapped.h5mu --labels cell_type`
    """
    console = Console(stderr=True, quiet=quiet)
    with errors(console):
        log_to(console)
        _check_targets(results, source, reference.reference)
        labels = _columns(reference.labels)
        query, mapped, found = _map(reference, labels, source, seed, quiet=quiet)
        console.print(f"Mapped {int(mapped.is_query.sum()):,} cells ({mapped.mode}).")
        if found is not None:
            _print_labels(console, found, labels)
        _write(console, results, query, mapped, found)
        if mapped.mode != "encode":  # else the model is the reference, and nothing was trained
            tell_if_interrupted(console, mapped.model)


@grouped
def label(
    reference: Reference,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Table of the labels, a .csv or .tsv file.", show_default=False)
    ],
    source: QueryOptions,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Give new cells the labels of a reference, as a table: one row for each cell.

    For each label column: `<label>_transferred`, `<label>_confidence` and `<label>_unknown_score`, as `midas map` writes them
    into `obs`. The cells are mapped on the way; `midas map` keeps where they lie.

    Example: `midas label query.h5mu --reference model/ --labels cell_type -o labels.csv`
    """
    console = Console(stderr=True, quiet=quiet)
    with errors(console):
        from midas.files import replacing  # noqa: PLC0415

        log_to(console)
        labels = _columns(reference.labels)
        _check_table(output, labels)
        _, _, found = _map(reference, labels, source, seed, quiet=quiet)
        assert found is not None
        _print_labels(console, found, labels)
        with replacing(output) as scratch:
            found.table.to_csv(scratch, sep="\t" if output.suffix == ".tsv" else ",", index_label="cell")
        console.print(f"Labels: {output}")


def _map(
    options: Reference, labels: list[str], source: QueryOptions, seed: int, *, quiet: bool
) -> tuple[Query, Mapped, Labels | None]:
    """Map the cells of a file, and label them if columns were named."""
    from midas.io import read_file  # noqa: PLC0415
    from midas.transfer import Query, label_cells, map_query, read_settings  # noqa: PLC0415

    tuning, voting = (None, None) if options.config is None else read_settings(options.config)
    known, mode = _load(options, labels, voting)
    query = Query(
        read_file(source.data),
        batch_key=... if source.batch_key is None else key_of(source.batch_key),
        layer=... if source.layer is None else layer_of(source.layer),
        config=tuning,
        seed=seed,
        progress=not quiet,
    )
    mapped = map_query(known, query, mode=mode)
    return query, mapped, label_cells(mapped, labels, config=voting, seed=seed) if labels else None


def _load(options: Reference, labels: list[str], voting: LabelConfig | None) -> tuple[MIDAS, Mode]:
    """Load the reference, and refuse a mapping mode or labels that it does not have."""
    from midas.model import MIDAS  # noqa: PLC0415 - keep --help fast
    from midas.transfer.automatic import check_mode  # noqa: PLC0415
    from midas.transfer.voting import check_columns  # noqa: PLC0415

    known = MIDAS.load(options.reference, sha256=options.sha256)
    mode = check_mode(known, options.mode)
    check_columns(known.cells, labels, voting)
    return known, mode


def _columns(given: list[str] | None) -> list[str]:
    """Columns named by `--labels`, separated by commas or given several times."""
    return [name for text in given or [] for name in names_of(text)]


def _check_table(output: Path, labels: list[str]) -> None:
    from midas.files import check_writable  # noqa: PLC0415

    if not labels:
        raise ValueError("Expected --labels, the columns of the reference's obs to transfer, found none.")
    if output.suffix not in {".csv", ".tsv"}:
        msg = f"{output}: expected a table that ends in .csv or .tsv, found {output.suffix or 'no ending'!r}."
        raise ValueError(msg)
    check_writable(output)


def _check_targets(results: Results, source: QueryOptions, reference: str) -> None:
    """Refuse targets that cannot be written, before the tuning."""
    from midas.io.files import check_target  # noqa: PLC0415
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
