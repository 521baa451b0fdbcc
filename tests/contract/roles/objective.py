"""A training objective: loss(batch) gives a finite scalar that gradient descent can lower."""

import dataclasses

from isthmus.core.batch import Batch
from isthmus.core.run import seeded
from isthmus.workbench.facts import gradients, mapped

from . import array, close, order


def loss(toy, batch, seed=0):
    with seeded(seed):
        return toy.thing.loss(batch)["loss"]


def check_input_is_a_batch(make):
    assert len(make().inputs) == 1
    assert isinstance(make().inputs[0], Batch)


def check_loss_is_a_finite_scalar(make):
    toy = make()
    with seeded(0):
        found = toy.thing.loss(*toy.inputs)
    assert found["loss"].ndim == 0
    assert all(bool(value.isfinite().all()) for value in found.values() if hasattr(value, "isfinite"))


def check_gradient_reaches_every_modality(make):
    toy = make()
    with seeded(0):
        found = {name: g for name, g in gradients(toy).items() if name.startswith("input")}
    assert found, "no input is a floating tensor"
    assert not [name for name, g in found.items() if g is None or not bool(g.any())]
    assert all(bool(g.isfinite().all()) for g in found.values())


def check_order_of_the_batch_does_not_matter(make):
    toy = make()
    if loss(toy, *toy.inputs, seed=1) != loss(make(), *make().inputs, seed=2):
        return  # it draws at random, and the draw belongs to the position
    index = order(len(toy.inputs[0]))
    close(loss(make(), *toy.inputs), loss(make(), mapped(lambda x: x[index], toy.inputs[0])))


def check_absent_items_do_not_matter(make):
    toy = make()
    batch = toy.inputs[0]
    for modality, mask in batch.mask.items():
        changed = batch.x[modality].clone()
        changed[~mask] = 7.0
        other = dataclasses.replace(batch, x={**batch.x, modality: changed})
        close(loss(make(), batch), loss(make(), other))


def check_ten_steps_lower_the_loss(make):
    import torch

    toy = make()
    free = []

    def leaf(x):
        if not x.is_floating_point():
            return x
        free.append(x.detach().clone().requires_grad_())
        return free[-1]

    batch = mapped(leaf, toy.inputs[0])
    if isinstance(toy.thing, torch.nn.Module):
        free += [p for p in toy.thing.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(free, lr=1e-2)
    losses = []
    for _ in range(11):
        value = loss(toy, batch)
        losses.append(float(array(value)))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert losses[-1] < losses[0], losses
