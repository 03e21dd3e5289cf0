#!/usr/bin/env python3
"""The vendor's libraries on the machine with a GPU: where they may be, and whether they were found.

    libraries.py --folders            folders to look in, as QUERN_CUDA_LIBRARY_PATH takes them
    libraries.py --missing < DEVICES  what `quern devices --json` could not load; or nothing

cuDNN and NCCL often are nowhere but beside PyTorch, in its wheels. Without cuBLASLt or cuDNN the
backend falls back to its own kernels, and a check that passed on those would have checked nothing.
"""
import importlib.util
import json
import pathlib
import sys

NEEDED = ("cuBLASLt", "cuDNN")
TOOLKIT = ["/usr/local/cuda/lib64", "/usr/local/cuda/lib"]


def torch_packages():
    """The folder of packages that PyTorch lies in, without loading it, which takes seconds."""
    found = importlib.util.find_spec("torch")
    return pathlib.Path(found.origin).parent.parent if found and found.origin else None


def folders(packages, toolkit=TOOLKIT):
    """PyTorch's own come first: a process that loads two versions of cuDNN is hard to explain."""
    wheels = sorted(packages.glob("nvidia/*/lib")) if packages else []
    return [str(f) for f in [*wheels, *map(pathlib.Path, toolkit)] if f.is_dir()]


def missing(listing):
    """A clause for each needed library without a version; empty when all were loaded."""
    cuda = listing.get("cuda") or {}
    found = {l["name"]: l for l in cuda.get("libraries", [])}
    lost = [name for name in NEEDED if not found.get(name, {}).get("version")]
    return "; ".join(f"{name} was not loaded ({found.get(name, {}).get('reason') or 'not listed'})"
                     for name in lost)


def main(arguments):
    if arguments == ["--folders"]:
        print(":".join(folders(torch_packages())))
    elif arguments == ["--missing"]:
        text = sys.stdin.read()
        print(missing(json.loads(text)) if text.strip() else "quern devices does not run")
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
