#!/usr/bin/env python3
"""Quern against PyTorch on one GPU: the same model, batch and optimizer, taking turns.

    bench.py MODEL RUN_FOLDER RESULT_FILE

Quern trains with `quern train`; PyTorch with the whole step in one CUDA graph, which for models
this small is its best setting: eager and torch.compile launch kernel by kernel. Both sides get
Fashion-MNIST's shapes with batch 128 and AdamW. PyTorch's batch lies on the GPU, Quern's comes
through its input path, so the comparison is not in Quern's favour. Medians of five windows.
"""
import json
import statistics
import subprocess
import sys

from record import FAILED, PASSED, write

WINDOWS, STEPS, BATCH = 5, 4000, 128


def quern(folder, model):
    command = [f"{folder}/bin/quern", "train", "--model", model, "--data", f"{folder}/data",
               "--device", "cuda", "--steps", str(STEPS), "--batch-size", str(BATCH), "--no-save",
               "--workers", "2", "--log-every", str(STEPS), "--json", "--quiet",
               "--run-dir", f"{folder}/bench-run"]
    subprocess.run(["rm", "-rf", f"{folder}/bench-run"], check=True)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["samples_per_second"]


def torch_model(torch, name):
    nn = torch.nn
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                         nn.Linear(84, 10))


class Torch:
    """One captured training step that is replayed."""

    def __init__(self, name):
        import torch
        self.torch = torch
        device = torch.device("cuda")
        self.model = torch_model(torch, name).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, capturable=True,
                                           fused=True)
        self.x = torch.randn(BATCH, 1, 28, 28, device=device)
        self.y = torch.randint(0, 10, (BATCH,), device=device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(5):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()

    def step(self):
        self.optimizer.zero_grad(set_to_none=False)
        loss = self.torch.nn.functional.cross_entropy(self.model(self.x), self.y)
        loss.backward()
        self.optimizer.step()

    def rate(self):
        start = self.torch.cuda.Event(enable_timing=True)
        end = self.torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(STEPS):
            self.graph.replay()
        end.record()
        end.synchronize()
        return STEPS * BATCH / (start.elapsed_time(end) / 1000)


def main(model, folder, result):
    try:
        other = Torch(model)
        other.rate(), quern(folder, model)  # warm both up
        rates = [(quern(folder, model), other.rate()) for _ in range(WINDOWS)]
    except (ImportError, RuntimeError, subprocess.CalledProcessError) as e:
        words = e.stderr if isinstance(e, subprocess.CalledProcessError) else str(e)
        write(result, FAILED, f"{type(e).__name__}: {(words or '').strip()[-300:]}")
        return
    ours = statistics.median(r[0] for r in rates)
    theirs = statistics.median(r[1] for r in rates)
    ratio = {"what": f"{model}, batch {BATCH}, AdamW, F32, samples/s", "quern": ours,
             "torch": theirs}
    write(result, PASSED, f"{ours / theirs:.2f} times PyTorch's captured step",
          {"ratios": [ratio], "windows": rates})


if __name__ == "__main__":
    main(*sys.argv[1:])
