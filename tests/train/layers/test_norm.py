"""tdBN against its formula, folded and streamed."""

from __future__ import annotations

import torch

from train.layers.norm import TdBN


def _norm(seed=0):
    torch.manual_seed(seed)
    norm = TdBN(5, 0.4)
    torch.nn.init.normal_(norm.gamma)
    torch.nn.init.normal_(norm.beta)
    return norm


def test_formula():
    norm, x = _norm(), torch.randn(4, 3, 5, 6, 6) * 3 + 1
    y = norm.train()(x)
    mean = x.mean(dim=(0, 1, 3, 4), keepdim=True)
    var = x.var(dim=(0, 1, 3, 4), keepdim=True, unbiased=False)
    shape = (1, 1, 5, 1, 1)
    expected = (norm.gamma.view(shape) * 0.4 * (x - mean) / (var + 1e-5).sqrt()
                + norm.beta.view(shape))
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


def test_fold_is_evaluation():
    norm, x = _norm(), torch.randn(4, 3, 5)
    norm.train()(x)
    g, b = norm.eval().fold()
    torch.testing.assert_close(norm(x), x * g + b, atol=1e-5, rtol=1e-5)


def test_streaming_updates_once_with_all_ticks():
    whole, streamed = _norm().train(), _norm().train()
    x = torch.randn(4, 3, 5)
    whole(x)
    with streamed.streaming():
        before = streamed.running_mean.clone()
        outputs = [streamed(x[t:t + 1]) for t in range(4)]
        assert torch.equal(streamed.running_mean, before)
    torch.testing.assert_close(streamed.running_mean, whole.running_mean)
    torch.testing.assert_close(streamed.running_var, whole.running_var)
    # and normalises with what was known before
    torch.testing.assert_close(torch.cat(outputs), _norm().eval()(x))


def test_streaming_in_evaluation_changes_nothing():
    norm = _norm().eval()
    with norm.streaming():
        norm(torch.randn(4, 3, 5))
    assert torch.equal(norm.running_mean, torch.zeros(5))
