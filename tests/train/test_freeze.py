"""Freezing: the named parts only, for the block only; never everything, never a part that does not exist."""

from __future__ import annotations

import pytest

from riverone_hf.errors import TrainingError
from riverone_hf.train.freeze import PARTS, frozen


@pytest.mark.parametrize("part", sorted(PARTS))
def test_one_part_is_fixed_inside_the_block(tiny, part):
    model = tiny[0]
    with frozen(model, [part]):
        held = {name for name, p in model.named_parameters() if not p.requires_grad}
        assert held and all(name.startswith(PARTS[part] + ".") for name in held)
        assert {name for name, _ in model.named_parameters() if name.startswith(PARTS[part] + ".")} == held
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_was_frozen_before_stays_so(tiny):
    model = tiny[0]
    first = next(model.model.vision_tower.parameters()).requires_grad_(False)
    try:
        with frozen(model, ["vision_tower"]):
            pass
        assert not first.requires_grad
    finally:
        first.requires_grad_(True)


def test_nonsense_is_refused(tiny):
    unknown = r"cannot freeze ears. Expected some of: vision_tower"
    with pytest.raises(TrainingError, match=unknown), frozen(tiny[0], ["ears"]):
        pass
    with pytest.raises(TrainingError, match="nothing to train"), frozen(tiny[0], list(PARTS)):
        pass
    assert all(parameter.requires_grad for parameter in tiny[0].parameters())
