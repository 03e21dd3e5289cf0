"""Training steps of whole models, and attention: PyTorch's variants beside Quern's own loop.

Quern (bench_train) trains with its whole loop and input path on Fashion-MNIST; PyTorch's batch lies
on the device and never changes, which is not in Quern's favour. Before a speed counts, both train
100 updates on one batch from the same weights, and the losses are compared. A row is a batch size
and a precision.
"""
import json
import os
import pathlib
import shutil
import statistics
import struct
import subprocess
import sys
import time
from collections import namedtuple

NAMES = ["mlp", "lenet"]
ATTENTION = [(64, 12, 1024, 64), (16, 16, 2048, 128), (4, 16, 8192, 128)]
UNROLLED = 32  # steps of one launch, in PyTorch's longest captures
CURVE = 100    # updates whose losses are compared
START_GATE = 1e-3  # of the first loss: the same weights and the same batch
# Of the others, in parts of the first loss: what roundings make of 100 updates of AdamW, in which a
# weight with a small gradient moves by the whole rate either way. On the CPU they were apart by
# 2e-6 in F32 and 6e-3 in BF16.
CURVE_GATE = {"f32": 0.005, "tf32": 0.02, "bf16": 0.04}
SETTINGS = {"default": [], "tuned": ["--tune"],
            "tuned, nondeterministic": ["--tune", "--nondeterministic"]}

Row = namedtuple("Row", "batch precision")
# The most telling first: what the time does not suffice for is left out from the end.
ROWS = [Row(128, "f32"), Row(4096, "bf16"), Row(128, "bf16"), Row(4096, "tf32"), Row(128, "tf32"),
        Row(4096, "f32")]
TINY = [Row(16, "f32"), Row(16, "bf16")]


class Quern:
    """A serving bench_train."""

    def __init__(self, arguments, row, more):
        folder = pathlib.Path(arguments.folder)
        command = [folder / "bin/bench_train", "--model", arguments.name, "--serve", "--device",
                   arguments.device, "--batch", str(row.batch), "--precision", row.precision, *more]
        data = {"QUERN_DATA_DIR": str(folder / "data")} if (folder / "data").is_dir() else {}
        start = repr(time.monotonic())
        self.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**os.environ, **data, "QUERN_BENCH_START": start})
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(timeout=60)
            raise RuntimeError(self.process.stderr.read().strip()[-300:] or "bench_train ended")
        return json.loads(line)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.read()

    def end(self):
        summary = self.ask("end")
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
        self.process.wait(timeout=60)
        return summary


def train(arguments, row, *more):
    """`quern train` on one batch, again and again; its run directory."""
    run = pathlib.Path(arguments.folder) / "bench-run"
    shutil.rmtree(run, ignore_errors=True)
    data = run.parent / "data"
    subprocess.run([run.parent / "bin/quern", "train", "--model", arguments.name, "--data",
                    data if data.is_dir() else "fashion-mnist", "--device", arguments.device,
                    "--batch-size", str(row.batch), "--precision", row.precision, "--seed", "1",
                    "--overfit-batch", "--eval-batches", "1", "--log-every", "1", "--quiet",
                    "--run-dir", run, *more], check=True, capture_output=True, text=True)
    return run


def safetensors(path):
    """Notes, and tensors by name as (shape, bytes)."""
    raw = pathlib.Path(path).read_bytes()
    size, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + size])
    notes = header.pop("__metadata__", {})
    return notes, {name: (t["shape"], raw[8 + size + t["data_offsets"][0]:
                                          8 + size + t["data_offsets"][1]])
                   for name, t in header.items()}


def first_samples(torch, folder, count, config):
    """The first images and labels, as `quern train` reads and normalises them."""
    import gzip

    def read(name, offset, size):
        with gzip.open(pathlib.Path(folder) / f"train-{name}-ubyte.gz") as file:
            return torch.frombuffer(bytearray(file.read(offset + size)), dtype=torch.uint8)[offset:]
    images = read("images-idx3", 16, count * 784).float().reshape(count, 1, 28, 28)
    mean, deviation = config["data-mean"][0], config["data-deviation"][0]
    return ((images * config["data-scale"] - mean) / deviation,
            read("labels-idx1", 8, count).long())


def model(torch, name):
    nn = torch.nn
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                         nn.Linear(84, 10))


def set_precision(torch, precision):
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    if hasattr(torch, "set_float32_matmul_precision"):
        torch.set_float32_matmul_precision("high" if tf32 else "highest")


