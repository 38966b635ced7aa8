"""Recipes: every shipped one is valid, every field has its comment, unknown keys are errors."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from riverone_hf.build import list_recipes, load_recipe
from riverone_hf.build.recipe import check_stage, load_stage, recipes_folder
from riverone_hf.errors import RecipeError
from riverone_hf.model import vision_riverone

ALL = list_recipes()
STAGE_FILES = sorted(recipes_folder().glob("*/[0-9]_*.yaml"))


def test_shipped_recipes():
    assert {"smoke", "nano", "4b"} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_recipe_is_valid_and_its_config_builds(name):
    from riverone_hf.build.stages import model_config
    from riverone_hf.model import RiverOneForConditionalGeneration

    recipe = load_recipe(name)
    with torch.device("meta"):
        RiverOneForConditionalGeneration(model_config(recipe))
    if name != "4b":
        assert recipe.model.tokenizer is not None, "only a recipe of base checkpoints brings its own tokenizer"


@pytest.mark.parametrize("path", STAGE_FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_every_stage_file_is_valid(path):
    check_stage(path)


@pytest.mark.parametrize("path", sorted(recipes_folder().glob("*/*.yaml")), ids=lambda path: "/".join(path.parts[-2:]))
def test_recipe_says_what_it_costs(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    for line in text.splitlines():
        # A value on the line itself; a section's heading and the inner lines of a list have none.
        if re.match(r"\s*\w+: [^\[\s]", line):
            assert "#" in line, f"{path}: no comment on the cost of: {line.strip()}"


def test_4b_has_the_counts_of_the_specification():
    from riverone_hf.build.stages import model_config
    from riverone_hf.model import RiverOneForConditionalGeneration

    with torch.device("meta"):
        model = RiverOneForConditionalGeneration(model_config(load_recipe("4b")))
    count = lambda module: sum(parameter.numel() for parameter in module.parameters())  # noqa: E731
    assert round(count(model.model.vision_tower) / 1e6, 1) == 446.6
    assert round(count(model.model.multi_modal_projector) / 1e6, 2) == 17.05
    linears = [m for m in model.model.language_model.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linears) == 252
    assert sum(linear.weight.numel() for linear in linears) == 3_633_315_840


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sft.stepz=3"], "override 'sft.stepz=3'"),
        (["sft.steps"], "expected stage.key=value"),
        (["sft.steps=many"], "sft.steps"),
        (["sft.steps=0"], "greater than or equal to 1"),
        (["warmup.data.workers=-1"], "warmup.data.workers"),
        (["model=off"], "override 'model=off'"),
        (["share=off"], "override 'share=off'"),
        (["mpo.beta=0"], "mpo.beta"),
        (["sft.freeze=[ears]"], "override 'sft.freeze="),
    ],
)
def test_bad_overrides(overrides, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("smoke", overrides)


def test_override_changes_the_fingerprint():
    assert load_recipe("smoke", ["sft.steps=61"]).fingerprint() != load_recipe("smoke").fingerprint()


def test_stages_can_be_left_out():
    assert load_recipe("smoke", ["mpo=off", "sft_icl=off"]).stages == ["model", "warmup", "sft", "evaluate"]


def test_fields_that_came_later_change_no_older_fingerprint():
    """A build that was begun before a field existed can go on: unset fields are not part of the fingerprint."""
    recipe = load_recipe("smoke", ["mpo=off", "sft_icl=off"])
    said = recipe.model_dump(exclude_none=True)
    assert "mpo" not in said and "accumulate" not in said["sft"] and "validation" not in said["warmup"]
    assert recipe.model_copy(update={"sft": recipe.sft.model_copy(update={"accumulate": 2})}).fingerprint() != (
        recipe.fingerprint()
    )


def test_one_stage_by_its_file():
    file = recipes_folder() / "smoke" / "3_sft.yaml"
    model = load_recipe("smoke").model.model_dump()
    recipe = load_stage(file, ["steps=7", "lora.rank=3"], model)
    assert recipe.stages == ["model", "sft"] and (recipe.sft.steps, recipe.sft.lora.rank) == (7, 3)
    for override in ("stepz=7", "sft.steps=7", "steps"):
        with pytest.raises(RecipeError, match="override"):
            load_stage(file, [override], model)
    with pytest.raises(RecipeError, match="no recipe file"):
        load_stage(file.with_name("9_none.yaml"))


@pytest.mark.parametrize("path", sorted(recipes_folder().glob("accelerate/*.yaml")), ids=lambda path: path.name)
def test_accelerate_reads_its_configurations(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes > 1 and "parsed, never run" in path.read_text(encoding="utf-8")
    from accelerate.commands.launch import launch_command_parser

    known = {action.dest for action in launch_command_parser()._actions}
    assert set(config.fsdp_config) <= known, "accelerate ignores a key that it does not know"
    for name in config.fsdp_config.get("fsdp_transformer_layer_cls_to_wrap", "").split(","):
        assert not name or name == "Qwen3DecoderLayer" or hasattr(vision_riverone, name)


def test_unknown_recipe_names_the_known():
    with pytest.raises(RecipeError, match=r"no recipe 'tiny'. Expected one of .*nano"):
        load_recipe("tiny")


def test_a_model_folder_does_not_hide_the_recipe_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").mkdir()
    assert load_recipe("smoke").fingerprint() == load_recipe(str(recipes_folder() / "smoke")).fingerprint()


def test_shares_of_families_that_the_model_does_not_know():
    with pytest.raises(RecipeError, match="family_shares names mot_loading"):
        load_recipe("nano", ["sft.data.family_shares={mot_loading: 2}"])
    with pytest.raises(RecipeError, match=r"family_shares\.gmm"):
        load_recipe("nano", ["sft.data.family_shares={gmm: 0}"])


def test_unknown_key_and_broken_yaml(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(recipes_folder() / "smoke", folder)
    path = folder / "3_sft.yaml"
    good = path.read_text()
    path.write_text(good + "learningrate: 3\n")
    with pytest.raises(RecipeError, match=r"sft.learningrate: Extra inputs"):
        load_recipe(str(folder))
    path.write_text("stage: [")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(str(folder))
    path.write_text(good.replace("stage: sft", "stage: warmup"))
    with pytest.raises(RecipeError, match="expected the file name's"):
        load_recipe(str(folder))
