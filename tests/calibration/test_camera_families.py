"""Camera images (MOT, tweezers): do labels and Q5 follow from what stands in the picture?"""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

from riverone_hf.calibration import mot_loading, tweezer_array
from riverone_hf.calibration.camera import add_spots
from riverone_hf.calibration.scene import Panel
from riverone_hf.calibration.style import draw_style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.truth import Truth

SEEDS = 40
ALL = [(name, kind) for name in ("mot_loading", "tweezer_array")
       for kind in importlib.import_module(f"riverone_hf.calibration.{name}").TYPES]  # fmt: skip


def plot(family: str, experiment_type: str, seed: int) -> tuple[Truth, Panel]:
    rng = np.random.default_rng([7, seed])
    module = importlib.import_module(f"riverone_hf.calibration.{family}")
    truth, images = module.simulate(experiment_type, rng, draw_style(rng, family))
    assert len(images) == 1 and len(images[0]) == 1
    return truth, images[0][0]


def picture(panel: Panel) -> np.ndarray:
    """The image with row 0 at y = 0."""
    assert panel.heatmap is not None
    values = np.asarray(panel.heatmap.values, dtype=float)
    return values[::-1] if panel.ylim[0] > panel.ylim[1] else values


@pytest.mark.parametrize(("family", "experiment_type"), ALL)
def test_truths_are_legal_and_deterministic(family: str, experiment_type: str) -> None:
    keys = set()
    for seed in range(SEEDS):
        truth, panel = plot(family, experiment_type, seed)
        answers = write_answers(truth)
        described = json.loads(answers["q1"])
        assert described["plot_type"] == "image" and described["x_axis"]["unit"] == "pixels"
        assert ("colorbar" in described) == (family == "mot_loading")
        assert np.isfinite(picture(panel)).all()
        height, width = picture(panel).shape
        assert sorted(panel.ylim) == [-0.5, height - 0.5] and panel.xlim == (-0.5, width - 0.5)
        assert all(0 <= v <= 1 for v in truth.targets.values())
        assert (truth.suggested_range is None) == (truth.status in ("SUCCESS", "CORRECTED"))
        assert "{" not in answers["q2"] + answers["q6"]
        keys.add(tuple(truth.targets))
    assert len(keys) == 1
    one, two = plot(family, experiment_type, 5), plot(family, experiment_type, 5)
    assert one[0] == two[0] and np.array_equal(picture(one[1]), picture(two[1]))


