"""Losses against their formulas written out."""

from __future__ import annotations

import pytest
import torch

from train.models.losses import kld, mmd


def test_mmd_is_the_filtered_difference():
    q, p = torch.rand(6, 3, 4), torch.rand(6, 3, 4)
    psp_q = psp_p = torch.zeros(3, 4)
    terms = []
    for t in range(6):
        psp_q = psp_q + (q[t] - psp_q) / 2
        psp_p = psp_p + (p[t] - psp_p) / 2
        terms.append((psp_q - psp_p) ** 2)
    assert mmd(q, p, 2.0).item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)


def test_kld_of_equal_rates_is_zero():
    q = torch.rand(6, 3, 4)
    assert kld(q, q).item() == pytest.approx(0, abs=1e-5)


def test_kld_by_hand():
    q, p = torch.full((1, 1, 1), 0.5), torch.full((1, 1, 1), 0.25)
    expected = 0.5 * torch.log(torch.tensor(0.51 / 0.26)) + 0.5 * torch.log(
        torch.tensor(0.51 / 0.76))
    assert kld(q, p).item() == pytest.approx(expected.item(), rel=1e-5)
