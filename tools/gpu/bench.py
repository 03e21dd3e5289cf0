#!/usr/bin/env python3
"""Quern against PyTorch on one GPU: the same work on the same inputs, taking turns.

    bench.py NAME RUN_FOLDER RESULT_FILE [--limit SECONDS] [--device cpu] [--tiny]

NAME is a group of tools/bench/subjects.py (kernels), mlp or lenet (training), or probes (what the
plan rests on: cadence of tiny kernels, products, attention). For each case: the results of both
sides are compared first, and a case whose results differ counts as failed whatever its speed;
PyTorch tries its variants and keeps the fastest; then both sides run a window each, round after
round, with a copy of memory in between, which is what the floor is made of. Medians and spreads;
the card's clocks, power and temperature beside them. The card is warmed up first. What the limit
does not suffice for is left out: variants first, then whole cases, and then the group has not run.
--device cpu --tiny is for machines without a GPU: it shows that all of this runs, not how fast.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bench")]
from record import FAILED, NOT_RUN, PASSED, write  # noqa: E402
import card  # noqa: E402
import models  # noqa: E402
import subjects  # noqa: E402

MATRIX_RATE = 790e12  # flops of BF16 and F16 products that were measured on an H200
QUERN_SETTINGS = {"default": [], "tuned": ["--tune"],
                  "tuned, nondeterministic": ["--tune", "--nondeterministic"]}
PROBES = ["cadence", "epilogues", "sustained"]


def load_torch():
    try:
        import torch
    except ImportError:
        return None
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    help_inductor()
    return torch


def help_inductor():
    """What the compiler leaves untried by itself; a version that lacks it does without."""
    try:
        from torch._inductor import config
    except ImportError:
        return
    for name, value in (("coordinate_descent_tuning", True),
                        ("max_autotune_gemm_backends", "ATEN,TRITON")):
        if hasattr(config, name):
            setattr(config, name, value)


class Tools:
    """What the measurements share: the clock's end, windows, the card's state."""

    def __init__(self, torch, arguments):
        self.torch, self.device = torch, arguments.device
        self.until = time.monotonic() + arguments.limit

    def window(self, torch, turn, seconds):
        return torch_window(torch, turn, seconds)

    def captured(self, torch, turn):
        return captured(torch, turn)

    def synchronize(self):
        if self.torch and self.torch.cuda.is_available():
            self.torch.cuda.synchronize()

    def card(self, row):
        if self.device == "cuda":
            row.setdefault("card", []).append(card.state())

    def soak(self, most):
        """Warms the card up: products, so long that clocks have settled, but no large part."""
        seconds = min(most, (self.until - time.monotonic()) / 10)
        if self.device == "cuda" and self.torch:
            a = self.torch.randn(8192, 8192, device="cuda", dtype=self.torch.bfloat16)
            torch_window(self.torch, lambda: self.torch.matmul(a, a), seconds)


class Quern:
    """A serving bench_kernels."""

    def __init__(self, folder, c, dims, options):
        self.name = c.name
        command = [f"{folder}/bin/bench_kernels", c.subject, ",".join(map(str, dims)),
                   "--dtype", c.dtype, *options]
        self.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "bench_kernels ended"}
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.read()

    def window(self, seconds):
        return self.ask(f"run {seconds}")["seconds"]

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


def torch_window(torch, turn, seconds):
    """Seconds of one turn, over at least `seconds` of them."""
    count = 1
    while True:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(count):
            turn()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent = time.perf_counter() - begin
        if spent >= seconds:
            return spent / count
        count = max(2 * count, int(1.1 * count * seconds / max(spent, 1e-9)))


def captured(torch, turn):
    """Replays a turn. A graph keeps no tensor alive that was there before it: the replay does."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            turn()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        turn()
    return lambda kept=turn: graph.replay()


def fastest(torch, side, seconds, until):
    """The fastest variant, its turn, and what was tried."""
    def each():
        for name, make, capturable in side.variants(torch):
            yield name, make, 1
            if capturable and torch.cuda.is_available():
                yield f"{name}, captured", lambda m=make: captured(torch, m()), 1
    name, turn, _, tried = models.fastest(torch, each(), torch_window, seconds / 2, until)
    return name, turn, tried


