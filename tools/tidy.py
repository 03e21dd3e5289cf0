#!/usr/bin/env python3
"""Checks the rules that people forget. Usage: tidy.py [root]; prints file:line: what, exits 1.

    includes        downward only (DESIGN section 2), CUDA headers only under src/kernels/cuda
    size            100 columns, 70 lines a function, 500 lines a file
    words           no TODO, no mutable static, library code neither prints nor exits; no wait
                    for the device but the counted ones
    ops             a test row for every op; ops.h is what its generator writes
    layout          the top level is closed; every source is named by a CMakeLists.txt
"""
import ast
import pathlib
import re
import subprocess
import sys

MAX_COLUMNS, MAX_FUNCTION, MAX_FILE = 100, 70, 500

TOP_LEVEL = set("""CMakeLists.txt include src tests tools docker README.md LICENSE CHANGELOG.md
    CMakePresets.json .clang-format .clang-tidy .gitignore .dockerignore .ci""".split())

# Folder -> level. A file includes its own folder and lower levels; equal levels do not see each
# other. src/kernels itself holds the contract that its folders share.
LEVELS = {
    "include/quern": 0,
    "src/host/base": 1,
    "src/kernels": 2,
    "src/kernels/optim": 2.1,
    "src/kernels/cpu": 2.2,
    "src/kernels/cuda": 2.2,
    "src/host/device": 3,
    "src/host/dist": 3,
    "src/host/graph": 4,
    "src/host/nn": 5,
    "src/host/models": 6,
    "src/host/data": 6,
    "src/host/optim": 6,
    "src/host/train": 7,
}

CODE = {".c", ".h", ".cc", ".cu", ".cuh"}
NARROW = CODE | {".def", ".py", ".sh", ".cmake", ".txt"}
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
CUDA_HEADER = re.compile(r"(cuda|cublas|cudnn|curand|cufft|cusparse|cusolver|nccl|nvtx|nvToolsExt|"
                         r"nvml|nvrtc|cub/|thrust/|cooperative_groups|mma\.h)", re.I)
FORBIDDEN = re.compile(r"(?<![\w.>])(printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror|"
                       r"exit|_exit|_Exit|quick_exit|abort|signal|sigaction|setlocale)\s*\(")
MUTABLE_STATIC = re.compile(r"\s*static\s+(?!const\b|constexpr\b|_Thread_local\b|inline\b)[^()=]*"
                            r"(=[^=]|;|\[)")
# Each guards or is something that belongs to the whole process; its file says why: a global of the
# BLAS, the signal handlers.
ALLOWED_STATICS = {("src/kernels/cpu/blas_memory.c", "lock"),
                   ("src/host/train/loop/signals.c", "lock"),
                   ("src/host/train/loop/signals.c", "counts"),
                   ("src/host/train/loop/signals.c", "users"),
                   ("src/host/train/loop/signals.c", "before")}
