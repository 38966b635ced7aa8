"""What ships to the Hub?

The model, its configuration and its processors, as flat files that also work as remote code: each needs only torch,
transformers, PIL and numpy, and its neighbours in the same folder. Importing this room registers the classes with the
`Auto...` factories, which then prefer them to remote code of the same model type.
"""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from .configuration_riverone import RiverOneConfig, RiverOneVisionConfig
from .image_processing_riverone import RiverOneImageProcessor
from .modeling_riverone import RiverOneForConditionalGeneration, RiverOneModel
from .processing_riverone import CHAT_TEMPLATE, RiverOneProcessor
from .vision_riverone import RiverOneVisionModel


def register() -> None:
    """Make `AutoConfig`, `AutoModel`, `AutoModelForImageTextToText` and the processors know RiverOne."""
    AutoConfig.register(RiverOneConfig.model_type, RiverOneConfig, exist_ok=True)
    AutoConfig.register(RiverOneVisionConfig.model_type, RiverOneVisionConfig, exist_ok=True)
    AutoModel.register(RiverOneVisionConfig, RiverOneVisionModel, exist_ok=True)
    AutoModel.register(RiverOneConfig, RiverOneModel, exist_ok=True)
    AutoModelForImageTextToText.register(RiverOneConfig, RiverOneForConditionalGeneration, exist_ok=True)
    AutoImageProcessor.register(RiverOneConfig, image_processor_classes={"pil": RiverOneImageProcessor}, exist_ok=True)
    AutoProcessor.register(RiverOneConfig, RiverOneProcessor, exist_ok=True)


register()

__all__ = [
    "CHAT_TEMPLATE",
    "RiverOneConfig",
    "RiverOneForConditionalGeneration",
    "RiverOneImageProcessor",
    "RiverOneModel",
    "RiverOneProcessor",
    "RiverOneVisionConfig",
    "RiverOneVisionModel",
    "register",
]
