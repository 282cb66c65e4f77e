import torch

from mimeval.engine.lars import LARS
from mimeval.registry import OPTIMIZERS


def test_matrix_step_is_relative_to_its_norm_whatever_the_gradient_scale():
    steps = []
    for scale in (1e-3, 1.0, 1e3):
        parameter = torch.nn.Parameter(torch.full((3, 4), 2.0))
        start = parameter.detach().clone()
        parameter.grad = torch.full((3, 4), scale)
        LARS([parameter], lr=0.5, momentum=0.0, trust_coefficient=0.01).step()
        steps.append((parameter.detach() - start).norm() / start.norm())
    torch.testing.assert_close(torch.stack(steps), torch.full((3,), 0.5 * 0.01), rtol=1e-4, atol=0)


def test_vectors_neither_scale_nor_decay():
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    parameter.grad = torch.tensor([0.5, 0.25])
    LARS([parameter], lr=0.1, weight_decay=0.9, momentum=0.0).step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.95, -2.025]))


def test_registered_and_resumable():
    def train(optimizer, parameter, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (parameter**2).sum().backward()
            optimizer.step()

    whole = torch.nn.Parameter(torch.ones(2, 2))
    train(OPTIMIZERS.build(dict(type="LARS", params=[whole], lr=0.1)), whole, 4)
    halves = torch.nn.Parameter(torch.ones(2, 2))
    first = LARS([halves], lr=0.1)
    train(first, halves, 2)
    second = LARS([halves], lr=0.1)
    second.load_state_dict(first.state_dict())
    train(second, halves, 2)
    assert torch.equal(whole, halves)
