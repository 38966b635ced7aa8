"""`riverone recipes`: list, copy, validate."""

from __future__ import annotations

from pathlib import Path

from riverone_hf.build import list_recipes, load_recipe
from riverone_hf.build.recipe import recipes_folder


def test_ls_names_every_recipe_and_what_was_never_run(run) -> None:
    result = run("recipes", "ls")
    lines = {line.split("\t")[0]: line.split("\t")[1:] for line in result.stdout.splitlines()}
    assert result.exit_code == 0 and list(lines) == list_recipes()
    assert lines["4b"][0] == "parsed, never run" and lines["smoke"][0] == "run"
    assert lines["smoke"][1] == "model warmup sft_icl sft mpo evaluate"


def test_cp_makes_a_recipe_of_ones_own(run, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    assert run("recipes", "cp", "smoke", target).stdout == f"{target}\n"
    names = {path.name for path in (recipes_folder() / "smoke").iterdir()}
    assert {path.name for path in target.iterdir()} == names
    assert load_recipe(str(target)).stages == load_recipe("smoke").stages
    again = run("recipes", "cp", "smoke", target)
    assert again.exit_code == 2 and "exists already" in again.stderr
    unknown = run("recipes", "cp", "none", tmp_path / "x")
    assert unknown.exit_code == 2 and "Expected one of: " in unknown.stderr and not (tmp_path / "x").exists()


def test_validate_finds_the_wrong_key(run, tmp_path: Path) -> None:
    assert run("recipes", "validate").stdout.count(": valid") == len(list_recipes())
    target = tmp_path / "mine"
    run("recipes", "cp", "smoke", target)
    file = target / "4_mpo.yaml"
    assert run("recipes", "validate", file).stdout == f"{file}: valid\n"
    file.write_text(file.read_text() + "betta: 2\n")
    for what in (file, target):
        result = run("recipes", "validate", what)
        assert result.exit_code == 2 and "betta" in result.stderr and result.stderr.count("\n") == 1
    file.write_text(file.read_text().replace("betta: 2\n", "").replace("beta: 0.1", "beta: 0"))
    assert "greater than 0" in run("recipes", "validate", file).stderr
