"""The benchmark's result as Markdown tables."""


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def settings_text(settings):
    words = [f"{settings['threads']} thread" + ("s" if settings["threads"] > 1 else "")]
    words.append({"for": "plain step", "foreach": "foreach step", "fused": "fused step"}
                 [settings["impl"]])
    if settings["channels_last"]:
        words.append("channels last")
    if settings["compile"]:
        words.append("compiled")
    return ", ".join(words)


def throughput(rows):
    out = []
    for r in rows:
        q = r["quern"]
        line = [r["model"], r["optimizer"], f"{q['samples_per_second']:,.0f}",
                f"{q['threads']}, ± {50 * q['spread']:.0f} %"]
        if r["torch"]:
            t = next(t for t in r["torch"] if t["name"] == r["best_torch"])
            line += [f"{t['samples_per_second']:,.0f}", t["name"],
                     f"{settings_text(t['settings'])}, ± {50 * t['spread']:.0f} %",
                     f"**{r['ratio']:.2f}**"]
        else:
            line += ["", "", "", ""]
        out.append(line + [f"{100 * r['share_of_floor']:.0f} %"])
    return table(["model", "optimizer", "Quern samples/s", "threads, spread", "PyTorch samples/s",
                  "which", "its best setting", "ratio", "Quern's share of the floor"], out)


def floors(rows):
    out = []
    for r in rows:
        f, p = r["floor"], r["parts"]
        step = 1 / r["quern"]["steps_per_second"]
        both = p["forward_backward_seconds"]
        out.append([r["model"], r["optimizer"], f"{r['step_flops'] / 1e6:.1f}",
                    f"{r['step_bytes'] / 1e6:.1f}", f"{f['own_flops_per_second'] / 1e9:.0f}",
                    f"{f['large_flops_per_second'] / 1e9:.0f}",
                    f"{f['copy_bytes_per_second'] / 1e9:.1f}", f"{1e3 * r['floor_seconds']:.2f}",
                    f"{1e3 * step:.2f}", f"{1e3 * p['forward_seconds']:.2f}",
                    f"{1e3 * (both - p['forward_seconds']):.2f}", f"{1e3 * (step - both):.2f}"])
    return table(["model", "optimizer", "MFLOP a step", "MB a step", "GFLOP/s, the step's products",
                  "GFLOP/s, 768³", "GB/s copied", "floor ms", "step ms", "forward ms",
                  "backward ms", "update and input ms"], out)


def footprints(rows):
    out = []
    for r in rows:
        def cell(key, factor, digits):
            values = [f"{factor * r['quern'][key]:.{digits}f}"]
            values += [f"{factor * t[key]:.{digits}f} ({t['name'].split()[-1]})"
                       for t in r["torch"]]
            return [values[0], ", ".join(values[1:])]
        out.append([r["model"], r["data"], *cell("peak_rss_bytes", 1e-6, 0),
                    f"{r.get('memory_ratio', float('nan')):.3f}",
                    *cell("startup_seconds", 1, 3),
                    f"{r.get('startup_ratio', float('nan')):.3f}"])
    return table(["model", "data", "Quern peak MB", "PyTorch peak MB", "ratio to the least",
                  "Quern start-up s", "PyTorch start-up s", "ratio to the least"], out)


def trials(result):
    out = []
    for group in result["trials"]:
        for t in group.get("trials", []):
            rate = f"{t['steps_per_second']:.0f}" if "error" not in t else "not available"
            out.append([group["name"], t["optimizer"], settings_text(t), rate])
        for threads, rate in group.get("by_threads", {}).items():
            name, model, optimizer = group["name"].split()
            out.append([f"{name} {model}", optimizer, f"{threads} threads", f"{rate:.0f}"])
    return table(["side", "optimizer", "setting", "steps/s"], out)


def verdicts(rows):
    lines = []
    for r in rows:
        if r["optimizer"] == "adamw" and r["torch"]:
            word = "met" if r["expected_met"] else "NOT met"
            lines.append(f"- {r['model']}: {word}: {r['ratio']:.2f} times the best PyTorch, "
                         f"{100 * r['share_of_floor']:.0f} % of the floor.")
    return lines + [""] if lines else []


def markdown(result):
    m = result["machine"]
    lines = [f"# Training on the CPU, {m['date']}", "",
             f"{m['cores']} cores of {m['cpu']}; Quern at {m['commit']}; PyTorch "
             f"{' and '.join(m['torch']) or 'absent'}; {m['system']}. Load average before: "
             f"{m['load_before']:.2f}. Batch 128, single precision, Fashion-MNIST; MLP 784-512-10, "
             f"LeNet 6-16-120-84. Medians of {result['plan']['rounds']} windows of "
             f"{result['plan']['seconds']} s, taken in turns; the ratio is the median of the "
             "rounds' ratios. Quern reads, shuffles, converts and normalises bytes for each batch; "
             "PyTorch gets slices of one ready float tensor.", ""]
    if m["load_before"] > 0.5:
        lines += ["**The machine was not quiet: these figures show order, not size.**", ""]
    lines += ["## Throughput", ""] + throughput(result["rows"])
    lines += ["Expected with AdamW: twice the best PyTorch, or 75 % of the floor.", ""]
    lines += verdicts(result["rows"])
    lines += ["## Floor, and where Quern's step goes", "",
              "The floor is the larger of flops over the better of the two matrix rates and bytes "
              "over the copy rate, measured between the windows on the same threads; the products "
              "go through Quern's own tiles, so what tiling costs is not seen here. What the step "
              "takes beyond forward and backward is the update and its share of the input.",
              ""] + floors(result["rows"])
    lines += ["## Memory and start-up of whole processes", "",
              "Process start to the first applied update, and the peak resident size after 25 "
              "updates; `memory`: 1024 samples made in the process, `fashion-mnist`: 60,000 images "
              "read from the gzipped files. AdamW; PyTorch eager.", ""]
    lines += footprints(result["footprints"])
    lines += ["## Settings tried", ""] + trials(result)
    return "\n".join(lines)
