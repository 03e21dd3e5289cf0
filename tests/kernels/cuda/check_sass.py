#!/usr/bin/env python3
"""What nvcc made of the kernels, read back from the objects.

    check_sass.py CUOBJDUMP OBJECT…

Of the objects, those are read whose sources claim something below: reading all takes minutes.
Fails where one of their kernels keeps anything in local memory (a register that was spilled, an
array that is indexed by a variable), where one that claims 16-byte accesses has none, and where one
has more of an instruction than it claims. All are invisible to every test of results, and each
costs a memory-bound kernel most of its speed.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

LOAD, STORE = "LDG.E.128", "STG.E.128"
# Source, the beginning of a kernel's mangled name behind its length, what it must contain. Every
# instantiation with a pack of 16 bytes is one of the claims; a pattern that finds none is wrong.
WIDE = r"(?:Li4E(?=.*f)|Li8E(?=.*(?:6__half|13__nv_bfloat16)))"
CLAIMS = [
    ("relu", rf"map_kernelI{WIDE}", (LOAD, STORE)),
    ("cast", r"map_kernelILi4E.*7cast_toIfEEf", (STORE,)),
    ("add", rf"walk_kernelI{WIDE}", (LOAD, STORE)),
    ("sum", r"fold_rowsILi(?:32|256)ELi[48]E", (LOAD,)),
    ("sum", r"fold_columnsILi[48]E", (LOAD,)),
    ("batch_norm", r"fold_rowsILi(?:32|256)ELi8E", (LOAD,)),
    ("batch_norm", r"channels_planesILi(?:32|256)ELi8E", (LOAD, STORE)),
    ("batch_norm", r"fold_columnsILi[48]E", (LOAD,)),
    ("batch_norm", r"channels_columnsILi8E", (LOAD, STORE)),
    ("max_pool2d", rf"(?:forward|backward)_kernelI{WIDE}", (LOAD, STORE)),
    ("avg_pool2d", rf"(?:forward|backward)_kernelI{WIDE}", (LOAD, STORE)),
    ("layer_norm", r"norm_forward_kernelILi(?:32|256)ELi8E", (LOAD, STORE)),
    ("layer_norm", r"norm_whole_kernelI", (LOAD, STORE)),
    ("add_layer_norm", r"norm_forward_kernelILi(?:32|256)ELi8E", (LOAD, STORE)),
    ("add_layer_norm", r"norm_whole_kernelI", (LOAD, STORE)),
    ("softmax", r"softmax_(?:forward|backward)_rowsILi(?:32|256)ELi8E", (LOAD, STORE)),
    ("softmax_cross_entropy", r"forward_kernelILi(?:32|256)ELi8E", (LOAD,)),
    ("softmax_cross_entropy", r"backward_kernelILi(?:32|256)ELi8E", (LOAD, STORE)),
    ("task_norm", r"chunk_kernelILi4E", (LOAD,)),
    ("update", r"update_kernelI.*Li4E", (LOAD, STORE)),
    ("embedding", r"table_copy_kernelILi[48]E", (LOAD, STORE)),
    ("embedding", r"table_add_kernelILi[48]E", (LOAD, STORE)),
    ("dropout", rf"map_kernelI{WIDE}", (LOAD, STORE)),
]
# At most so many of an instruction. A block of Philox is 20 wide products: of the five packs of
# elements in dropout's code those of 4 draw one block each, those of 8 two.
MOST = [
    ("dropout", r"map_kernelILi4E(?=.*f)", "IMAD.WIDE.U32", 5 * 20 + 60),
    ("dropout", r"map_kernelILi8E", "IMAD.WIDE.U32", 10 * 20 + 60),
]


def source(path):
    return pathlib.Path(path).name.split(".")[0]


def dump(tool, path, *arguments):
    beside = f"{pathlib.Path(tool).parent}:{os.environ['PATH']}"  # nvdisasm, which it calls
    return subprocess.run([tool, *arguments, path], check=True, capture_output=True, text=True,
                          env={**os.environ, "PATH": beside}).stdout


def local_memory(tool, path):
    """Kernels with a stack frame or local memory."""
    text = dump(tool, path, "--dump-resource-usage")
    found = re.findall(r"Function (\S+):\s*\n\s*REG:(\d+) STACK:(\d+).*?LOCAL:(\d+)", text)
    bad = [f"{source(path)}: {name} has {stack} bytes of stack, {local} of local memory"
           for name, _, stack, local in found if int(stack) or int(local)]
    return len(found), max((int(f[1]) for f in found), default=0), bad


def narrow_accesses(tool, path, claims):
    """Claims of this object that its code does not keep."""
    pieces = re.split(r"\n\s*Function : (\S+)", dump(tool, path, "-sass"))
    code = dict(zip(pieces[1::2], pieces[2::2]))
    bad = []
    for _, pattern, needed in claims:
        kernels = [name for name in code if re.search(r"\d" + pattern, name)]
        if not kernels:
            bad.append(f"{source(path)}: no kernel is like {pattern}")
        bad += [f"{source(path)}: {name} has no {access}" for name in kernels
                for access in needed if access not in code[name]]
    for _, pattern, instruction, most in (m for m in MOST if m[0] == source(path)):
        counts = {name: code[name].count(instruction) for name in code
                  if re.search(r"\d" + pattern, name)}
        bad += [f"{source(path)}: {name} has {n} of {instruction}, at most {most} were claimed"
                for name, n in counts.items() if n > most]
        if not counts:
            bad.append(f"{source(path)}: no kernel is like {pattern}")
    return bad


def check(tool, path):
    count, registers, bad = local_memory(tool, path)
    claims = [c for c in CLAIMS if c[0] == source(path)]
    return count, registers, bad + (narrow_accesses(tool, path, claims) if claims else [])


def main(tool, *objects):
    claiming = {c[0] for c in CLAIMS}
    missing = claiming - {source(path) for path in objects}
    objects = [path for path in objects if source(path) in claiming]
    failures = [f"{name}: there is no such object" for name in sorted(missing)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda path: check(tool, path), objects))
    failures += [line for _, _, bad in results for line in bad]
    kernels = sum(count for count, _, _ in results)
    if kernels == 0:
        failures.append("the objects hold no kernel")
    print("\n".join(failures))
    print(f"{kernels} kernels in {len(objects)} objects, at most "
          f"{max((r for _, r, _ in results), default=0)} registers: {len(failures)} faults")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
