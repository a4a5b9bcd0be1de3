"""Shared by all commands: options, logging, and error handling."""

from __future__ import annotations

import logging
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler

if TYPE_CHECKING:
    from midas.model import MIDAS

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C."""

# The package's advice to Python users, and its equivalent on the command line.
_AS_OPTIONS: Final = {
    "with batch_key=, or say batch_key=None if": "with --batch-key, or say --batch-key none if",
    "Name the column with batch_key=: of MIDAS.load(), of model.read(data, batch_key=...) in place of data, or of "
    "midas.transfer.Query(data, batch_key=...) to map them; None where all cells are one batch.": (
        "Name the column with --batch-key, or say --batch-key none if all cells are one batch."
    ),
    "midas.pp.prepare() takes counts from there.": "midas prepare takes counts from there.",
    "midas.pp.prepare() names them alike.": "midas prepare names them alike.",
    "Start without resume": "Delete the file or name another with --checkpoint",
    "with layer=.": "with --layer.",
    "midas.pp.prepare(data, schema=model.schema) does so.": "midas prepare --reference MODEL does so.",
    "midas.pp.prepare() takes them if they are counts.": "midas prepare takes them if they are counts.",
    "as midas.pp.prepare() does,": "as midas prepare does,",
    "midas.pp.prepare() sums them.": "midas prepare sums them.",
    "If it is another, say so: {'adt': adata} in place of adata.": (
        "If it is another, write it as a modality of that name (rna, adt, atac) into an .h5mu file."
    ),
    "midas.pp.prepare() makes a modality of them; or give {'rna': adata, 'adt': ...}.": (
        "midas prepare makes a modality of them."
    ),
    "Save it with save(with_counts=20000), or map with midas.transfer.query_to_reference(), which": (
        "Save it with midas integrate --model DIR --with-counts 20000, or map with --mode query_to_reference, which"
    ),
}

Data = Annotated[Path, typer.Argument(help="An .h5mu or .h5ad file with raw counts.", show_default=False)]
BatchKey = Annotated[
    str, typer.Option(help="Column of obs that names each cell's batch; 'none' when all cells are one batch.")
]
Layer = Annotated[
    str | None, typer.Option(help="Layer that holds the counts, instead of X; by modality: rna=counts,adt=raw.")
]
Seed = Annotated[int, typer.Option(help="Same seed, same data, same machine: same result.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        help='TOML file with tables [network], [objective], [training], [inference]; `preset = "paper"` for the published set-up.'
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@dataclass(frozen=True)
class DataOptions:
    """Where the counts are."""

    data: Data
    batch_key: BatchKey = "batch"
    layer: Layer = None


@dataclass(frozen=True)
class QueryOptions:
    """Where the counts of a query are."""

    data: Data
    batch_key: Annotated[
        str | None,
        typer.Option(
            help="Column of obs that names each cell's batch; 'none' when all cells are one batch. That of the reference's own "
            "data if left out."
        ),
    ] = None
    layer: Annotated[
        str | None,
        typer.Option(
            help="Layer that holds the counts; by modality: rna=counts,adt=raw; X for X itself. That of the reference's own data "
            "if left out."
        ),
    ] = None


def key_of(batch_key: str) -> str | None:
    """Column of obs named by an option."""
    return None if batch_key == "none" else batch_key


def names_of(text: str) -> tuple[str, ...]:
    """Comma-separated names of an option, stripped of blanks."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def layer_of(layer: str | None) -> str | dict[str, str] | None:
    """Layer that an option names, or by modality."""
    if layer is None or "=" not in layer:
        return layer
    return {name.strip(): key.strip() for name, _, key in (part.partition("=") for part in names_of(layer))}


def command_line(context: typer.Context) -> str:
    """Return the current command as the user could type it again, arguments before options."""
    words = context.command_path.split()
    for parameter in sorted(context.command.params, key=lambda parameter: parameter.param_type_name != "argument"):
        name = parameter.name or ""
        source, value = context.get_parameter_source(name), context.params.get(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif getattr(parameter, "is_flag", False):
            words.append(max(parameter.opts if value else parameter.secondary_opts, key=len))
        else:
            words += [max(parameter.opts, key=len), str(value)]
    return shlex.join(words)


def log_to(console: Console) -> None:
    """Show the package's log on the console only."""
    handler = RichHandler(console=console, show_path=False, show_time=False, markup=False)
    handler.addFilter(_as_typed)
    # Feature names shared by two modalities do not matter here: features are looked up per modality.
    warnings.filterwarnings("ignore", module="mudata")
    # The package reports this itself where it matters.
    warnings.filterwarnings("ignore", message=".*names are not unique", module="anndata")
    package = logging.getLogger("midas")
    package.handlers = [handler]
    package.propagate = False
    package.setLevel(logging.INFO)


def as_options(text: str) -> str:
    """Replace advice on Python code by advice on options."""
    for words, options in _AS_OPTIONS.items():
        text = text.replace(words, options)
    return text


def _as_typed(record: logging.LogRecord) -> bool:
    record.msg, record.args = as_options(record.getMessage()), None
    return True


def tell_if_interrupted(console: Console, model: MIDAS, checkpoint: Path | None = None) -> None:
    """Exit with a code of its own after a training stopped by Ctrl-C, so that scripts do not take it for complete.

    Raises
    ------
    typer.Exit
        When it was.
    """
    if not model.interrupted:
        return
    on = f" The same command goes on from {checkpoint}." if checkpoint is not None and checkpoint.exists() else ""
    console.print(
        f"[yellow]Interrupted:[/] the results are those of {len(model.history):,} epochs, not of a whole training.{escape(on)}",
        highlight=False,
        soft_wrap=True,
    )
    raise typer.Exit(INTERRUPTED)


class errors:  # noqa: N801 - used like a function
    """Turn errors that the user can fix into one message and exit code 1; others keep their traceback."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        expected = (ValueError, KeyError, TypeError, OSError, ArithmeticError, ImportError)
        if isinstance(error, KeyboardInterrupt):
            self._fail(
                "Interrupted. Files that were whole by then are kept; no file is left half-written.", INTERRUPTED
            )
        if isinstance(error, expected) or _not_fitted(error):
            self._fail(str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error), 1)

    def _fail(self, message: str, code: int) -> NoReturn:
        Console(stderr=True).print(
            f"[bold red]Error:[/] {escape(as_options(message))}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(code)


def _not_fitted(error: BaseException | None) -> bool:
    """Whether a model lacks what was requested; other errors of the same base class are internal."""
    if not isinstance(error, RuntimeError):
        return False
    from midas.model import NotFittedError  # noqa: PLC0415 - keep --help fast

    return isinstance(error, NotFittedError)


def escape(text: str) -> str:
    """Keep square brackets from being read as markup."""
    from rich.markup import escape as escaped  # noqa: PLC0415

    return escaped(text)
