import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small lose ten times more to sharing out work than they win by it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