ALLOWED_CALLS = {("src/host/train/loop/signals.c", "sigaction")}
# Where the host waits is counted in one file, so that what is counted is all there is.
WAIT = re.compile(r"->(stream_wait|event_wait)\s*\(")
WAITS = "src/host/device/wait.c"
# Ranks that wait for each other, with a deadline: dist does not see the device.
OTHER_WAITS = {"src/host/dist/world_watch.c"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


class Tidy:
    def __init__(self, root):
        self.root = root
        self.found = []
        self.files = self.list_files()

    def list_files(self):
        """What git tracks or would track; without git, everything but build output."""
        command = ["git", "-C", str(self.root), "ls-files", "-co", "--exclude-standard"]
        if (self.root / ".git").exists():
            names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            return sorted(n for n in names.splitlines() if (self.root / n).is_file())
        skip = re.compile(r"(build[^/]*|runs|\.git)(/|$)|(.*/)?__pycache__/")
        names = (p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file())
        return sorted(n for n in names if not skip.match(n))

    def say(self, name, line, what):
        self.found.append(f"{name}:{line}: {what}")

    def run(self):
        for name in self.files:
            path = pathlib.PurePosixPath(name)
            if path.suffix not in NARROW or "corpus" in path.parts:
                continue
            if path.suffix == ".txt" and path.name != "CMakeLists.txt":
                continue
            self.check_file(name, path)
        self.check_top_level()
        self.check_named_sources()
        self.check_op_rows()
        self.check_ops_header()
        return self.found

    def check_file(self, name, path):
        text = (self.root / name).read_text(encoding="utf-8")
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_COLUMNS:
                self.say(name, number, f"{len(line)} columns, at most {MAX_COLUMNS}")
            if name != "tools/tidy.py" and UNFINISHED.search(line):
                self.say(name, number, "unfinished: " + UNFINISHED.search(line).group())
        if len(lines) > MAX_FILE + 1 and path.suffix in CODE:
            self.say(name, 1, f"{len(lines) - 1} lines, at most {MAX_FILE}")
        if path.suffix in CODE:
            code = without_comments(text).split("\n")
            self.check_includes(name, lines)
            self.check_functions(name, code)
            if name.startswith("src/"):
                self.check_words(name, code)
        if path.suffix == ".py":
            self.check_python(name, text)

    def check_includes(self, name, lines):
        folder = folder_of(name)
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            kind, target = match.groups()
            if CUDA_HEADER.match(target) and kind == "<" and folder != "src/kernels/cuda" \
                    and name != "tools/gpu/probes.cu":  # measures CUDA itself
                self.say(name, number, f"CUDA header outside src/kernels/cuda: {target}")
            resolved = self.resolve(name, kind, target)
            if resolved is None:
                continue
            # They measure the loop's parts, and the kernels.
            inside = name in ("tools/bench/bench_loop.c", "tools/bench/kernel_bench.h")
            if folder is None and name.startswith("tools/") and resolved.startswith("src/") \
                    and not inside:
                self.say(name, number, f"a tool uses the public API only: {resolved}")
            if folder is None:
                continue
            other = folder_of(resolved)
            if other != folder and (other is None or LEVELS[other] >= LEVELS[folder]):
                self.say(name, number, f"includes upwards: {resolved}")

    def resolve(self, name, kind, target):
        """The included file's path from the root, None when it is a system header."""
        if target.startswith("quern/"):
            return "include/" + target
        candidates = [] if kind == "<" else [(self.root / name).parent / target]
        candidates += [self.root / folder / target for folder in ("src", "tests", "tests/shim", "")]
        for candidate in candidates:
            if candidate.is_file():
                return candidate.resolve().relative_to(self.root).as_posix()
        return None

    def check_functions(self, name, code):
        for start, end, head in functions(code):
            if end - start + 1 > MAX_FUNCTION:
                self.say(name, start, f"function of {end - start + 1} lines, "
                                      f"at most {MAX_FUNCTION}: {head}")

    def check_words(self, name, code):
        for number, line in enumerate(code, 1):
            match = FORBIDDEN.search(line)
            if match and (name, match.group(1)) not in ALLOWED_CALLS:
                self.say(name, number, f"library code calls {match.group(1)}")
            if WAIT.search(line) and name.startswith("src/host/") \
                    and name not in OTHER_WAITS | {WAITS}:
                self.say(name, number, f"a wait that is not counted: {WAITS} has those that are")
            allowed = any(name == file and re.search(rf"\b{word}\b", line)
                          for file, word in ALLOWED_STATICS)
            if MUTABLE_STATIC.match(line) and "const " not in line and not allowed:
                self.say(name, number, "mutable static: state belongs to a device or an object")

    def check_python(self, name, text):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                count = node.end_lineno - node.lineno + 1
                if count > MAX_FUNCTION:
                    self.say(name, node.lineno,
                             f"function of {count} lines, at most {MAX_FUNCTION}: {node.name}")

    def check_top_level(self):
        for entry in sorted({name.split("/")[0] for name in self.files} - TOP_LEVEL):
            self.say(entry, 1, "the top level is closed: not one of its entries")

    def check_named_sources(self):
        """A source that no CMakeLists.txt of its folder (or the one above) names is dead."""
        for name in self.files:
            path = pathlib.PurePosixPath(name)
            if path.suffix not in {".c", ".cc", ".cu"} or path.parts[0] not in ("src", "tests"):
                continue
            lists = [self.root / parent / "CMakeLists.txt" for parent in list(path.parents)[:3]]
            text = "".join(p.read_text(encoding="utf-8") for p in lists if p.is_file())
            stems = (path.name, f"/{path.stem}", f" {path.stem}", f"({path.stem}")
            if not any(stem in text.replace("\n", " ") for stem in stems):
                self.say(name, 1, "no CMakeLists.txt names this source")

    def check_op_rows(self):
        table = self.root / "include/quern/ops.def"
        cases = self.root / "tests/kernels/op_cases.def"
        rows = re.findall(r"^QUERN_OP\(\s*(\w+)", without_comments(table.read_text()), re.M)
        if not rows:
            self.say("include/quern/ops.def", 1, "no op row was understood")
        text = without_comments(cases.read_text()) if cases.is_file() else ""
        named = set(re.findall(r"^\s*\w+\(\s*(\w+)", text, re.M))
        for op in rows:
            if op not in named:
                self.say("tests/kernels/op_cases.def", 1, f"no test row for the op {op}")

    def check_ops_header(self):
        command = [sys.executable, str(self.root / "tools/make_ops_h.py"),
                   str(self.root / "include/quern/ops.def")]
        written = subprocess.run(command, check=False, capture_output=True, text=True)
        header = (self.root / "include/quern/ops.h").read_text(encoding="utf-8")
        if written.returncode != 0 or written.stdout != header:
            self.say("include/quern/ops.h", 1, "differs from what tools/make_ops_h.py writes")


def folder_of(name):
    """The longest known folder that holds the file, None outside src and include."""
    fitting = [folder for folder in LEVELS if name.startswith(folder + "/")]
    return max(fitting, key=len, default=None)


def without_comments(text):
    """The text with comments and string contents blanked, line breaks kept."""
    pattern = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', re.S)

    def blank(match):
        piece = match.group()
        if piece[0] == '"':
            return '""'
        return piece if piece[0] == "'" else re.sub(r"[^\n]", " ", piece)

    return pattern.sub(blank, text)


def functions(code):
    """(first line, last line, first line's text) of every function of formatted C or C++."""
    start, number, inside = None, 0, False
    for number, line in enumerate(code, 1):
        if inside:
            if line.startswith("}"):
                yield start, number, code[start - 1].strip()
                start, inside = None, False
            continue
        if not line.strip() or line.startswith(("#", "}")) or line.rstrip().endswith("\\"):
            start = None
            continue
        start = start or number
        stripped = line.rstrip()
        if stripped.endswith("{"):
            head = " ".join(code[start - 1:number])
            if "(" in head and "=" not in head.split("(")[0]:
                inside = True
            else:
                start = None
        elif stripped.endswith((";", "}")):
            start = None


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    found = Tidy(root.resolve()).run()
    print("\n".join(found) if found else "tidy: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
