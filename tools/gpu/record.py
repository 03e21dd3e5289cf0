#!/usr/bin/env python3
"""The results of tools/gpu/check.sh: writes one, says what the machine is, merges them.

    record.py FILE STATUS TEXT [JSON]      one result
    record.py --gtest PREFIX CODE          PREFIX.gtest (GoogleTest's JSON) as PREFIX.json
    record.py --machine COMMIT DEVICES     card, driver, versions and commit, as JSON
    record.py --reason < DEVICES           why no GPU can be used; nothing when one can
    record.py --report FOLDER              report.md and report.json
    record.py --exit-code FOLDER PREFIX…   0 passed, 1 failed, 3 something was not run
"""
import datetime
import json
import pathlib
import platform
import re
import subprocess
import sys

import card

PASSED, FAILED, NOT_RUN = "passed", "failed", "not_run"
# What a full check consists of: what is missing here was not run, and the report says so.
EXPECTED = ["build", "tests-test_gpu", "resume", "sanitize-memcheck", "sanitize-racecheck",
            "sanitize-initcheck", "sanitize-synccheck"] + [f"bench-{name}" for name in (
                "mlp", "lenet", "adamw", "layer_norm", "softmax_cross_entropy", "linear",
                "linear_gelu", "conv_bn_relu", "copy", "probes")]
SKIP = {"report.json", "devices.json"}


