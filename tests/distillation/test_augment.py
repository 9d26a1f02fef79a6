import torch

from sondino.distillation.augment import mixup, spec_augment


def test_mixup_mixes_each_clip_with_its_partner_by_its_ratio() -> None:
    torch.manual_seed(1)
    clips = torch.arange(64.0)[:, None, None].expand(64, 3, 4)
    mixed, partner, ratio = mixup(clips, 0.3)
    assert ratio.min() >= 0.5 and ratio.max() <= 1
    assert sorted(partner.tolist()) == list(range(64))
    assert torch.allclose(mixed[:, 0, 0], ratio * torch.arange(64.0) + (1 - ratio) * partner)
    # Beta(0.3, 0.3) has its weight at the ends: most clips stay nearly themselves.
    assert (ratio > 0.9).float().mean() > 0.4


def test_mixup_is_drawn_by_torchs_seed() -> None:
    clips = torch.randn(8, 3, 4)
    torch.manual_seed(5)
    first = mixup(clips, 0.3)
    torch.manual_seed(5)
    assert all(torch.equal(a, b) for a, b in zip(first, mixup(clips, 0.3), strict=True))


def test_spec_augment_hides_one_band_and_one_stretch_by_the_mean() -> None:
    torch.manual_seed(2)
    clips = torch.randn(40, 32, 50)
    hidden = spec_augment(clips, frequency_mask=8, time_mask=0.2) != clips
    bands, stretches = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert bands.max() <= 8 and stretches.max() <= 10 and bands.float().mean() > 2 and stretches.float().mean() > 2
    for clip, mask in zip(clips, hidden, strict=True):
        both = mask.all(1)[:, None] | mask.all(0)[None]
        assert torch.equal(mask, both)
        if mask.any():
            assert torch.allclose(spec_augment(clip[None], 0, 0.0), clip[None])
