"""Training steps of whole models, and attention: PyTorch's variants beside `quern train`.

Quern trains with its own loop and input path on Fashion-MNIST; PyTorch's batch lies on the device
and never changes, which is not in Quern's favour.
"""
import json
import statistics
import subprocess

NAMES = ["mlp", "lenet"]
BATCHES = [128, 4096]
ATTENTION = [(64, 12, 1024, 64), (16, 16, 2048, 128), (4, 16, 8192, 128)]


def quern(arguments, batch, steps):
    folder = arguments.folder
    command = [f"{folder}/bin/quern", "train", "--model", arguments.name, "--data",
               f"{folder}/data", "--device", arguments.device, "--steps", str(steps),
               "--batch-size", str(batch), "--no-save", "--log-every", str(steps), "--json",
               "--quiet", "--run-dir", f"{folder}/bench-run"]
    subprocess.run(["rm", "-rf", f"{folder}/bench-run"], check=True)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["samples_per_second"]


def model(torch, name):
    nn = torch.nn
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                         nn.Linear(84, 10))


class Step:
    """A training step, eagerly or with its forward pass compiled."""

    def __init__(self, torch, name, device, batch):
        cuda = device == "cuda"
        self.torch, self.net = torch, model(torch, name).to(device)
        options = {"fused": True, "capturable": True} if cuda else {}
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3, **options)
        self.x = torch.randn(batch, 1, 28, 28, device=device)
        self.y = torch.randint(0, 10, (batch,), device=device)

    def turn(self, net):
        self.optimizer.zero_grad(set_to_none=False)
        self.torch.nn.functional.cross_entropy(net(self.x), self.y).backward()
        self.optimizer.step()

    def turns(self, captured):
        yield "eager, fused AdamW", lambda: lambda: self.turn(self.net)
        if not self.x.is_cuda:
            return
        yield "whole step captured", lambda: captured(self.torch, lambda: self.turn(self.net))
        for mode in ("default", "reduce-overhead", "max-autotune"):
            net = self.torch.compile(self.net, dynamic=False, mode=mode)
            yield f"compiled, {mode}", lambda n=net: lambda: self.turn(n)
        net = self.torch.compile(self.net, dynamic=False)
        yield "compiled and captured", lambda: captured(self.torch, lambda: self.turn(net))


def fastest(torch, step, captured, window, seconds):
    tried, best = {}, (None, None)
    for name, make in step.turns(captured):
        try:
            turn = make()
            window(torch, turn, seconds)
            tried[name] = window(torch, turn, seconds)
        except Exception as e:  # a variant that this PyTorch does not have is no fault
            tried[name] = f"{type(e).__name__}: {str(e)[:120]}"
            continue
        if best[0] is None or tried[name] < tried[best[0]]:
            best = (name, turn)
    return (*best, tried)


def run(torch, arguments, captured, window):
    rows = []
    for batch in BATCHES[:1] if arguments.tiny else BATCHES:
        batch, steps = (16, 8) if arguments.tiny else (batch, 4000 if batch < 1024 else 800)
        row = {"what": f"{arguments.name}, batch {batch}, AdamW, F32", "unit": "samples/s"}
        turn = None
        if torch:
            step = Step(torch, arguments.name, arguments.device, batch)
            row["variant"], turn, row["tried"] = fastest(torch, step, captured, window,
                                                         arguments.seconds)
        quern(arguments, batch, steps)
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(quern(arguments, batch, steps))
            if turn:
                theirs.append(batch / window(torch, turn, 5 * arguments.seconds))
        row["quern"] = statistics.median(ours)
        row["torch"] = statistics.median(theirs) if theirs else None
        row["ratio"] = row["quern"] / row["torch"] if theirs else None
        row["spread"] = (max(ours) - min(ours)) / row["quern"]
        row["windows"] = {"quern": ours, "torch": theirs}
        rows.append(row)
    return rows


def attention(torch, window):
    """cuDNN's causal attention, forward and backward apart, and what determinism costs."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    rows = []
    for b, h, t, d in ATTENTION:
        q, k, v = (torch.randn(b, h, t, d, device="cuda", dtype=torch.bfloat16,
                               requires_grad=True) for _ in range(3))
        gy = torch.randn_like(q)
        flops = 2 * b * h * t * t * d  # forward, once below the diagonal
        for deterministic in (False, True):
            torch.use_deterministic_algorithms(deterministic, warn_only=True)
            with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
                def forward():
                    return torch.nn.functional.scaled_dot_product_attention(q, k, v,
                                                                            is_causal=True)
                y = forward()
                first = window(torch, forward, 0.5)
                second = window(torch, lambda: torch.autograd.grad(y, (q, k, v), gy,
                                                                   retain_graph=True), 0.5)
            rows.append({"shape": [b, h, t, d], "deterministic": deterministic,
                         "forward_tflops": 1e-12 * flops / first,
                         "backward_tflops": 2.5e-12 * flops / second})
    torch.use_deterministic_algorithms(False)
    return rows
