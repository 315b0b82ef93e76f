"""A product of sound and picture beside the layer over both: in every head with such a layer."""

from dataclasses import replace

import pytest
import torch
from helpers.heads.head_batches import make_inputs

from avqa import heads
from avqa.heads._parts.product import JoiningOptions, LowRankProduct

JOINING = [n for n in heads.names() if issubclass(heads.load(n).Options, JoiningOptions)]
VARIANTS = [
    *((name, {}) for name in JOINING),
    ("tjstg", {"stream": "dual"}),
    ("sasr", {"variant": "official"}),
    ("avaf", {"fuse": "sum"}),
    ("mcd", {"late_fusion": "concat"}),
]


def small(name, **options):
    torch.manual_seed(0)
    sizes = {"width": 16, "audio_width": 8, "visual_width": 8, "text_width": 16}
    return heads.build(name, **sizes, **options).double().eval()


def test_which_heads_join_sound_and_picture_by_a_layer():
    assert JOINING == ["avaf", "avst", "late_fusion", "mcd", "sasr", "tjstg"]


def test_values_of_the_product():
    torch.manual_seed(0)
    product = LowRankProduct(3, 5).double()
    a, v = torch.randn(2, 3).double(), torch.randn(2, 3).double()
    left = a @ product.audio.weight.T + product.audio.bias
    right = v @ product.visual.weight.T + product.visual.bias
    wanted = (left * right) @ product.out.weight.T + product.out.bias
    torch.testing.assert_close(product(a, v), wanted)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_a_product_is_added_to_what_the_head_is_without_it(name, options):
    without = small(name, **options)
    head = small(name, fusion="product", **options)
    extra = {k for k in head.state_dict() if "product." in k}
    assert head.state_dict().keys() - without.state_dict().keys() == extra
    assert heads.count_parameters(head) - heads.count_parameters(without) == (
        2 * (16 * 32 + 32) + 32 * 16 + 16
    )
    head.load_state_dict(without.state_dict(), strict=False)
    inputs = make_inputs(head, dtype=torch.float64)
    product = next(m for m in head.modules() if isinstance(m, LowRankProduct))
    with torch.no_grad():
        assert not torch.allclose(head(inputs).logits, without(inputs).logits, atol=1e-6)
        product.out.weight.zero_()
        product.out.bias.zero_()
        torch.testing.assert_close(head(inputs).logits, without(inputs).logits)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_the_product_is_of_the_sound_and_of_the_picture(name, options):
    head = small(name, fusion="product", **options)
    product = next(m for m in head.modules() if isinstance(m, LowRankProduct))
    taken = []
    product.register_forward_hook(lambda module, given, out: taken.append(given))
    inputs = make_inputs(head, dtype=torch.float64)
    visual = "frame" if "frame" in head.needs else "patch"
    with torch.no_grad():
        for changed in ({}, {"audio": -inputs.audio}, {visual: -getattr(inputs, visual)}):
            head(replace(inputs, **changed))
    (a, v), (a_other, v_sound), (a_sight, v_other) = taken
    assert a.shape == v.shape
    assert not torch.allclose(a, a_other, atol=1e-6)
    assert not torch.allclose(v, v_other, atol=1e-6)
    # What each depends on most is its own sense: sound may have been looked for in the picture.
    if options.get("variant") != "official":  # whose "audio" is projected frames
        assert (a - a_other).norm() > (a - a_sight).norm()
    if name == "late_fusion":
        assert torch.equal(v, v_sound)
        assert torch.equal(a, a_sight)


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        (
            "avst",
            {"modalities": "aq", "spatial": False},
            "modalities=aq with fusion=product; expected fusion=sum",
        ),
        ("mcd", {"plain": "qav"}, "plain=qav with fusion=product; expected fusion=sum"),
        ("late_fusion", {"fusion": "times"}, "fusion='times'; expected one of sum, product"),
    ],
)
def test_a_product_needs_two_senses(name, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        small(name, **{"fusion": "product", **options})
