#!/usr/bin/env python3
"""Quern against PyTorch: one run, both sides taking turns, each at its best setting.

    run.py [--build DIR] [--quick] [--out DIR]      at most about eight minutes; --quick two or so

Needs a built bench_train (cmake --build --preset release). PyTorch is looked for in Debian's
python (python3-torch, with libopenblas0-pthread beside it) and in the interpreter that
$QUERN_BENCH_PYTHON names; the faster of the two counts. For each model the PyTorch processes first
try their settings (threads 1 and 2, kinds of optimizer step, memory layout, torch.compile), Quern
its thread counts; then all sides train a window each, round after round, and Quern measures the
floor in between. Memory and start-up come from processes that do nothing else. Prints a table and
writes cpu-<date>.md and .json to results/.
"""
import argparse
import datetime
import glob
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import threading
import time

from report import markdown

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODELS, OPTIMIZERS = ["mlp", "lenet"], ["adamw", "sgd"]
LIMIT_SECONDS = 120  # for one answer of a side; torch.compile takes the longest
# On a slow machine the run leaves things out rather than take longer than eight minutes.
NO_COMPILE_AFTER, ONCE_AFTER = 240, 330


class Side:
    """One serving process and its answers."""

    def __init__(self, name, command, environment=None):
        self.name, self.command, self.environment = name, command, environment or {}
        self.start()

    def start(self):
        env = {**os.environ, **self.environment, "QUERN_BENCH_START": repr(time.monotonic())}
        self.process = subprocess.Popen(self.command, env=env, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.ready = self.read()

    def read(self):
        timer = threading.Timer(LIMIT_SECONDS, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
            while line and not line.startswith("{"):
                line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise RuntimeError(f"{self.name} ended or took over {LIMIT_SECONDS} s")
        return json.loads(line)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.read()

    def rate(self, seconds):
        return self.ask(f"train {seconds}")["steps_per_second"]

    def end(self):
        try:
            return self.ask("end")
        finally:
            self.process.stdin.close()
            self.process.wait(timeout=20)


def quern(binary, model, optimizer, threads, data="fashion-mnist"):
    return Side(f"quern {model}", [str(binary), "--serve", "--model", model, "--optimizer",
                                   optimizer, "--threads", str(threads), "--data", data])


def torch(python, model, settings, data="fashion-mnist"):
    command = [python["path"], str(HERE / "torch_train.py"), "--serve", "--model", model,
               "--optimizer", settings["optimizer"], "--threads", str(settings["threads"]),
               "--impl", settings["impl"], "--data", data]
    return Side(f"{python['name']} {model}", command, python["environment"])


def find_pythons():
    """Interpreters with PyTorch; a wheel whose CUDA libraries were left out finds the toolkit's."""
    found = []
    for path in ["/usr/bin/python3"] + os.environ.get("QUERN_BENCH_PYTHON", "").split(":"):
        if not path or not os.path.exists(path):
            continue
        prefix = pathlib.Path(path).parent.parent
        libraries = glob.glob(f"{prefix}/lib/python3*/site-packages/nvidia/*/lib")
        libraries += ["/usr/local/cuda/lib64", "/usr/local/cuda/extras/CUPTI/lib64"]
        for environment in ({}, {"LD_LIBRARY_PATH": ":".join(libraries)}):
            answer = subprocess.run(
                [path, "-c", "import torch; print(torch.__version__)"], text=True,
                capture_output=True, env={**os.environ, **environment}, timeout=LIMIT_SECONDS)
            if answer.returncode == 0:
                version = answer.stdout.strip()
                found.append({"path": path, "name": f"PyTorch {version}", "version": version,
                              "environment": environment})
                break
    return found


def try_settings(side, settings, seconds, trials):
    """Steps per second with these settings, None where this PyTorch lacks one."""
    try:
        answer = side.ask("use " + json.dumps(settings))
    except (RuntimeError, OSError) as error:  # it took too long, or took the process with it
        side.process.wait()
        side.start()
        answer = {"error": str(error)}
    if "error" in answer:
        trials.append({**settings, "error": answer["error"]})
        return None
    rate = side.rate(seconds)
    trials.append({**settings, "steps_per_second": rate})
    return rate


def tune(side, optimizer, model, seconds, compiles):
    """The best settings, found one choice after another; and every trial."""
    best = {"optimizer": optimizer, "threads": 1, "impl": "for", "compile": False,
            "channels_last": False}
    trials, best_rate = [], 0.0
    choices = [("impl", ["for", "foreach", "fused"]), ("threads", [2])]
    choices += [("channels_last", [True])] if model == "lenet" else []
    choices += [("compile", [True]), ("threads", [1, 2])] if compiles else []
    for name, values in choices:
        start = best
        for value in values:
            settings = {**start, name: value}
            if any(all(t[k] == v for k, v in settings.items()) for t in trials):
                continue
            rate = try_settings(side, settings, seconds, trials)
            if rate is not None and rate > best_rate:
                best, best_rate = settings, rate
    return best, trials


def tune_threads(binary, model, optimizer, seconds):
    rates = {}
    for threads in (1, 2):
        side = quern(binary, model, optimizer, threads)
        side.rate(seconds)
        rates[threads] = side.rate(seconds)
        side.end()
    return max(rates, key=rates.get), rates


def take_turns(ours, others, rounds, seconds):
    rates = {side.name: [] for side in [ours, *others]}
    floors = []
    for side in [ours, *others]:
        side.rate(seconds / 2)
    for number in range(rounds):
        turn = [ours, *others] if number % 2 == 0 else [*others, ours]
        for side in turn:
            time.sleep(0.1)  # threads of the side before stop spinning
            rates[side.name].append(side.rate(seconds))
        floors.append(ours.ask(f"floor {seconds / 4}"))
    return rates, floors


def summarise(rates, batch):
    median = statistics.median(rates)
    return {"steps_per_second": median, "samples_per_second": median * batch,
            "spread": (max(rates) - min(rates)) / median, "windows": rates}


def compare(ours, others, best, plan, optimizer):
    rates, floors = take_turns(ours, others, plan["rounds"], plan["seconds"])
    parts = ours.ask(f"parts {plan['seconds'] / 2}")
    summary = ours.end()
    middle = {key: statistics.median(f[key] for f in floors) for key in floors[0]}
    matrix = max(middle["own_flops_per_second"], middle["large_flops_per_second"])
    floor = max(summary["step_flops"] / matrix,
                summary["step_bytes"] / middle["copy_bytes_per_second"])
    own = summarise(rates[ours.name], summary["batch"])
    row = {"model": summary["model"], "optimizer": optimizer, "floor": middle,
           "floor_seconds": floor, "step_flops": summary["step_flops"],
           "step_bytes": summary["step_bytes"], "parts": parts,
           "quern": {**own, "threads": summary["threads"], "loss": summary["loss"]},
           "torch": [{"name": side.name.rsplit(" ", 1)[0], "settings": best[side.name],
                      **summarise(rates[side.name], summary["batch"])} for side in others]}
    row["share_of_floor"] = floor * own["steps_per_second"]
    if row["torch"]:
        rival = max(row["torch"], key=lambda t: t["steps_per_second"])
        row["best_torch"] = rival["name"]
        row["ratio"] = statistics.median(
            a / b for a, b in zip(own["windows"], rival["windows"]))
        row["expected_met"] = row["ratio"] >= 2 or row["share_of_floor"] >= 0.75
    return row


def run_model(binary, pythons, model, plan, result):
    """Tunes and compares one model with every optimizer; the PyTorch processes stay."""
    others, best = [], {}
    first = {"optimizer": "adamw", "threads": 1, "impl": "for"}
    for python in pythons:
        say(f"{model}: starting {python['name']}")
        others.append(torch(python, model, first))
    for optimizer in OPTIMIZERS:
        for side in others:
            say(f"{model} {optimizer}: trying settings of {side.name}")
            compiles = side.ready.get("can_compile", False) and not plan["quick"] and \
                elapsed() < NO_COMPILE_AFTER
            best[side.name], trials = tune(side, optimizer, model, plan["trial"], compiles)
            result["trials"].append({"name": side.name, "trials": trials})
        threads, rates = tune_threads(binary, model, optimizer, plan["trial"])
        result["trials"].append({"name": f"Quern {model} {optimizer}", "by_threads": rates})
        for side in others:
            side.ask("use " + json.dumps(best[side.name]))
        say(f"{model} {optimizer}: taking turns")
        ours = quern(binary, model, optimizer, threads)
        result["rows"].append(compare(ours, others, best, plan, optimizer))
    for side in others:
        side.end()


def footprint(binary, pythons, model, data, repeats, rows):
    """Peak memory and start-up of whole processes that train 25 steps; the least of `repeats`.
    PyTorch runs eagerly, on the thread count and optimizer step that were best for it."""
    def least(make):
        ends = [make().end() for _ in range(repeats)]
        return {key: min(e[key] for e in ends) for key in ("startup_seconds", "peak_rss_bytes")}

    row = next(r for r in rows if r["model"] == model and r["optimizer"] == "adamw")
    out = {"model": model, "data": data, "torch": []}
    out["quern"] = least(lambda: quern(binary, model, "adamw", row["quern"]["threads"], data))
    for python in pythons:
        settings = next(t["settings"] for t in row["torch"] if t["name"] == python["name"])
        measured = least(lambda: torch(python, model, settings, data))
        out["torch"].append({"name": python["name"], **measured})
    for key, name in (("startup_seconds", "startup_ratio"), ("peak_rss_bytes", "memory_ratio")):
        if out["torch"]:
            out[name] = out["quern"][key] / min(t[key] for t in out["torch"])
    return out


def command_output(*command):
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def machine(pythons):
    name = platform.processor()
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
    dirty = command_output("git", "status", "--porcelain", "--", "src", "include", "tools/bench")
    return {"cpu": name, "cores": len(os.sched_getaffinity(0)), "system": platform.platform(),
            "commit": command_output("git", "rev-parse", "--short", "HEAD") +
            (" with local changes" if dirty else ""),
            "torch": [p["version"] for p in pythons], "load_before": os.getloadavg()[0],
            "date": datetime.date.today().isoformat()}


def elapsed():
    return time.monotonic() - BEGIN


def say(text):
    print(f"[{elapsed():4.0f} s] {text}", file=sys.stderr, flush=True)


def find_binary(build):
    for folder in [build] if build else sorted(ROOT.glob("build/*")):
        binary = pathlib.Path(folder) / "tools/bench/bench_train"
        if binary.exists() and (build or folder.name == "release"):
            return binary
    sys.exit("run.py: no bench_train; cmake --preset release && cmake --build --preset release")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", help="build directory; default build/release")
    parser.add_argument("--quick", action="store_true", help="short windows, no torch.compile")
    parser.add_argument("--out", default=str(HERE / "results"))
    arguments = parser.parse_args()
    binary = find_binary(arguments.build)
    pythons = find_pythons()
    if not pythons:
        say("no PyTorch found: Quern alone")
    plan = {"rounds": 3, "seconds": 0.4, "trial": 0.2, "quick": True} if arguments.quick else \
        {"rounds": 5, "seconds": 1.0, "trial": 0.5, "quick": False}
    result = {"machine": machine(pythons), "plan": plan, "rows": [], "trials": [],
              "footprints": []}
    for model in MODELS:
        run_model(binary, pythons, model, plan, result)
    for model in MODELS:
        for data in ("memory", "fashion-mnist"):
            say(f"{model}: start-up and memory, {data}")
            repeats = 1 if arguments.quick or elapsed() > ONCE_AFTER else 2
            result["footprints"].append(footprint(binary, pythons, model, data, repeats,
                                                  result["rows"]))
    result["seconds"] = elapsed()
    text = markdown(result)
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    stem = out / f"cpu-{result['machine']['date']}"
    stem.with_suffix(".md").write_text(text)
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)
    say(f"written to {stem}.md and .json")


BEGIN = time.monotonic()
if __name__ == "__main__":
    main()
