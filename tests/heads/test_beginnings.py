"""An LSTM that runs once over what questions of a batch begin with alike, against torch's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from avqa.heads._parts import blocks
from avqa.heads._parts.blocks import LstmQuestion
from avqa.heads._parts.lstm import Beginnings, run_lstm

WIDTH, WORDS = 6, 5
batches = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(1, WORDS - 1), min_size=1, max_size=n).map(
            lambda row: row + [0] * (n - len(row))
        ),
        min_size=1,
        max_size=9,
    )
)


def question(pack, seed=0):
    torch.manual_seed(seed)
    return LstmQuestion(WORDS, WIDTH, pack=pack).double()


def results(module, tokens, weigh):
    """What a question's encoder gives, and the gradients of a sum of all of it."""
    found = module.encode(tokens)
    given = (found.sentence, found.words, found.cell)
    total = sum((x * weigh(x)).sum() for x in given)
    return [*given, *torch.autograd.grad(total, list(module.parameters()))]


@settings(max_examples=60, deadline=None)
@given(batches, st.booleans(), st.integers(0, 5))
def test_it_is_torchs_lstm_and_its_gradient(rows, pack, seed):
    tokens, module = torch.tensor(rows), question(pack, seed)

    def weigh(x):
        return torch.randn(x.shape, generator=torch.Generator().manual_seed(7), dtype=x.dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "WORTH_FINDING", -1)
        found = results(module, tokens, weigh)
        patch.setattr(LstmQuestion, "_beginnings", lambda *of: None)
        expected = results(module, tokens, weigh)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_questions_that_begin_alike_share_it():
    tokens = torch.tensor([[1, 2, 3, 0], [1, 2, 4, 0], [1, 2, 3, 0], [3, 0, 0, 0]])
    through = Beginnings.find(tokens, None)
    # 1 3 | 12 30 | 123 124 300 | 1230 1240 3000
    assert through.starts == (0, 2, 4, 7, 10)
    assert through.whole.tolist() == [7, 8, 7, 9]
    assert through.of[0].tolist() == through.of[2].tolist() == [0, 2, 4, 7]
    assert through.words.tolist() == [1, 3, 2, 0, 4]
    assert through.words[through.last].tolist() == [1, 3, 2, 0, 3, 4, 0, 0, 0, 0]
    packed = Beginnings.find(tokens, tokens != 0)
    assert packed.starts == (0, 2, 3, 5)
    assert packed.whole.tolist() == [3, 4, 3, 1]
    assert packed.before.tolist() == [0, 0, 0, 2, 2]


def test_what_repeats_is_not_computed_again(monkeypatch):
    """512 wide, as in the papers: the same word twice in a batch meets the weights once."""
    torch.manual_seed(0)
    module, seen = LstmQuestion(WORDS, 512, pack=False), []
    monkeypatch.setattr(
        blocks, "run_once", lambda lstm, embed, tokens, found: seen.append(found) or stock(module)
    )

    def stock(module):
        return run_lstm(module.lstm, module._embed(tokens), None)

    tokens = torch.randint(1, WORDS, (2, 14)).repeat(32, 1)
    module.encode(tokens)
    (found,) = seen
    assert len(found.last) <= 2 * 14
    tokens = tokens[:2]  # nothing to spare
    module.encode(tokens)
    assert len(seen) == 1


def test_both_ways_run_as_they_are():
    module = LstmQuestion(WORDS, WIDTH, pack=True, bidirectional=True)
    tokens = torch.tensor([[1, 2], [1, 2]])
    assert module._beginnings(tokens, tokens != 0) is None
    assert isinstance(module.lstm, nn.LSTM)
    assert module.encode(tokens).sentence.shape == (2, WIDTH)
