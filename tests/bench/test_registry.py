"""Which method can do what, where scripts and environments are, and choosing by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from helpers import simulated
from midas.bench import METHODS, SOURCES, Shape, data, environments
from midas.bench.data import grid
from midas.bench.registry import SCRIPTS, Environment, Method, parse_methods


def shape(*combinations: str) -> Shape:
    cells = frozenset(frozenset(names.split("+")) for names in combinations)
    return Shape(frozenset().union(*cells), cells)


def refusing(*combinations: str) -> set[str]:
    return {name for name, method in METHODS.items() if method.refuses(shape(*combinations))} - {"multigrate"}


def test_the_shape_of_a_mosaic_is_read_per_cell() -> None:
    found = Shape.of(simulated(mosaic=("rna+adt", "rna"), unpaired_fraction=0.5))
    assert found.modalities == {"rna", "adt"}
    assert found.combinations == {frozenset({"rna", "adt"}), frozenset({"rna"}), frozenset({"adt"})}


def test_who_cannot_do_what() -> None:
    assert refusing("rna+adt", "rna") == set()
    assert refusing("rna+adt") == {"knn", "ridge"}  # nothing to impute
    assert refusing("rna+adt", "rna", "adt") == {"totalvi"}
    assert refusing("rna+adt", "rna+atac") == {"totalvi"}
    assert refusing("rna", "adt") == {"totalvi", "scmomat", "mofa", "knn", "ridge"}
    assert refusing("adt") == {"totalvi", "multivi", "knn", "ridge"}
    assert refusing("adt+atac", "adt") == {"totalvi", "multivi"}


def test_every_method_has_its_script_in_the_package_and_pins_what_it_installs() -> None:
    for method in METHODS.values():
        if method.script:
            assert (SCRIPTS / method.script).is_file()
        else:
            assert method.refuses(shape("rna+adt", "rna"))
        if method.environment:
            named = (*method.environment.requirements, *method.environment.bare)
            assert all("=" in requirement or "<" in requirement for requirement in named)
    assert not (SCRIPTS / "__init__.py").exists()


def test_methods_are_chosen_by_name_in_the_order_they_depend_on_each_other() -> None:
    assert [m.name for m in parse_methods("scmidas-equal-time, midas")] == ["midas", "scmidas-equal-time"]
    assert len(parse_methods(None)) == len(METHODS)
    with pytest.raises(ValueError, match=r"Expected methods out of midas, .*, found magic\."):
        parse_methods("midas,magic")


def test_tasks_are_chosen_by_name() -> None:
    assert [(s.name, t) for s, t in grid("wnn,bmmc", None, quick=False)] == [
        ("wnn", "given"), ("wnn", "split"), ("bmmc", "given"),
    ]  # fmt: skip
    assert [(s.name, t) for s, t in grid(None, None, quick=True)] == list(data.QUICK)
    assert [(s.name, t) for s, t in grid(None, "split", quick=False)] == [("wnn", "split")]
    assert len(SOURCES["standin"].tasks) == 14
    with pytest.raises(ValueError, match="found full"):
        grid("wnn", "full", quick=False)
    with pytest.raises(ValueError, match="Expected data sets out of wnn"):
        grid("nowhere", None, quick=False)


def test_an_environment_is_made_once_and_says_why_it_could_not_be(tmp_path: Path) -> None:
    good = Method("good", "", "", Environment("good", ()))
    bad = Method("bad", "", "", Environment("bad", ("no-such-package @ file:///nowhere/none.whl",)))
    new = Method("new", "", "", Environment("new", (), oldest=(99, 0)))
    (tmp_path / "good").mkdir()
    # An environment without packages stands for one that pip could make; making a real one takes seconds and a network.
    card = {"requirements": environments._fingerprint(good.environment), "reason": None}  # type: ignore[arg-type]
    (tmp_path / "good" / "environment.json").write_text(json.dumps(card))
    (tmp_path / "good" / "bin").mkdir()
    (tmp_path / "good" / "bin" / "python").symlink_to(sys.executable)
    found = environments.prepare((good, new), tmp_path)
    assert found == {"good": None, "new": f"needs Python 99.0 or newer, found 3.{sys.version_info[1]}"}
    assert environments.interpreter(good, tmp_path) == tmp_path / "good" / "bin" / "python"
    assert environments.interpreter(new, tmp_path) == found["new"]
    assert "has not been made" in str(environments.interpreter(bad, tmp_path))
    assert environments.interpreter(METHODS["midas"], tmp_path) == Path(sys.executable)
    changed = Method("good", "", "", Environment("good", ("more==1",)))
    assert "has not been made" in str(environments.interpreter(changed, tmp_path))


def test_pip_s_complaint_is_kept(tmp_path: Path) -> None:
    bad = Environment("bad", ("no-such-package @ file:///nowhere/none.whl",))
    reason = environments.prepare((Method("bad", "", "", bad),), tmp_path)["bad"]
    assert reason is not None
    assert reason.startswith("could not be installed: ERROR:")
    assert environments.interpreter(Method("bad", "", "", bad), tmp_path) == reason
