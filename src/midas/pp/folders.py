"""Find the matrices to read in a folder, at any depth, and skip duplicates, as Cell Ranger writes several per sample."""

from __future__ import annotations

import re
from pathlib import Path

from midas.io import DataFileError
from midas.pp.mtx import MtxFiles, find_mtx
from midas.pp.samples import listed

Place = Path | MtxFiles

_FILES = frozenset({".h5", ".h5ad", ".h5mu"})
_FILTERED = re.compile(r"filtered.*bc_matri|^filtered$")
_RAW = re.compile(r"(^|[^a-z])raw_(feature|gene|peak)\w*_matri|^raw$")
_MOLECULES = re.compile(r"molecule_info")


def in_folder(folder: Path) -> tuple[list[Place], list[str]]:
    """List the matrices in a folder and its subfolders, and report those that are skipped.

    Of the output of Cell Ranger and STARsolo, only the filtered cells are used, and the ``.h5`` file rather than the folder of
    the same name. A folder with matrix.mtx is one sample, whatever else it contains.

    Returns
    -------
    The files and mtx folders to read, and notes for the user.

    Raises
    ------
    DataFileError
        If there is nothing to read, or files that belong to a matrix are missing.
    """
    found, beside = _inside(folder)
    kept = [place for place in found if not _MOLECULES.search(_name(place))]
    if any(_FILTERED.search(_name(place)) for place in kept):
        kept = [place for place in kept if not _RAW.search(_name(place)) and not _foreign(place)]
    over = [place for place in found if place not in kept]
    files = {str(place) for place in kept if isinstance(place, Path)}
    kept = [p for p in kept if not (isinstance(p, MtxFiles) and not p.prefix and f"{p.folder}.h5" in files)]
    if not kept:
        there = listed(sorted(path.name for path in folder.iterdir())) or "nothing"
        msg = (
            f"{folder}: expected a folder with matrix.mtx, barcodes.tsv and features.tsv, or one that holds such folders or "
            f".h5, .h5ad or .h5mu files, found {there}."
        )
        raise DataFileError(msg)
    notes = []
    for places, why in ((over, "filtered cells were taken"), (beside, "matrix.mtx was taken")):
        if places:
            names = listed([str(_path(place).relative_to(folder)) for place in places])
            notes.append(f"{folder}: {why}, and passed over: {names}.")
    return kept, notes


def _inside(folder: Path) -> tuple[list[Place], list[Place]]:
    """List readable files, and the files next to a matrix.mtx."""
    here = find_mtx(folder)
    files = [path for path in sorted(folder.iterdir()) if path.suffix in _FILES and not path.is_dir()]
    if here:
        return [*here], [*files]
    found: list[Place] = [*files]
    beside: list[Place] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            deeper, by_them = _inside(path)
            found += deeper
            beside += by_them
    return found, beside


def _path(place: Place) -> Path:
    return place if isinstance(place, Path) else place.matrix if place.prefix else place.folder


def _name(place: Place) -> str:
    return place.prefix or place.folder.name if isinstance(place, MtxFiles) else place.stem


def _foreign(place: Place) -> bool:
    """Whether an .h5 file in Cell Ranger output is not a cell matrix."""
    return isinstance(place, Path) and place.suffix == ".h5" and "bc_matri" not in place.name
