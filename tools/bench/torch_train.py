#!/usr/bin/env python3
"""PyTorch's side of the benchmark: the same model, batch, optimizer and data as bench_train.

    torch_train.py --model mlp|lenet [--optimizer adamw|sgd] [--data fashion-mnist|memory]
                   [--threads N] [--impl for|foreach|fused] [--compile] [--channels-last]
                   [--windows N] [--seconds T] [--serve]

Prints one JSON object. With --serve it prints {"ready": ...} and then answers lines of standard
input with one JSON object each:
    use {"threads": 2, "impl": "fused", ...}    other settings, with new weights
    train T                                     trains for at least T seconds
    end                                         the summary, and ends
PyTorch is given every help: the training set lies ready as one normalised float tensor of which a
batch is a slice (no shuffle, no conversion, no copy), gradients are set to None, and the loss is
read at the end of a window only. Works with PyTorch from 1.13 on.
"""
import argparse
import gzip
import json
import os
import statistics
import sys
import time

START = float(os.environ.get("QUERN_BENCH_START", time.monotonic()))

import torch  # noqa: E402  (its import is part of the start-up time)

BATCH = 128
MEMORY_SAMPLES = 1024
STEPS_AT_ONCE = 25


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = torch.nn.Linear(784, 512)
        self.fc2 = torch.nn.Linear(512, 10)

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


def read_idx(path, offset):
    with gzip.open(path) as file:
        return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)[offset:]


def load(data):
    if data == "memory":
        labels = torch.arange(MEMORY_SAMPLES) % 10
        return torch.rand(MEMORY_SAMPLES, 1, 28, 28), labels
    folder = os.environ.get("QUERN_DATA_DIR", "/usr/share/datasets/fashion-mnist")
    images = read_idx(os.path.join(folder, "train-images-idx3-ubyte.gz"), 16)
    labels = read_idx(os.path.join(folder, "train-labels-idx1-ubyte.gz"), 8)
    images = images.reshape(-1, 1, 28, 28).float().div_(255).sub_(0.2860).div_(0.3530)
    return images, labels.long()


def make_optimizer(parameters, settings):
    if settings["optimizer"] == "sgd":
        kind, options = torch.optim.SGD, {"lr": 0.01}
    else:
        kind, options = torch.optim.AdamW, {"lr": 1e-3}
    if settings["impl"] != "for":
        options[settings["impl"]] = True
    elif "foreach" in kind.__init__.__code__.co_varnames:
        options["foreach"] = False
    return kind(parameters, **options)


class Bench:
    def __init__(self, settings):
        self.images, self.labels = load(settings["data"])
        self.at = 0
        self.steps = 0
        self.first_update = None
        self.rates = []
        self.loss = float("nan")
        self.use(settings)

    def use(self, settings):
        """Weights, optimizer and, if wanted, compiled code for these settings; one warm-up."""
        self.settings = settings
        torch.set_num_threads(settings["threads"])
        torch.manual_seed(1)
        self.model = Mlp() if settings["model"] == "mlp" else Lenet()
        if settings["channels_last"]:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(self.model.parameters(), settings)
        self.forward = self.loss_of
        if settings["compile"]:
            torch._dynamo.reset()
            self.forward = torch.compile(self.loss_of)
        self.rates = []
        self.train_steps(STEPS_AT_ONCE)

    def loss_of(self, x, y):
        return torch.nn.functional.cross_entropy(self.model(x), y)

    def train_steps(self, count):
        for _ in range(count):
            if self.at + BATCH > len(self.labels):
                self.at = 0
            x, y = self.images[self.at:self.at + BATCH], self.labels[self.at:self.at + BATCH]
            self.at += BATCH
            loss = self.forward(x, y)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            if self.first_update is None:
                self.first_update = time.monotonic()
        self.steps += count
        self.loss = loss.detach()

    def window(self, seconds):
        steps, begin, spent = 0, time.monotonic(), 0.0
        while spent < seconds:
            self.train_steps(STEPS_AT_ONCE if self.settings["model"] == "mlp" else 5)
            spent = time.monotonic() - begin
            steps += STEPS_AT_ONCE if self.settings["model"] == "mlp" else 5
        self.rates.append(steps / spent)
        return steps / spent

    def summary(self):
        median = statistics.median(self.rates) if self.rates else 0.0
        return {
            "side": "torch", "version": torch.__version__, "batch": BATCH, **self.settings,
            "steps_per_second": median, "samples_per_second": median * BATCH,
            "spread": (max(self.rates) - min(self.rates)) / median if self.rates else 0.0,
            "windows": len(self.rates), "steps": self.steps, "loss": float(self.loss),
            "startup_seconds": self.first_update - START, "peak_rss_bytes": peak_resident_bytes(),
        }


def peak_resident_bytes():
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def say(what):
    print(json.dumps(what), flush=True)


def serve(bench):
    say({"ready": True, "version": torch.__version__,
         "can_compile": hasattr(torch, "compile")})
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        try:
            if command == "train":
                say({"steps_per_second": bench.window(float(rest))})
            elif command == "use":
                begin = time.monotonic()
                bench.use({**bench.settings, **json.loads(rest)})
                say({"seconds": time.monotonic() - begin})
            elif command == "end":
                break
            else:
                say({"error": f"no such command: {command}"})
        except Exception as error:  # a setting that this PyTorch lacks is an answer, not an end
            say({"error": f"{type(error).__name__}: {error}"[:300]})
    say(bench.summary())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=["mlp", "lenet"], default="mlp")
    parser.add_argument("--optimizer", choices=["adamw", "sgd"], default="adamw")
    parser.add_argument("--data", choices=["fashion-mnist", "memory"], default="fashion-mnist")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--impl", choices=["for", "foreach", "fused"], default="foreach")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--serve", action="store_true")
    arguments = vars(parser.parse_args())
    alone = {name: arguments.pop(name) for name in ("windows", "seconds", "serve")}
    bench = Bench(arguments)
    if alone["serve"]:
        serve(bench)
        return
    for _ in range(alone["windows"]):
        bench.window(alone["seconds"])
    say(bench.summary())


if __name__ == "__main__":
    main()
