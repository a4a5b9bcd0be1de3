"""Settings of mapping and label transfer, read from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from midas.config.fields import overridden, read_toml, refuse_unknown
from midas.transfer.config import TransferConfig
from midas.transfer.voting import LabelConfig


def read_settings(path: str | Path) -> tuple[TransferConfig | None, LabelConfig | None]:
    """Read a TOML file with the tables ``[transfer]`` and ``[labels]``; None for a table that is missing.

    ``preset = "paper"`` in ``[transfer]`` changes the defaults of that table.

    Raises
    ------
    ValueError
        If a name or a value is not valid; the message names the file.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("map.toml").write_text("transfer.query_anchor = 100.0")
    >>> midas.transfer.read_settings("map.toml")[0].query_anchor
    100.0
    """
    try:
        values = read_toml(path)
        refuse_unknown("the settings of a mapping", set(values), {"transfer", "labels"})
        transfer = _transfer(values["transfer"]) if "transfer" in values else None
        labels = overridden("labels", LabelConfig(), values["labels"]) if "labels" in values else None
    except (ValueError, TypeError) as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error
    return transfer, labels


def _transfer(table: Any) -> TransferConfig:  # noqa: ANN401 - whatever the file has
    given = dict(table) if isinstance(table, dict) else table
    preset = given.pop("preset", "default") if isinstance(given, dict) else "default"
    bases = {"default": TransferConfig, "paper": TransferConfig.paper}
    if preset not in bases:
        msg = f"Expected a preset out of {sorted(bases)}, found {preset!r}."
        raise ValueError(msg)
    found: TransferConfig = overridden("transfer", bases[preset](), given)
    return found
