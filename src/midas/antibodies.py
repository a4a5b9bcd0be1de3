"""Protein names: map antibody names to proteins by the package's table, and recognise isotype controls."""

from __future__ import annotations

import functools
import importlib.resources
import re
from dataclasses import dataclass

import pandas as pd
from anndata import AnnData

_GREEK = str.maketrans({"α": "a", "β": "b", "γ": "g", "δ": "d", "ε": "e", "κ": "k", "λ": "l"})
# What makers and pipelines put around the name: barcode sequences, product lines, species.
_SEQUENCE = re.compile(r"[-_.][ACGT]{10,}$")
_PRODUCT = re.compile(r"[-_. ]*(?:totalseq|total|ts)[-_. ]?[abcd](?:[-_. ]?\d{3,5})?$", re.IGNORECASE)
_SUFFIX = re.compile(r"[-_. ]*(?:recombinant|antibody|adt|protein|prot|pabo)$", re.IGNORECASE)
_PREFIX = re.compile(
    r"^(?:(?:adt|ab|prot|protein|cite)[-_. :]+)?(?:anti[-_. ])?(?:(?:human|mouse|humsrt|hums|hu|ms)"
    r"(?:[/_.-](?:human|mouse|rat))*[-_. ]+)?",
    re.IGNORECASE,
)
_TAGGED = re.compile(
    r"totalseq|[-_. ](?:adt|antibody|prot|protein|pabo)$|^(?:adt|ab|anti)[-_. :]|isotype", re.IGNORECASE
)
_CONTROL = re.compile(
    r"isotype"
    r"|^(?:mouse|rat|armenian[-_. ]*hamster|syrian[-_. ]*hamster|hamster|goat|rabbit|ms|rt)[-_. ]*igg"
    r"|^ig[gam]\d?[abc]?[-_. ]*(?:[κk]|kappa)?[-_. ,]*(?:control|ctrl)"
    r"|^igg[-_. ]?(?:1|2[abc])(?:[-_. ,]*(?:[κkλl]|kappa|lambda))?$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"^(?P<base>.+?)[-_. /](?P<clone>[1-9])$")
# Clones have letters and a number (UCHT1, RPA-T4, 2D1, M-A251): a remainder without both may well be part of the name.
_CLONE = re.compile(r"^(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9.\-_/()]{2,}$")


@dataclass(frozen=True)
class Protein:
    """Protein that an antibody name refers to.

    Attributes
    ----------
    name
        The protein's name in all panels.
    genes
        Symbols of the genes that encode it, the main one first; empty if unknown.
    known
        Whether it is in the table; otherwise `name` is the given name without affixes.
    """

    name: str
    genes: tuple[str, ...]
    known: bool


class ProteinTable:
    """Names of proteins: a frame with the columns `protein`, `genes` and `aliases` (the latter two separated by ``;``)."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self._of: dict[str, Protein] = {}
        owners: dict[str, set[str]] = {}
        for row in frame.itertuples(index=False):
            genes = split_names(row.genes)
            protein = Protein(str(row.protein).strip(), genes, known=True)
            for name in (protein.name, *split_names(row.aliases)):
                # Later rows are the user's and have precedence.
                self._of[squeeze(name)] = protein
            for gene in genes:
                owners.setdefault(squeeze(gene), set()).add(protein.name)
        for row in frame.itertuples(index=False):
            genes = split_names(row.genes)
            # A gene's symbol names its protein, unless several proteins share the gene (HLA-A, PTPRC).
            if len(genes) == 1 and len(owners[squeeze(genes[0])]) == 1:
                self._of.setdefault(squeeze(genes[0]), self._of[squeeze(str(row.protein))])

    def find(self, name: str) -> Protein:
        """Find the protein that an antibody name refers to.

        Examples
        --------
        >>> midas.pp.protein_table().find("cd56_TotalSeqB").name
        'CD56'
        """
        plain = tidy(name)
        found = self._resolve(plain)
        return found if found is not None else Protein(plain, (), known=False)

    def _resolve(self, plain: str) -> Protein | None:
        exact = self._of.get(squeeze(plain))
        if exact is not None:
            return exact
        if "(" in plain:
            outside = re.sub(r"\s*\([^)]*\)", "", plain).strip()
            shorter = _SUFFIX.sub("", outside)
            if shorter and shorter != plain:
                return self._resolve(shorter)
        number = _NUMBER.match(plain)
        if number is not None and squeeze(number["base"]) in self._of:
            return self._of[squeeze(number["base"])]
        return self._pieces(plain)

    def _pieces(self, plain: str) -> Protein | None:
        """Resolve a name with an alias (``CD307c/FcRL3``) or with a clone suffix (``CD4-RPA-T4``)."""
        for cut in reversed([m.start() for m in re.finditer(r"[-_./ :]", plain)]):
            base, rest = self._of.get(squeeze(plain[:cut])), plain[cut + 1 :]
            if base is None or not rest:
                continue
            other = self._of.get(squeeze(rest))
            if other is not None:
                return base if other == base else None
            return base if _CLONE.match(rest) else None
        return None


def tidy(name: str) -> str:
    """Strip prefixes and suffixes of vendors and pipelines, but nothing that distinguishes proteins."""
    plain = str(name).translate(_GREEK).split("|", maxsplit=1)[0].strip()
    for pattern in (_SEQUENCE, _PRODUCT, _SUFFIX):
        shorter = pattern.sub("", plain).strip()
        plain = shorter or plain
    shorter = _PREFIX.sub("", plain, count=1).strip()
    return shorter or plain


def squeeze(name: str) -> str:
    """Remove case and separators from a name; kept between digits, as CD3-1 is not CD31."""
    lower = re.sub(r"(?<=\d)[^a-z0-9]+(?=\d)", ".", str(name).translate(_GREEK).lower())
    return re.sub(r"[^a-z0-9.]|(?<!\d)\.|\.(?!\d)", "", lower)


def is_control(name: str) -> bool:
    """Whether an antibody's name is that of an isotype control, such as ``IgG2a_control`` or ``Rat IgG1 Isotype Ctrl``."""
    plain = str(name).strip()
    for pattern in (_SEQUENCE, _PRODUCT):
        plain = pattern.sub("", plain)
    return _CONTROL.search(plain) is not None


@functools.cache
def own_table() -> ProteinTable:
    """Read the table that comes with the package."""
    file = importlib.resources.files("midas").joinpath("proteins.csv")
    with file.open(encoding="utf-8") as text:
        return ProteinTable(pd.read_csv(text, dtype=str, keep_default_na=False))


def split_names(text: object) -> tuple[str, ...]:
    """Read names that are separated by ``;``."""
    return tuple(part.strip() for part in str(text).split(";") if part.strip())


def protein_arrays(adata: AnnData) -> list[str]:
    """Keys of ``obsm`` with proteins in an object of another modality, as used by scvi-tools."""
    found = []
    for key, values in adata.obsm.items():
        plain = str(key).lower()
        named = not plain.startswith("x_") and ("protein" in plain or squeeze(plain) in {"adt", "antibodycapture"})
        if named or (isinstance(values, pd.DataFrame) and looks_like_proteins(pd.Index(values.columns.astype(str)))):
            found.append(str(key))
    return found


def tagged_antibodies(names: pd.Index) -> list[str]:
    """Names that are certainly antibodies: known proteins with a product suffix, and isotype controls.

    Examples
    --------
    >>> import pandas as pd
    >>> from midas.antibodies import tagged_antibodies
    >>> tagged_antibodies(pd.Index(["CD4", "CD8A", "CD3_TotalSeqB", "IgG2a_control_TotalSeqB", "PROT"]))
    ['CD3_TotalSeqB', 'IgG2a_control_TotalSeqB']
    """
    tagged = names[names.astype(str).str.contains(_TAGGED)].astype(str)
    return [name for name in tagged if is_control(name) or own_table().find(name).known]


def looks_like_proteins(names: pd.Index) -> bool:
    """Guess whether names are those of an antibody panel; CD4 and CD19 alone could also be genes."""
    if not 0 < len(names) <= 1000:
        return False
    table = own_table()
    symbols = {squeeze(gene) for text in table.frame["genes"] for gene in split_names(text)}
    known = [name for name in names if table.find(name).known or is_control(name)]
    telling = [name for name in known if squeeze(name) not in symbols]
    return len(known) > len(names) / 2 and len(telling) > len(names) / 10
