"""Fields of a command's dataclasses are its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from midas.cli.options import grouped


@dataclass(frozen=True)
class Where:
    place: Annotated[str, typer.Argument(help="A place.")]
    floor: Annotated[int, typer.Option("--floor", "-f", min=0)] = 3


@dataclass(frozen=True)
class How:
    fast: Annotated[bool, typer.Option("--fast")] = False
    names: Annotated[list[str] | None, typer.Option("--name")] = None


def go(how: How, where: Where, times: Annotated[int, typer.Option()] = 1) -> None:
    """Go somewhere."""
    typer.echo(repr((how, where, times)))


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(grouped(go))
    return made


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["home"], (How(), Where("home"), 1)),
        (["--fast", "-f", "0", "home", "--times", "2"], (How(fast=True), Where("home", 0), 2)),
        (["home", "--name", "a", "--name", "b"], (How(names=["a", "b"]), Where("home"), 1)),
    ],
)
def test_options_arrive_in_their_groups(app: typer.Typer, arguments: list[str], expected: object) -> None:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.strip() == repr(expected)


@pytest.mark.parametrize("arguments", [[], ["home", "--floor", "-1"], ["home", "--how", "fast"]])
def test_a_field_without_default_is_required_and_limits_hold(app: typer.Typer, arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_the_help_is_the_commands_own(app: typer.Typer) -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert all(part in text for part in ("Go somewhere.", "A place.", "--floor", "--fast", "--times"))
    assert "--how" not in text
