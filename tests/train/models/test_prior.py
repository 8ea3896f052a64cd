"""The fitted prior: its integers are the generator, it knows what channels have in common, and it
does not replay what it saw."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from hw_configs.files import UserError
from train.cli import train_command
from train.fit_prior import fit_prior_command
from train.models.prior import (
    MIDDLE,
    NOISE,
    PER_LOGIT,
    THRESHOLD,
    RatePrior,
    fit,
    halve,
    load_prior,
    spread_out,
)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _codes(count: int, seed: int) -> torch.Tensor:
    """8 channels: three pairs that are equal nine times out of ten, and two channels that are 1
    with chance .9 and .05."""
    g = _generator(seed)
    first = (torch.rand(count, 3, generator=g) < 0.5).float()
    flip = (torch.rand(count, 3, generator=g) < 0.1).float()
    alone = (torch.rand(count, 2, generator=g) < torch.tensor([0.9, 0.05])).float()
    return torch.cat([first, (first - flip).abs(), alone], dim=1)


@pytest.fixture(scope="module")
def prior() -> RatePrior:
    return fit(_codes(6000, 1), _codes(1000, 2), 4, 4, 2000, _generator(), "abc")


def test_it_draws_codes_like_those_it_saw(prior):
    """Means, and how often pairs agree, to .04."""
    drawn = prior.rates(8000, _generator(5))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(drawn.mean(dim=0), _codes(20000, 3).mean(dim=0), atol=0.04)
    for pair in range(3):
        agree = float((drawn[:, pair] == drawn[:, pair + 3]).float().mean())
        assert agree == pytest.approx(0.9, abs=0.04)
    assert float((drawn[:, 0] == drawn[:, 1]).float().mean()) == pytest.approx(0.5, abs=0.04)


def test_partners_are_in_different_groups():
    order = spread_out(_codes(6000, 1), 4).tolist()
    groups = [set(order[i:i + 2]) for i in range(0, 8, 2)]
    assert sorted(order) == list(range(8))
    assert not any({pair, pair + 3} <= group for pair in range(3) for group in groups)


def test_its_integers_are_the_chip_s(prior):
    """Even weights of 8 bits, sums that never lie on the threshold, copies that copy. The kind is
    passed on to the last stage, which has no more use for it."""
    assert THRESHOLD % 2 and prior.bits == 2 * len(NOISE)
    assert [stage.weight.shape for stage in prior.stages] == [
        (out, size + prior.bits) for out, size in ((4, 0), (6, 4), (8, 6), (10, 8), (8, 10))]
    for stage in prior.stages:
        assert not (stage.weight % 2).any() and not (stage.bias % 2).any()
        assert stage.weight.abs().max() <= 254
    last = prior.last()
    assert (last.sum(dim=0) == 128).all() and (last != 0).sum() == 8


def test_halves_are_equal_and_alike():
    """Four clouds of codes are found, each a quarter; of identical codes halves are equal too."""
    centre = (torch.rand(4, 32, generator=_generator(3)) < 0.5).float()
    cloud = torch.arange(400) % 4
    noise = (torch.rand(400, 32, generator=_generator(4)) < 0.05).float()
    kind = halve((centre[cloud] - noise).abs(), 2, _generator())
    assert torch.bincount(kind).tolist() == [100] * 4
    assert len(torch.unique(kind * 4 + cloud)) == 4
    assert torch.bincount(halve(torch.ones(64, 8), 3, _generator())).tolist() == [8] * 8


def test_kinds_are_equally_likely():
    """Exactly one neuron of the first stage fires, each for its own pattern of the bits."""
    stage = fit(_codes(500, 1), _codes(100, 2), 8, 4, 2, _generator(), "abc").stages[0]
    bits = torch.tensor(list(itertools.product([0, 1], repeat=3)))
    others = torch.randint(2, (8, stage.weight.shape[1] - 3), generator=_generator())
    fires = torch.cat([bits, others], dim=1).int() @ stage.weight.T + stage.bias > THRESHOLD
    assert torch.equal(fires.sum(dim=0), torch.ones(8).long())
    assert torch.equal(fires.sum(dim=1), torch.ones(8).long())


def test_kinds_draw_what_one_network_cannot():
    """The parity of two bits says how a third goes, which is no sum of them; four kinds know."""
    def codes(count: int, seed: int) -> torch.Tensor:
        x = (torch.rand(count, 2, generator=_generator(seed)) < 0.5).float()
        return torch.cat([x, (x[:, :1] - x[:, 1:]).abs().repeat(1, 2)], dim=1)

    def right(kinds: int) -> tuple[float, float]:
        prior = fit(codes(4000, 1), codes(500, 2), kinds, 4, 1000, _generator(), "abc")
        drawn = prior.rates(4000, _generator(3))
        parity = (drawn[:, 0] - drawn[:, 1]).abs()
        return float((parity == drawn[:, 2]).float().mean()), prior.validation_nats

    alone, four = right(1), right(4)
    assert alone[0] < 0.6 and four[0] > 0.95
    assert four[1] == pytest.approx(2 * math.log(2), abs=0.15) and alone[1] > four[1] + 0.5


def test_fewer_nats_than_independent_channels(prior):
    codes = _codes(4000, 7)
    rate = codes.mean(dim=0)
    alone = -(rate * rate.log() + (1 - rate) * (1 - rate).log()).sum()
    assert prior.validation_nats < float(alone) - 0.8


def test_it_does_not_replay_the_training_set():
    """Of codes that share nothing but their means, few drawn ones are in the training set: as few
    as fresh codes of the same law are."""
    rate = torch.linspace(0.3, 0.7, 24)

    def codes(count: int, seed: int) -> torch.Tensor:
        return (torch.rand(count, 24, generator=_generator(seed)) < rate).float()

    seen = codes(1000, 1)
    prior = fit(seen, codes(500, 2), 4, 4, 300, _generator(), "abc")

    def nearest(x: torch.Tensor) -> float:
        return float(torch.cdist(x, seen, p=1).min(dim=1).values.mean())

    fresh = nearest(codes(2000, 3))
    assert nearest(prior.rates(2000, _generator(4))) > 0.9 * fresh > 3


def test_the_command(tmp_path, capsys):
    run = tmp_path / "run"
    train_command(["--model", "esvae", "--dataset", "digits", "--run-dir", str(run), "--hidden",
                   "4", "8", "--latent", "8", "--ticks", "4", "--epochs", "1", "--device", "cpu"])
    model = run / "model.pt"
    with pytest.raises(UserError, match="--groups 3: expected a divisor of the 8 channels"):
        fit_prior_command([str(model), "--groups", "3"])
    assert fit_prior_command([str(model), "--groups", "4", "--steps", "30"]) == 0
    assert "held-out codes" in capsys.readouterr().out
    prior = load_prior(model, load_prior(model, _sha(model)).model_sha256)
    assert len(prior.stages) == 5
    with pytest.raises(UserError, match="--kinds 6: expected a power of two, 1 to 4096"):
        fit_prior_command([str(model), "--groups", "4", "--kinds", "6"])
    with pytest.raises(UserError, match="--kinds 4096: expected at most as many as the .* images"):
        fit_prior_command([str(model), "--groups", "4", "--kinds", "4096"])
    with pytest.raises(UserError, match="prior.pt: was fitted to another model.pt"):
        load_prior(model, "something else")
    (run / "prior.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="prior.pt: not a prior of fit-prior"):
        load_prior(model, prior.model_sha256)


def test_other_models_are_refused(digits_run):
    with pytest.raises(UserError, match="--model fsvae has a prior of its own"):
        fit_prior_command([str(digits_run / "model.pt")])


def _sha(path) -> str:
    from train.checkpoint import sha256_of

    return sha256_of(path)


def test_noise_is_next_to_logistic():
    """Over all values of the 8 bits, the distribution is as the module says."""
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=len(NOISE))))
    total = (bits @ torch.tensor(NOISE, dtype=torch.float32) - MIDDLE) / PER_LOGIT
    at = torch.linspace(-6, 6, 241)
    apart = ((total[:, None] < at).float().mean(dim=0) - torch.sigmoid(at)).abs()
    assert apart.max() < 0.018 and apart.mean() < 0.0085
