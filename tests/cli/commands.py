"""Commands as their user runs them."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from midas.cli import app

START = ["in.h5mu", "tiny.toml"]


def midas(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def integrate(*arguments: str, data: str = "in.h5mu", output: str = "out.h5mu") -> Result:
    return midas("integrate", data, "-o", output, "--config", "tiny.toml", *arguments)
