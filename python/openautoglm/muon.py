"""Muon: momentum whose matrices are made orthogonal before they are applied.

    Jordan et al., Muon: an optimizer for hidden layers in neural networks (https://kellerjordan.github.io/posts/muon)
    Liu et al., Muon is scalable for LLM training (https://arxiv.org/abs/2502.16982): the scale of a step

A step is as large as AdamW's, so both take the same learning rate.
"""
import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)     # of the quintic iteration
ROUNDS = 5
ADAM_SIZE = .2                               # root mean square of AdamW's steps


def orthogonal(g):
    """g (o, i) -> nearly the nearest matrix with singular values of 1 (Newton-Schulz)"""
    a, b, c = COEFFICIENTS
    x = g.T if len(g) > g.shape[1] else g
    x = x / (x.norm() + 1e-7)
    for _ in range(ROUNDS):
        y = x @ x.T
        x = torch.addmm(a * x, torch.addmm(b * y, y, y, alpha=c), x)
    return x.T if len(g) > g.shape[1] else x


class Muon(torch.optim.Optimizer):
    """For weights whose dimensions after the first flatten to one: linear layers and 1x1 convolutions."""

    def __init__(self, params, lr, weight_decay=0., momentum=.95):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("momentum", torch.zeros_like(p)).lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(m, group["momentum"]).flatten(1)       # Nesterov
                size = ADAM_SIZE * max(g.shape) ** .5
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(orthogonal(g).view_as(p),
                                                                     alpha=-group["lr"] * size)
