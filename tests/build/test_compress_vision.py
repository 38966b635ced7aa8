"""One call: share, generate, distil, freeze."""

from __future__ import annotations

import pytest
import torch

from riverone_hf.build import PlotBatches, compress_vision, load_compress_spec
from riverone_hf.data import PlotSource
from riverone_hf.errors import GeneratorError, MultiplexError, RecipeError
from riverone_hf.model import RiverOneForConditionalGeneration
from tiny import tiny_config, tiny_model, tiny_processor

LAYERS = 4


def small_model():
    return tiny_model(tiny_config(vision={"num_hidden_layers": LAYERS}, vision_feature_layers=[1, 3])).eval()


def plots(batches: int = 4) -> PlotBatches:
    source = PlotSource(("t1", "gmm"), seed=0, direct_size=32, direct_share=1.0)
    return PlotBatches(source, tiny_processor().image_processor, 4, batches)


def spec(**changes):
    distill = {"steps": 3, "warmup_steps": 0, "save_steps": 2, **changes.pop("distill", {})}
    return load_compress_spec(None, {"stored": 2, "probe_batches": 1, **changes, "distill": distill})


def test_batches_are_plots():
    batches = plots()
    assert len(batches) == 4 and len(list(batches)) == 4
    first = batches[0]
    assert first.shape[0] >= 4 and first.shape[1:] == (3, 32, 32) and torch.equal(first, batches[0])
    assert not torch.equal(first[:4], batches[1][:4])


@pytest.mark.parametrize(
    ("generator", "train"),
    [
        (None, ["transforms", "norms", "blocks", "qkv"]),
        ({"method": "qgp", "n_layers": 1}, ["norms", "generators"]),
        ({"method": "row_col"}, ["generators"]),
    ],
    ids=["share", "qgp", "row_col"],
)
def test_share_generate_distil_freeze(generator, train, tmp_path):
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    distill = {"train": train, "regularizer_weight": 0.1 if generator else 0.0}
    result = compress_vision(model, plots(), spec(generator=generator, distill=distill))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(result.losses) == 3
    assert ("penalty" in result.losses[0]) == (generator is not None)
    vision = result.model.config.vision_config
    assert vision.layer_map == [0, 0, 1, 1] and len(result.model.model.vision_tower.blocks) == 2
    # Generated weights are plain and un-shared after freezing, and the report says so.
    assert vision.qkv_map == ([0, 1, 2, 3] if generator else [0, 0, 1, 1])
    report = result.report
    shared, frozen = report["share"]["bytes"][1], report["frozen"]["bytes"]
    assert (frozen > shared) == (generator is not None) and report["original"]["bytes"] > shared
    if generator:
        assert report["generators"]["trained"] > 0
        assert result.losses[0]["penalty"] == 0 < result.losses[-1]["penalty"]
    result.model.save_pretrained(tmp_path)
    loaded, info = RiverOneForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    batch = plots()[0]
    with torch.no_grad():
        wanted = result.model.get_image_features(batch).pooler_output
        assert torch.allclose(loaded.get_image_features(batch).pooler_output, wanted, atol=1e-5)


def test_an_interrupted_call_goes_on(tmp_path):
    settings = spec(generator={"method": "qgp", "n_layers": 1}, distill={"train": ["generators", "norms"], "steps": 4})

    def stop(step: int, losses: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress_vision(small_model(), plots(), settings, folder=tmp_path, on_step=stop)
    steps = []
    resumed = compress_vision(
        small_model(), plots(), settings, folder=tmp_path, on_step=lambda step, _: steps.append(step)
    )
    assert steps == [3, 4]
    straight = compress_vision(small_model(), plots(), settings)
    for a, b in zip(resumed.losses, straight.losses, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_searched_map_and_unshared_qkv():
    distill = {"train": ["qkv"], "steps": 1}
    result = compress_vision(small_model(), plots(), spec(layer_map="search", qkv_map="identity", distill=distill))
    vision = result.model.config.vision_config
    assert max(vision.layer_map) == 1 and vision.qkv_map == [0, 1, 2, 3]


def test_wrong_settings(tmp_path):
    with pytest.raises(RecipeError, match=r"distill.rate: Extra inputs"):
        spec(distill={"rate": 1})
    with pytest.raises(RecipeError, match=r"distill.train.0: .*got 'heads'"):
        spec(distill={"train": ["heads"]})
    with pytest.raises(RecipeError, match="not a readable YAML"):
        load_compress_spec(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match=r"generator: .*qgp.*n_layer"):
        compress_vision(small_model(), plots(), spec(generator={"method": "qgp", "n_layer": 1}))
    with pytest.raises(RecipeError, match="search needs `stored`"):
        compress_vision(small_model(), plots(), spec(layer_map="search", stored=None))
    with pytest.raises(MultiplexError, match="no generators to train"):
        compress_vision(small_model(), plots(), spec(distill={"train": ["generators"]}))
    with pytest.raises(GeneratorError):
        compress_vision(small_model(), plots(), spec(generator={"method": "qgp", "modules": ["none"]}))
