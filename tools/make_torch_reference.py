#!/usr/bin/env python3
"""Records short PyTorch runs that tests/parity compares with.

Usage: make_torch_reference.py OUTPUT_DIRECTORY     (any PyTorch from 1.13 on; CPU)

Weights and batches come from one integer formula (value() here and in tests/parity), so that only
results are stored: per file the losses of every step, and after the last step for each parameter
its sum of squares and up to eight elements; for single-precision files, the first gradients too.
PyTorch has no Lion: it is written out below after Chen et al. 2023, algorithm 2.
"""
import os
import sys

import torch

STEPS = 50
BATCH = 8


def value(index, salt):
    """(index, salt) -> [-1, 1), exact in single precision: 24 bits of a multiplicative hash."""
    x = (index * 2654435761 + salt * 40503 + 12345) % 2**32
    x = ((x >> 15) ^ x) * 2246822519 % 2**32
    return ((x >> 8) - 2**23) / 2**23


def tensor(shape, salt, scale, dtype):
    count = 1
    for d in shape:
        count *= d
    return torch.tensor([value(i, salt) * scale for i in range(count)], dtype=dtype).reshape(shape)


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = torch.nn.Linear(784, 64)
        self.fc2 = torch.nn.Linear(64, 10)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


class Lenet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = torch.nn.Conv2d(6, 16, 5)
        self.fc1 = torch.nn.Linear(400, 120)
        self.fc2 = torch.nn.Linear(120, 84)
        self.fc3 = torch.nn.Linear(84, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class Lion(torch.optim.Optimizer):
    def __init__(self, groups, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(groups, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for w in group["params"]:
                m = self.state[w].setdefault("m", torch.zeros_like(w))
                w.mul_(1 - group["lr"] * group["weight_decay"])
                w.sub_(group["lr"] * torch.sign(b1 * m + (1 - b1) * w.grad))
                m.mul_(b2).add_(w.grad, alpha=1 - b2)


def groups(model, decay):
    weights = [p for n, p in model.named_parameters() if n.endswith("weight")]
    others = [p for n, p in model.named_parameters() if not n.endswith("weight")]
    return [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


OPTIMIZERS = {
    "sgd": lambda m: torch.optim.SGD(groups(m, 0.0), lr=0.01),
    "momentum": lambda m: torch.optim.SGD(groups(m, 0.01), lr=0.01, momentum=0.9),
    "nesterov": lambda m: torch.optim.SGD(groups(m, 0.01), lr=0.01, momentum=0.9, nesterov=True),
    "adam": lambda m: torch.optim.Adam(groups(m, 0.01), lr=1e-3),
    "adamw": lambda m: torch.optim.AdamW(groups(m, 0.1), lr=1e-3),
    "rmsprop": lambda m: torch.optim.RMSprop(groups(m, 0.01), lr=1e-3, alpha=0.99),
    "rmsprop_momentum": lambda m: torch.optim.RMSprop(groups(m, 0.0), lr=1e-3, momentum=0.5),
    "adagrad": lambda m: torch.optim.Adagrad(groups(m, 0.01), lr=0.01),
    "lion": lambda m: Lion(groups(m, 0.1), lr=1e-4),
    "clipped": lambda m: torch.optim.SGD(groups(m, 0.0), lr=0.01, momentum=0.9),
}


def build(name, dtype):
    model = {"mlp": Mlp, "lenet": Lenet}[name]().to(dtype)
    for salt, (_, p) in enumerate(model.named_parameters()):
        fan_in = p[0].numel() if p.dim() > 1 else 100
        p.data = tensor(p.shape, 1000 + salt, fan_in**-0.5, dtype)
    return model


def batch(step, dtype):
    x = tensor((BATCH, 1, 28, 28), 5000 + step % 5, 1.0, dtype)
    y = torch.tensor([int((value(i, 7000 + step % 5) + 1) * 5) for i in range(BATCH)])
    return x, y


def picks(count):
    return sorted({count * k // 8 for k in range(8)} | {count - 1})[:9]


def describe(out, kind, name, t):
    flat = t.detach().flatten().double()
    values = " ".join(f"{i} {flat[i].item():.17g}" for i in picks(flat.numel()))
    out.write(f"{kind} {name} {(flat * flat).sum().item():.17g} {values}\n")


def run(path, model_name, optimizer_name, dtype):
    model = build(model_name, dtype)
    optimizer = OPTIMIZERS[optimizer_name](model)
    with open(path, "w", encoding="utf-8") as out:
        for step in range(STEPS):
            x, y = batch(step, dtype)
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            out.write(f"loss {step} {loss.item():.17g}\n")
            if step == 0:
                for name, p in model.named_parameters():
                    describe(out, "gradient", name, p.grad)
            if optimizer_name == "clipped":
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
        for name, p in model.named_parameters():
            describe(out, "parameter", name, p)


def main():
    torch.set_num_threads(1)
    os.makedirs(sys.argv[1], exist_ok=True)
    for model in ("mlp", "lenet"):
        for optimizer in OPTIMIZERS:
            run(os.path.join(sys.argv[1], f"{model}_f64_{optimizer}.txt"), model, optimizer,
                torch.float64)
        for optimizer in ("sgd", "adamw"):
            run(os.path.join(sys.argv[1], f"{model}_f32_{optimizer}.txt"), model, optimizer,
                torch.float32)


main()
