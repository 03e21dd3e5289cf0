"""Proves tools/tidy.py: a small clean tree passes, and each planted violation is named.

Usage: test_tidy.py path/to/tidy.py
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

GENERATOR = "import sys\nprint('/* one builder per op */')\n"

CLEAN = {
    "CMakeLists.txt": "add_subdirectory(src)\n",
    "include/quern/ops.def": 'QUERN_OP(relu, NO_DESC, "y = max(x, 0)")\n',
    "include/quern/ops.h": "/* one builder per op */\n",
    "include/quern/status.h": "typedef int quern_status;\n",
    "tools/make_ops_h.py": GENERATOR,
    "tests/kernels/op_cases.def": "OP_CASE(relu, 1)\n",
    "src/host/base/text.h": "int text_length(const char *text);\n",
    "src/host/base/text.c": '#include "text.h"\n\n/* printf( in a comment is fine */\n'
                            "int text_length(const char *text) {\n    return text != 0;\n}\n",
    "src/host/base/CMakeLists.txt": "target_sources(quern_objects PRIVATE text.c)\n",
    "src/host/graph/graph.h": '#include "../base/text.h"\n#include <quern/status.h>\n',
    "src/host/data/data.h": "int data;\n",
    "src/host/optim/optim.h": '#include "../graph/graph.h"\n',
    "src/kernels/kernel.h": "struct kernel;\n",
    "src/kernels/cpu/cpu.h": '#include "../kernel.h"\n#include "../../host/base/text.h"\n',
    "src/kernels/cuda/cuda.h": '#include "../kernel.h"\n#include <cuda_runtime.h>\n',
    "tools/quern/main.h": "#include <quern/status.h>\n",
}


def function(lines):
    body = "".join(f"    x += {i};\n" for i in range(lines - 4))
    return "int long_one(int x,\n             int y) {\n" + body + "    return x + y;\n}\n"


# (file, text or None to append nothing, what tidy must say)
APPEND = [
    ("src/host/base/text.h", '#include "../graph/graph.h"\n',
     "src/host/base/text.h:2: includes upwards: src/host/graph/graph.h"),
    ("src/host/data/data.h", '#include "../optim/optim.h"\n', "includes upwards: src/host/optim"),
    ("src/kernels/cpu/cpu.h", '#include "../cuda/cuda.h"\n', "includes upwards: src/kernels/cuda"),
    ("src/kernels/kernel.h", '#include "cpu/cpu.h"\n', "includes upwards: src/kernels/cpu"),
    ("include/quern/status.h", '#include "../../src/kernels/kernel.h"\n', "includes upwards"),
    ("src/host/graph/graph.h", "#include <cudnn.h>\n", "CUDA header outside src/kernels/cuda"),
    ("tools/quern/main.h", '#include "../../src/kernels/kernel.h"\n', "the public API only"),
    ("src/host/base/text.c", "/* " + "x" * 95 + " */\n", "text.c:7: 101 columns"),
    ("tools/make_ops_h.py", "# " + "x" * 99 + "\n", "101 columns"),
    ("src/host/base/text.c", function(71), "text.c:7: function of 71 lines"),
    ("src/host/base/text.c", "int a;\n" * 500, "506 lines, at most 500"),
    ("src/host/base/text.c", "/* TO" + "DO later */\n", "unfinished"),
    ("src/host/base/text.c", "static int count = 0;\n", "mutable static"),
    ("src/host/base/text.c", "static int table[3];\n", "mutable static"),
    ("src/host/base/text.c", 'void f(void) { printf("x"); }\n', "library code calls printf"),
    ("src/host/base/text.c", "void f(void) { abort(); }\n", "library code calls abort"),
    ("src/host/base/text.c", "int f(d *d) { return d->stream_wait(d); }\n", "not counted"),
    ("src/host/base/text.c", "int f(d *d) { return d->event_wait(d); }\n", "not counted"),
    ("include/quern/ops.def", 'QUERN_OP(tanh, NO_DESC, "y")\n', "no test row for the op tanh"),
    ("include/quern/ops.h", "int by_hand;\n", "ops.h:1: differs from what"),
    ("notes.md", "a file at the top\n", "notes.md:1: the top level is closed"),
    ("src/host/base/lost.c", "int lost;\n", "lost.c:1: no CMakeLists.txt names this source"),
]
ALLOWED = [
    ("src/host/base/text.c", "/* " + "x" * 94 + " */\n"),
    ("src/host/base/text.c", function(70)),
    ("src/host/base/text.c", "static const int table[3] = {1, 2, 3};\n"),
    ("src/host/base/text.c", 'static int f(void) { return snprintf(0, 0, "exit(1)"); }\n'),
    ("src/host/base/text.c", "static _Thread_local char sentence[1024];\n"),
]


def run(tidy, root, planted):
    for name, text in CLEAN.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if planted:
        with open(root / planted[0], "a", encoding="utf-8") as file:
            file.write(planted[1])
    done = subprocess.run([sys.executable, tidy, str(root)], check=False, capture_output=True,
                          text=True)
    shutil.rmtree(root)
    return done.returncode, done.stdout + done.stderr


def main():
    tidy, failures = sys.argv[1], []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "tree"
        for planted in [None, *ALLOWED]:
            code, said = run(tidy, root, planted)
            if code != 0:
                failures.append(f"clean tree with {planted} was refused:\n{said}")
        for name, text, expected in APPEND:
            code, said = run(tidy, root, (name, text))
            if code != 1 or expected not in said or len(said.splitlines()) != 1:
                failures.append(f"{name} + {text[:60]!r}: expected one line with {expected!r}, "
                                f"exit 1; got exit {code}:\n{said}")
    print("\n".join(failures) or f"{len(APPEND)} planted violations named, nothing else")
    return 1 if failures else 0


sys.exit(main())