def test_the_cloud_stands_where_q5_says() -> None:
    for kind in ("mot_loading_good", "mot_loading_tailed"):
        for seed in range(SEEDS):
            truth, panel = plot("mot_loading", kind, seed)
            image = picture(panel)
            image = image - np.median(image)
            x, y = int(str(truth.parameters["center_x"])), int(str(truth.parameters["center_y"]))
            reach = max(3, round(truth.targets["size"] / 10 * min(image.shape) * 1.5))
            cut = image[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            assert cut.mean() > 4 * abs(image.mean())
            light = np.clip(cut, 0, None)
            rows, columns = np.indices(cut.shape)
            assert float((light * columns).sum() / light.sum()) + max(0, x - reach) == pytest.approx(
                x, abs=0.25 * reach
            )
            assert float((light * rows).sum() / light.sum()) + max(0, y - reach) == pytest.approx(y, abs=0.25 * reach)


def test_without_a_cloud_there_is_only_noise() -> None:
    for seed in range(SEEDS):
        truth, panel = plot("mot_loading", "mot_loading_no_signal", seed)
        assert truth.parameters == {"has_cloud": False, "center_x": 0, "center_y": 0, "cloud_present": False}
        image = picture(panel)
        blocks = image[: image.shape[0] // 10 * 10, : image.shape[1] // 10 * 10]
        means = blocks.reshape(-1, 10, blocks.shape[1] // 10, 10).mean(axis=(1, 3))
        rows, columns = np.indices(means.shape)
        plane = np.stack([np.ones(means.size), rows.ravel(), columns.ravel()], axis=1)
        rest = means.ravel() - plane @ np.linalg.lstsq(plane, means.ravel(), rcond=None)[0]
        assert np.ptp(rest) < 1.2 * image.std()


def test_only_tailed_clouds_are_lopsided() -> None:
    def lopsided(kind: str, seed: int) -> float:
        """Largest difference of light left and right (or above and below) of the centre, 2 to 6 radii away."""
        truth, panel = plot("mot_loading", kind, seed)
        image = picture(panel)
        image = image - np.percentile(image, 30)
        x, y = int(str(truth.parameters["center_x"])), int(str(truth.parameters["center_y"]))
        size = truth.targets["size"] / 10 * min(image.shape)
        v, u = np.indices(image.shape)
        far = np.hypot(u - x, v - y) / size
        angle = np.arctan2(v - y, u - x)
        ring = (far > 2.2) & (far < 5)
        sectors = [image[ring & (np.cos(angle - a) > 0.8)] for a in np.arange(8) * np.pi / 4]
        means = [float(s.mean()) for s in sectors if s.size > 20]
        return (max(means) - float(np.median(means))) / float(image[y, x] + 1e-9)

    good = [lopsided("mot_loading_good", seed) for seed in range(SEEDS)]
    tailed = [lopsided("mot_loading_tailed", seed) for seed in range(SEEDS)]
    assert np.median(tailed) > 3 * np.median(good)
    assert np.mean(np.array(tailed) > np.percentile(good, 90)) > 0.85


def test_contours_are_judged() -> None:
    for kind in mot_loading.TYPES:
        for seed in range(SEEDS):
            truth, panel = plot("mot_loading", kind, seed)
            expected = "No fit" if not panel.circles else "Reliable" if kind.endswith("good") else "Unreliable"
            assert truth.reliability == expected


def test_tweezer_labels_follow_the_optics() -> None:
    for kind in tweezer_array.TYPES:
        for seed in range(SEEDS):
            truth, _ = plot("tweezer_array", kind, seed)
            t = truth.targets
            bad = (
                t["width"] / 2.5 > tweezer_array.WIDTH_THRESHOLD
                or 1 + 2 * t["stretch"] > tweezer_array.STRETCH_THRESHOLD
                or t["spread"] > tweezer_array.SPREAD_THRESHOLD
                or t["coma"] > tweezer_array.COMA_THRESHOLD
            )
            irregular = (
                t["displacement"] / 5 > tweezer_array.DISPLACEMENT_THRESHOLD
                or t["missing"] / 3 > tweezer_array.MISSING_THRESHOLD
            )
            assert (bad or irregular) == (truth.status == "ABERRATED") == (not truth.parameters["aberration_corrected"])
            assert (truth.parameters["grid_regularity"] == "irregular") == irregular
            assert truth.reliability == "No fit"


def test_spots_have_the_given_place_width_and_peak() -> None:
    for shape in ((2.0, 2.0, 0.0), (3.0, 1.5, 0.0), (3.0, 1.5, 0.7)):
        image = np.zeros((40, 50), dtype=np.float32)
        add_spots(image, np.array([20.3]), np.array([17.8]), np.array([2.0]), shape)
        rows, columns = np.indices(image.shape)
        total = image.sum()
        x, y = (image * columns).sum() / total + 0.5, (image * rows).sum() / total + 0.5
        assert (x, y) == (pytest.approx(20.3, abs=0.05), pytest.approx(17.8, abs=0.05))
        spread = np.sqrt((image * (columns + 0.5 - x) ** 2).sum() / total)
        want = np.hypot(shape[0] * np.cos(shape[2]), shape[1] * np.sin(shape[2]))
        assert spread == pytest.approx(want, rel=0.05)
        assert image.max() == pytest.approx(2.0, rel=0.15)
    image = np.zeros((20, 20), dtype=np.float32)
    add_spots(image, np.array([0.0, 25.0]), np.array([0.0, 5.0]), np.array([1.0, 1.0]), (2.0, 2.0, 0.0))
    assert image[0, 0] > 0.8 and image[5, 19] < 0.2
