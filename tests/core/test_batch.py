import pytest
import torch

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput


def test_presence():
    mask = torch.tensor([True, False, True])
    batch = Batch({"image": torch.zeros(3, 2), "text": torch.zeros(3, 5)}, {"text": mask})
    assert len(batch) == 3
    assert batch.present("image").tolist() == [True] * 3
    assert batch.present("image", "text").tolist() == mask.tolist()
    assert batch.mask["text"] is mask and mask.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("x", "mask", "message"),
    [
        ({}, {}, "same number of rows"),
        ({"a": torch.zeros(2, 1), "b": torch.zeros(3, 1)}, {}, "'a': 2, 'b': 3"),
        ({"a": torch.zeros(2, 1)}, {"a": torch.ones(3, dtype=torch.bool)}, r"shape \(3,\); expected \(2,\)"),
        ({"a": torch.zeros(2, 1)}, {"b": torch.ones(2, dtype=torch.bool)}, "one of"),
    ],
)
def test_errors(x, mask, message):
    with pytest.raises(BadInput, match=message):
        Batch(x, mask)
