"""Adapters of peft beside a circuit on a model of others: same Linears, same start, plain weights at the end."""

from __future__ import annotations

import pytest
import torch
from attached import llama

from riverone_hf.errors import GeneratorError
from riverone_hf.qgp import PEFT_METHODS, QGPConfig, attach, freeze, peft_baseline, trained_parameters

QUERIES = ("*q_proj",)
TOKENS = torch.arange(12).reshape(2, 6)


@pytest.mark.parametrize("method", PEFT_METHODS)
def test_adapters_of_peft_start_as_the_model_train_and_merge(method):
    before = llama()(TOKENS).logits
    adapted = peft_baseline(llama(), method, QUERIES)
    torch.testing.assert_close(adapted(TOKENS).logits, before)
    named = {name.split(".q_proj")[0] for name, p in adapted.named_parameters() if p.requires_grad and "q_proj" in name}
    assert len(named) == 2, "the queries of both layers, nothing else"
    assert 0 < adapted.get_nb_trainable_parameters()[0] < 200

    # Adam: the queries of a fresh model have tiny gradients.
    optimizer = torch.optim.Adam([p for p in adapted.parameters() if p.requires_grad], 0.1)
    for _ in range(8):
        optimizer.zero_grad()
        adapted(TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
    trained = adapted.eval()(TOKENS).logits
    assert (trained - before).abs().max() > 1e-4
    plain = adapted.merge_and_unload()
    assert not any("lora" in name or "vera" in name or "ia3" in name for name, _ in plain.named_parameters())
    torch.testing.assert_close(plain(TOKENS).logits, trained, rtol=1e-4, atol=1e-5)


def test_a_circuit_takes_the_same_patterns():
    before = llama()(TOKENS).logits
    model = attach(llama(), QGPConfig(modules=QUERIES))
    torch.testing.assert_close(model(TOKENS).logits, before, rtol=0, atol=0)
    assert sum(p.numel() for p in trained_parameters(model)) > 0
    assert "parametrizations" not in "".join(freeze(model).state_dict())


def test_refusals():
    with pytest.raises(GeneratorError, match="Expected one of: lora, lokr, vera, ia3"):
        peft_baseline(llama(), "qlora", QUERIES)
    with pytest.raises(GeneratorError, match=r"no Linear is named by \*nothing.*for example: model\.layers\.0"):
        peft_baseline(llama(), "lora", ("*nothing",))