def output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def write(path, status, text, more=None):
    assert status in (PASSED, FAILED, NOT_RUN), status
    result = {"status": status, "text": text,
              "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}
    if more:
        result["more"] = more
    pathlib.Path(path).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def machine(commit, devices):
    listing = json.loads(pathlib.Path(devices).read_text(encoding="utf-8"))
    lines = pathlib.Path(commit).read_text(encoding="utf-8").splitlines()
    release = re.search(r"release ([\d.]+)", output("nvcc", "--version"))
    torch = output("python3", "-c", "import torch; print(torch.__version__, torch.version.cuda, "
                                    "torch.backends.cudnn.version())")
    return {"commit": lines[0] if lines else "unknown", "changed_files": lines[1:],
            "quern": listing["version"], "cuda_reason": listing["cuda_reason"],
            "libraries": (listing.get("cuda") or {}).get("libraries", []),
            "gpus": [d for d in listing["devices"] if d["kind"] == "cuda"],
            "driver": output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
            "nvcc": release.group(1) if release else "", "torch": torch,
            "system": platform.platform()}


def reason():
    text = sys.stdin.read()
    if not text.strip():
        return "quern devices does not run"
    return json.loads(text)["cuda_reason"] or ""


def gtest(prefix, code):
    """A skip is a failure, and so is a run without tests."""
    path = pathlib.Path(prefix + ".gtest")
    if not path.is_file():
        write(prefix + ".json", FAILED, f"ended with {code} before it could report")
        return
    cases = [c for s in json.loads(path.read_text(encoding="utf-8"))["testsuites"]
             for c in s["testsuite"]]
    skipped = [c["name"] for c in cases if c.get("result") == "SKIPPED"]
    failed = [c["name"] for c in cases if c.get("failures")]
    passed = len(cases) - len(skipped) - len(failed)
    well = code == 0 and cases and not skipped and not failed
    text = f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped, exit code {code}"
    write(prefix + ".json", PASSED if well else FAILED, text,
          {"failed": failed, "skipped": skipped})
    print(f"{path.stem}: {text}")


def load(folder):
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        if path.name not in SKIP:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    return found


def table(ratios):
    """A row a case; microseconds are a turn's, and the ratio is above 1 where Quern is ahead: with
    the same bits in each run, and with `allow_nondeterministic`."""
    def text(value, form):
        return format(value, form) if value is not None else "-"

    lines = ["", "| measured | unit | Quern | PyTorch | its variant | ratio | nondeterministic | "
             "share of the floor | spread | card |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    lines += [f"| {r['what']} | {r['unit']} | {text(r['quern'], ',.1f')} | "
              f"{text(r['torch'], ',.1f')} | {r.get('variant') or '-'} | "
              f"{text(r['ratio'], '.2f')} | {text(r.get('free_ratio'), '.2f')} | "
              f"{text(r.get('share'), '.0%')} | {text(r.get('spread'), '.1%')} | "
              f"{card.summary(r.get('card', [])) or '-'} |" for r in ratios]
    return lines + host_table([r for r in ratios if r.get("quern_start") is not None])


def host_table(rows):
    """Start-up is exec to the end of the first update, caches as they were found; processor time is
    the process's own, waiting for the card included."""
    if not rows:
        return []

    def pair(row, name, form):
        return " | ".join(format(row[side], form) if row.get(side) is not None else "-"
                          for side in (f"quern_{name}", f"torch_{name}"))
    return ["", "| host | start-up s, Quern | PyTorch | processor us a step, Quern | PyTorch |",
            "| --- | --- | --- | --- | --- |"] + [
                f"| {r['what']} | {pair(r, 'start', '.2f')} | {pair(r, 'host_us', ',.1f')} |"
                for r in rows]


def library_line(about):
    """The versions that Quern loaded; PyTorch's own stand beside PyTorch."""
    found = [f"{l['name']} {l.get('version') or 'none'}" for l in about.get("libraries", [])]
    return f"Quern loaded: {', '.join(found) or 'nothing'}."


def probe_lines(probes):
    """The probes as they came: they settle choices, and have nothing to be compared with."""
    return ["", "```"] + [f"{name}: {json.dumps(line)}" for name, found in probes.items()
                          for line in (found if isinstance(found, list) else [found])] + ["```"]


def report(folder):
    results = load(folder)
    for name in EXPECTED:
        results.setdefault(name, {"status": NOT_RUN, "text": "check.sh was not asked to"})
    about = results["build"].get("more", {})
    gpus = ", ".join(g["name"] for g in about.get("gpus", [])) or "none"
    lines = ["# Quern on a GPU", "",
             f"Card: {gpus}. Driver: {about.get('driver') or 'none'}. "
             f"nvcc: {about.get('nvcc') or 'none'}. PyTorch, its CUDA and its cuDNN: "
             f"{about.get('torch') or 'none'}.", library_line(about),
             f"Commit: {about.get('commit', 'unknown')}"
             f"{' with changes' if about.get('changed_files') else ''}.", "",
             "| check | outcome | |", "| --- | --- | --- |"]
    for name in sorted(results):
        r = results[name]
        lines.append(f"| {name} | {r['status'].replace('_', ' ')} | {r['text']} |")
    for r in results.values():
        more = r.get("more", {})
        lines += table(more["ratios"]) if more.get("ratios") else []
        lines += probe_lines(more["probes"]) if more.get("probes") else []
    text = "\n".join(lines) + "\n"
    pathlib.Path(folder, "report.md").write_text(text, encoding="utf-8")
    pathlib.Path(folder, "report.json").write_text(json.dumps(results, indent=1) + "\n",
                                                   encoding="utf-8")
    print(text)


def exit_code(folder, prefixes):
    states = [r["status"] for name, r in load(folder).items()
              if any(name.startswith(p) for p in prefixes)]
    if FAILED in states:
        return 1
    return 3 if NOT_RUN in states or not states else 0


def main(arguments):
    if arguments[0] == "--gtest":
        gtest(arguments[1], int(arguments[2]))
    elif arguments[0] == "--machine":
        print(json.dumps(machine(arguments[1], arguments[2])))
    elif arguments[0] == "--reason":
        print(reason())
    elif arguments[0] == "--report":
        report(arguments[1])
    elif arguments[0] == "--exit-code":
        return exit_code(arguments[1], arguments[2:])
    else:
        more = json.loads(arguments[3]) if len(arguments) > 3 and arguments[3] else None
        write(arguments[0], arguments[1], arguments[2], more)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
