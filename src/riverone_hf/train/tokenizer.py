"""How is text cut into tokens? A byte-level BPE with single digits, trained on question and simulator text."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..data import PlotSource, conversation
from ..model.processing_riverone import CHAT_TEMPLATE, TEXT_MARK
from ..questions import IDENTIFY, QUESTIONS, question_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE_START, IMAGE, IMAGE_END = "<img>", "<IMG_CONTEXT>", "</img>"
SPECIAL_TOKENS = (PAD, START, END, IMAGE_START, IMAGE, IMAGE_END)


def train_tokenizer(
    families: Sequence[str], vocab_size: int = 2048, plots: int = 600, seed: int = 0, max_length: int = 4096
) -> PreTrainedTokenizerFast:
    """Train the tokenizer on `plots` simulated plots of `families` and on question text of all 22 families.

    Same arguments, same `tokenizer_hash`. Digits are single tokens so that numbers are read digit by digit; a
    normalizer removes the protection mark that keeps special-token strings in user text from becoming special.
    Needs only `tokenizers` (a dependency of transformers).
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(TEXT_MARK, "")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = itertools.chain(question_texts(seed), simulator_texts(families, plots, seed))
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens={
            "image_token": IMAGE,
            "image_start_token": IMAGE_START,
            "image_end_token": IMAGE_END,
            "start_token": START,
        },
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def simulator_texts(families: Sequence[str], plots: int, seed: int) -> Iterator[str]:
    """Questions and answers of `plots` training plots, without drawing them."""
    source = PlotSource(tuple(families), seed=seed)
    for index in range(plots):
        for message in conversation(source.plot(index).truth, (IDENTIFY, *QUESTIONS), n_images=1):
            yield message["content"][-1]["text"]


def tokenizer_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of the tokenizer's full definition: equal for equal tokenizers."""
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()