class Step:
    """A training step with weights and an optimizer of its own."""

    def __init__(self, torch, name, x, y, precision):
        self.torch, self.x, self.y = torch, x, y
        self.half = precision == "bf16"
        self.net = model(torch, name).to(x.device)
        options = {"fused": True, "capturable": True} if x.is_cuda else {}
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3, weight_decay=0,
                                           **options)
        self.loss, self.update = self.loss_of, self.optimizer.step

    def loss_of(self):
        kind = "cuda" if self.x.is_cuda else "cpu"
        with self.torch.autocast(kind, dtype=self.torch.bfloat16, enabled=self.half):
            return self.torch.nn.functional.cross_entropy(self.net(self.x), self.y)

    def compiled(self, mode="default", update=False):
        """The loss inside the compiled region; the optimizer's step too, where wanted."""
        self.loss = self.torch.compile(self.loss_of, dynamic=False, fullgraph=True, mode=mode)
        if update:
            self.update = self.torch.compile(self.optimizer.step)
        return self

    def __call__(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        self.update()
        return loss

    def unrolled(self):
        for _ in range(UNROLLED):
            self()


def variants(torch, make, captured, cuda):
    """Name, how to make its turn, steps a turn; the ones that probably win first."""
    yield "eager, fused AdamW", make, 1
    if not cuda or not hasattr(torch, "compile"):
        return
    yield "whole step captured", lambda: captured(torch, make()), 1
    yield f"{UNROLLED} steps captured", lambda: captured(torch, make().unrolled), UNROLLED
    yield "compiled and captured", lambda: captured(torch, make().compiled()), 1
    yield (f"compiled, {UNROLLED} steps captured",
           lambda: captured(torch, make().compiled().unrolled), UNROLLED)
    yield "compiled, reduce-overhead", lambda: make().compiled("reduce-overhead"), 1
    yield "compiled with the optimizer", lambda: make().compiled(update=True), 1
    yield "compiled, max-autotune", lambda: make().compiled("max-autotune"), 1


def fastest(torch, tried_variants, window, seconds, until):
    """The fastest variant, its turn, its steps a turn, and what was tried."""
    tried, best = {}, (None, None, 1, float("inf"))
    for name, make, steps in tried_variants:
        if time.monotonic() > until and best[0]:
            tried[name] = "no time left"
            continue
        try:
            turn = make()
            window(torch, turn, seconds)
            tried[name] = window(torch, turn, seconds) / steps
        except Exception as e:  # a variant that this PyTorch does not have is no fault
            tried[name] = f"{type(e).__name__}: {str(e)[:120]}"
            continue
        if tried[name] < best[3]:
            best = (name, turn, steps, tried[name])
    return (*best[:3], tried)


def losses(run):
    with open(run / "metrics.jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [line["train/loss"] for line in lines if line.get("event") == "log"]


def load_weights(torch, net, path):
    """Each parameter has a shape of its own."""
    _, tensors = safetensors(path)
    by_shape = {tuple(shape): raw for shape, raw in tensors.values()}
    with torch.no_grad():
        for parameter in net.parameters():
            raw = bytearray(by_shape[tuple(parameter.shape)])
            parameter.copy_(torch.frombuffer(raw, dtype=torch.float32).reshape(parameter.shape))


def compare_curves(ours, theirs, gate):
    """What is wrong, or nothing: the first losses are near, and the others not far."""
    if len(ours) != len(theirs) or not ours:
        return f"{len(ours)} losses against {len(theirs)}"
    first = abs(ours[0] - theirs[0])
    worst = max((abs(a - b) for a, b in zip(ours, theirs)), key=lambda e: (e != e, e))
    if not first <= START_GATE:
        return f"the first losses are {ours[0]:.6g} and {theirs[0]:.6g}"
    if not worst <= gate * theirs[0]:
        return f"losses part by {worst:.3g}, allowed {gate * theirs[0]:.3g}"
    return ""


def check_curve(torch, arguments, row, data):
    """The numerical gate: '' when it held."""
    count = 20 if arguments.tiny else CURVE
    start = train(arguments, row, "--lr", "0", "--steps", "1")
    config = json.loads((start / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    x, y = (t.to(arguments.device) for t in first_samples(torch, data, row.batch, config))
    step = Step(torch, arguments.name, x, y, row.precision)
    load_weights(torch, step.net, start / "checkpoints/step-1/model.safetensors")
    theirs = [float(step().detach()) for _ in range(count)]
    ours = losses(train(arguments, row, "--steps", str(count), "--no-save"))
    return compare_curves(ours, theirs, CURVE_GATE[row.precision]), x, y


def host_us(turn, steps, count, synchronize):
    """Processor time of PyTorch's process, a step, waiting included."""
    begin = time.process_time()
    for _ in range(count):
        turn()
    synchronize()
    return 1e6 * (time.process_time() - begin) / (count * steps)


def their_side(torch, arguments, row, out, tools, until):
    """Gate and variants of a row: PyTorch's fastest turn, and its steps."""
    data = pathlib.Path(arguments.folder) / "data"
    set_precision(torch, row.precision)
    wrong, x, y = check_curve(torch, arguments, row, data)
    out["gate"] = f"beyond: {wrong}" if wrong else "passed"

    def make():
        return Step(torch, arguments.name, x, y, row.precision)
    tried = variants(torch, make, tools.captured, arguments.device == "cuda")
    out["variant"], turn, steps, out["tried"] = fastest(torch, tried, tools.window,
                                                        arguments.seconds, until)
    if turn is None:
        raise RuntimeError(f"no variant of PyTorch runs: {out['tried']}")
    return turn, steps


def run_row(torch, arguments, row, tools, until):
    out = {"what": f"{arguments.name}, batch {row.batch}, AdamW, {row.precision.upper()}",
           "unit": "samples/s"}
    turn, steps = None, 1
    if torch:
        turn, steps = their_side(torch, arguments, row, out, tools, until)
    settings = SETTINGS if arguments.device == "cuda" else {"default": []}
    quern = {name: Quern(arguments, row, more) for name, more in settings.items()}
    ours, theirs = {name: [] for name in quern}, []
    host = []
    for _ in range(arguments.rounds):
        tools.card(out)
        for name, side in quern.items():
            answer = side.ask(f"train {2.5 * arguments.seconds}")
            ours[name].append(row.batch * answer["steps_per_second"])
            host += [answer["host_us"]] if name == "default" else []
        if turn:
            theirs.append(row.batch * steps / tools.window(torch, turn, 2.5 * arguments.seconds))
    tools.card(out)
    if turn:
        out["torch_host_us"] = host_us(turn, steps, 20, tools.synchronize)
    startup = {name: side.end()["startup_seconds"] for name, side in quern.items()}
    out["quern_start"], out["quern_host_us"] = startup["default"], statistics.median(host)
    medians = {name: statistics.median(w) for name, w in ours.items()}
    best = max(("default", "tuned"), key=lambda n: medians.get(n, 0))
    out |= {"settings": medians, "quern": medians[best],
            "spread": (max(ours[best]) - min(ours[best])) / medians[best],
            "torch": statistics.median(theirs) if theirs else None,
            "windows": {"quern": ours, "torch": theirs}}
    out["ratio"] = out["quern"] / out["torch"] if theirs else None
    free = "tuned, nondeterministic"
    out["free_ratio"] = medians[free] / out["torch"] if theirs and free in medians else None
    return out


def torch_start(arguments):
    """Seconds from exec to the end of the first update of a PyTorch process, eager."""
    command = [sys.executable, __file__, arguments.name, arguments.device]
    start = {**os.environ, "QUERN_BENCH_START": repr(time.monotonic())}
    done = subprocess.run(command, env=start, check=True, capture_output=True, text=True,
                          timeout=120)
    return float(done.stdout)


def run(torch, arguments, tools):
    """Rows, and how many there would have been."""
    rows, wanted = [], TINY if arguments.tiny else ROWS
    start = torch_start(arguments) if torch else None
    for at, row in enumerate(wanted):
        share = (tools.until - time.monotonic()) / (len(wanted) - at)
        if share < 10 and rows and not arguments.tiny:
            break
        out = run_row(torch, arguments, row, tools, time.monotonic() + 0.45 * share)
        rows.append(out | {"torch_start": start})
    return rows, len(wanted)


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


def main(name, device):
    """What a process that trains has to do before its first update is done."""
    import torch
    x = torch.rand(128, 1, 28, 28).to(device)
    step = Step(torch, name, x, (torch.arange(128) % 10).to(device), "f32")
    float(step().detach())
    if device == "cuda":
        torch.cuda.synchronize()
    print(time.monotonic() - float(os.environ["QUERN_BENCH_START"]))


if __name__ == "__main__":
    main(*sys.argv[1:3])