def compare(torch, ours, theirs, gate):
    """The largest error of each tensor, relative to its largest element; what is beyond."""
    errors = {}
    for name, tensor in theirs.items():
        flat = tensor.detach().float().contiguous().flatten()
        mine = torch.tensor(ours[name], dtype=torch.float32)
        picked = flat[:: max(1, flat.numel() // mine.numel())][:mine.numel()].cpu()
        scale = max(float(picked.abs().max()), 1e-30)
        errors[name] = float((mine - picked).abs().max()) / scale
    beyond = [f"{name} {error:.2g}" for name, error in errors.items() if not error <= gate]
    return errors, beyond


def gate_and_choose(torch, arguments, c, dims, ours, row, until):
    """Whether results agree; then PyTorch's fastest turn."""
    side = subjects.build(torch, torch.device(arguments.device), c, dims) if torch else None
    if side is None:
        row["gate"] = "not run: no PyTorch"
        return None
    ours.ask("turns 1")
    row["errors"], beyond = compare(torch, ours.ask("sample"), side.sampled(torch), c.gate)
    row["gate"] = f"beyond {c.gate}: {', '.join(beyond)}" if beyond else "passed"
    row["variant"], turn, row["tried"] = fastest(torch, side, arguments.seconds, until)
    return turn


def take_turns(torch, arguments, quern, turn, copy, moved, note):
    """Windows of each of Quern's settings, of PyTorch and of the copy, as bytes per second."""
    windows = {name: [] for name in quern}
    theirs, rates = [], []
    for _ in range(arguments.rounds):
        note()
        for name, side in quern.items():
            windows[name].append(side.window(arguments.seconds))
        if turn:
            theirs.append(torch_window(torch, turn, arguments.seconds))
        rates.append(moved / copy.window(arguments.seconds / 4))
    note()
    return windows, theirs, rates


def run_case(torch, arguments, c, copy, moved, tools, until):
    dims = c.tiny if arguments.tiny else c.dims
    if arguments.device == "cpu" and c.dtype == "F16":  # for which PyTorch lacks CPU kernels
        c = c._replace(dtype="BF16")
    c = subjects.case(c.name, c.subject, c.dtype, dims, c.tiny)
    products = c.flops > 0 and arguments.device == "cuda"
    options = ["--device", arguments.device]
    quern = {name: Quern(arguments.folder, c, dims, options + more)
             for name, more in QUERN_SETTINGS.items() if products or not more}
    row = {"what": f"{c.subject} {c.name}", "unit": "us"}
    turn = gate_and_choose(torch, arguments, c, dims, quern["default"], row, until)
    windows, theirs, rates = take_turns(torch, arguments, quern, turn, copy, moved,
                                        lambda: tools.card(row))
    for side in quern.values():
        side.end()
    row["settings"] = {name: 1e6 * statistics.median(w) for name, w in windows.items()}
    best = min(("default", "tuned"), key=lambda n: row["settings"].get(n, float("inf")))
    row["quern"] = row["settings"][best]
    row["spread"] = (max(windows[best]) - min(windows[best])) / statistics.median(windows[best])
    rate = statistics.median(rates)
    floor = max(c.bytes / rate, c.flops / MATRIX_RATE if products else 0)
    row |= {"copy_bytes_per_second": rate, "share": 1e6 * floor / row["quern"],
            "torch": 1e6 * statistics.median(theirs) if theirs else None}
    row["ratio"] = row["torch"] / row["quern"] if theirs else None
    free = row["settings"].get("tuned, nondeterministic")
    row["free_ratio"] = row["torch"] / free if theirs and free else None
    row["windows"] = {"quern": windows, "torch": theirs}
    return row


def kernels(torch, arguments, tools):
    """Rows, and how many there would have been."""
    c = subjects.GROUPS["copy"][0]
    dims = c.tiny if arguments.tiny else c.dims
    copy = Quern(arguments.folder, c, dims, ["--device", arguments.device])
    rows, wanted = [], subjects.GROUPS[arguments.name]
    for at, case in enumerate(wanted):
        share = (tools.until - time.monotonic()) / (len(wanted) - at)
        if share < 8 and rows and not arguments.tiny:
            break
        rows.append(run_case(torch, arguments, case, copy, 2 * dims[0], tools,
                             time.monotonic() + 0.5 * share))
    copy.end()
    return rows, len(wanted)


def library_folders(torch):
    """Where cuBLASLt may be: the toolkit's folder, and PyTorch's wheels."""
    wheels = pathlib.Path(torch.__file__).parent.parent.glob("nvidia/*/lib") if torch else []
    return [os.environ.get("LD_LIBRARY_PATH", ""), "/usr/local/cuda/lib64", *map(str, wheels)]


def probes(torch, arguments):
    """JSON lines of tools/gpu/probes.cu, and attention through PyTorch, which calls cuDNN."""
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(library_folders(torch))}
    found = {}
    for name in PROBES:
        done = subprocess.run([f"{arguments.folder}/bin/probes", name], capture_output=True,
                              text=True, timeout=240, check=False, env=environment)
        if done.returncode != 0:
            raise RuntimeError(f"probes {name}: {done.stderr.strip()[-200:]}")
        found[name] = [json.loads(line) for line in done.stdout.splitlines()]
    found["attention"] = models.attention(torch, torch_window) if torch else "no PyTorch"
    return found


def judge(rows, wanted):
    """The status of a group and a sentence."""
    wrong = [f"{r['what']} ({r['gate']})" for r in rows if r.get("gate", "").startswith("beyond")]
    if wrong:
        return FAILED, f"results differ: {'; '.join(wrong)}"
    ratios = [r["ratio"] for r in rows if r["ratio"]]
    text = f"{len(rows)} of {wanted} cases; nothing to compare with"
    if ratios:
        text = (f"{len(rows)} of {wanted} cases, {min(ratios):.2f} to {max(ratios):.2f} times the "
                "fastest PyTorch")
    return (PASSED if len(rows) == wanted else NOT_RUN), text


def main(words):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("name", "folder", "result"):
        parser.add_argument(name)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--limit", type=float, default=500, help="seconds for all of it")
    arguments = parser.parse_args(words)
    arguments.seconds, arguments.rounds = (0.005, 2) if arguments.tiny else (0.2, 5)
    torch = load_torch()
    tools = Tools(torch, arguments)
    try:
        tools.soak(30)
        if arguments.name == "probes":
            write(arguments.result, PASSED, "measured", {"probes": probes(torch, arguments)})
            return
        if arguments.name in models.NAMES:
            rows, wanted = models.run(torch, arguments, tools)
        elif arguments.name in subjects.GROUPS:
            rows, wanted = kernels(torch, arguments, tools)
        else:
            names = [*subjects.GROUPS, *models.NAMES, "probes"]
            write(arguments.result, NOT_RUN, f"there is no {arguments.name}: {', '.join(names)}")
            return
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as e:
        words = e.stderr if isinstance(e, subprocess.CalledProcessError) else str(e)
        write(arguments.result, FAILED, f"{type(e).__name__}: {(words or '').strip()[-300:]}")
        return
    write(arguments.result, *judge(rows, wanted), {"ratios": rows})


if __name__ == "__main__":
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    main(sys.argv[1:])
