#!/usr/bin/env python3
"""tools/gpu/check.sh with doubles of the programs that it runs: what it calls passed, failed and
not run, what it hands out, and that it keeps its time.

    test_check.py
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tools/gpu")]
import sanitizer  # noqa: E402

# Trains as MODE says: `right`; `early` fails before anybody can kill it; `late` is killed after its
# last checkpoint; `model` and `state` end in other bits there when they were resumed.
QUERN = """#!/usr/bin/env python3
import json, os, pathlib, sys, time
words, mode = sys.argv[1:], os.environ.get("MODE", "right")
if words[0] == "devices":
    libraries = [{"name": n, "version": "9.1"} for n in ("cuBLASLt", "cuDNN", "NCCL")
                 if n != os.environ.get("LOST")]
    print(json.dumps({"version": "0", "cuda_reason": os.environ.get("REASON"),
                      "devices": [{"kind": "cuda", "name": "A card"}],
                      "cuda": {"libraries": libraries}}))
    sys.exit(0)
run = pathlib.Path(words[words.index("--run-dir") + 1])
resumed, steps = "--resume" in words, 20000

def checkpoint(step):
    place = run / "checkpoints" / f"step-{step}"
    place.mkdir(parents=True, exist_ok=True)
    for name in ("model", "state"):
        other = resumed and name == mode
        (place / f"{name}.safetensors").write_text(f"{name} {step}{' other' if other else ''}")
    (place / "manifest.json").write_text("{}")
if mode == "early" and run.name == "killed":
    sys.exit(4)
to_be_killed = run.name == "killed" and not resumed
if to_be_killed and mode == "late":  # before the first, which it is killed for
    checkpoint(steps)
checkpoint(1000)
if to_be_killed:
    time.sleep(900)
checkpoint(steps)
"""

GTEST = """#!/usr/bin/env python3
import json, os, sys, time
time.sleep(float(os.environ.get("SLEEP", 0)))
for word in sys.argv[1:]:
    if word.startswith("--gtest_output=json:"):
        case = {"name": "a", "result": "COMPLETED"}
        with open(word.split(":", 1)[1], "w") as file:
            json.dump({"testsuites": [{"testsuite": [case]}]}, file)
"""

SANITIZER = """#!/usr/bin/env bash
cat "$LOG"
exit "$CODE"
"""


class Place(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.place.name)
        self.bin = self.root / "build/gpu/run/bin"
        self.results = self.root / "build/gpu/results"
        self.path = self.root / "path"
        for folder in (self.bin, self.path, self.root / "out"):
            folder.mkdir(parents=True)
        shutil.copytree(ROOT / "tools/gpu", self.root / "tools/gpu")
        for name, text in (("quern", QUERN), ("test_gpu", GTEST)):
            self.program(self.bin / name, text)

    def tearDown(self):
        self.place.cleanup()

    def program(self, path, text):
        path.write_text(text)
        path.chmod(0o755)

    def check(self, *words, path=None, **settings):
        # A command that has lost its time is ended here, whatever machine this is.
        environment = {**os.environ, "OUT": str(self.root / "out"), **settings,
                       "PATH": path or f"{self.path}:{os.environ['PATH']}"}
        return subprocess.run(["/bin/bash", self.root / "tools/gpu/check.sh", *words], text=True,
                              capture_output=True, env=environment, check=False, timeout=300)

    def result(self, name):
        found = json.loads((self.results / f"{name}.json").read_text())
        return found["status"], found["text"]


class Check(Place):
    def test_a_resumed_run_is_compared_whole(self):
        for mode, status, words in (("right", "passed", "bit for bit"),
                                    ("early", "failed", "ended by itself, with 4"),
                                    ("late", "not_run", "at its end"),
                                    ("model", "failed", "model.safetensors differs"),
                                    ("state", "failed", "state.safetensors differs")):
            with self.subTest(mode):
                done = self.check("tests", MODE=mode)
                self.assertEqual(self.result("resume")[0], status, self.result("resume")[1])
                self.assertIn(words, self.result("resume")[1])
                code = {"passed": 0, "failed": 1, "not_run": 3}[status]
                self.assertEqual(done.returncode, code, done.stdout + done.stderr)

    def test_few_files_are_handed_out_and_hold_all(self):
        self.check("tests")
        names = sorted(p.name for p in (self.root / "out").iterdir())
        self.assertEqual(names, ["report.json", "report.md", "results.tar.gz"])
        with tarfile.open(self.root / "out/results.tar.gz") as packed:
            inside = [pathlib.Path(name).name for name in packed.getnames()]
        self.assertIn("tests-test_gpu.json", inside)
        self.assertIn("tests-test_gpu.log", inside)
        self.assertIn("tests-test_gpu | passed", (self.root / "out/report.md").read_text())

    def test_results_of_other_machines_are_merged(self):
        self.check("tests")
        packed = self.root / "elsewhere.tar.gz"
        shutil.move(self.root / "out/results.tar.gz", packed)
        shutil.rmtree(self.results)
        done = self.check("report", str(packed))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("tests-test_gpu | passed", done.stdout)
        self.assertIn("bench-mlp | not run", done.stdout)
        self.assertEqual(self.check("report", str(self.root / "nothing")).returncode, 1)

    def test_the_time_is_the_whole_commands(self):
        done = self.check("tests", SLEEP="900", QUERN_GPU_LIMIT="3")
        self.assertEqual(done.returncode, 1)
        self.assertIn("124", self.result("tests-test_gpu")[1])
        (self.root / "tools/gpu/bench.py").write_text("import time; time.sleep(900)")
        done = self.check("bench", "mlp", "lenet", QUERN_GPU_LIMIT="12")
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn("not done", self.result("bench-mlp")[1])

    def test_without_a_gpu_nothing_is_green(self):
        for command in ("tests", "sanitize", "bench"):
            done = self.check(command, REASON="no driver")
            self.assertEqual(done.returncode, 3, done.stdout)
        for path in self.results.glob("*.json"):
            if path.name not in ("report.json", "devices.json"):
                self.assertEqual(json.loads(path.read_text())["status"], "not_run", path.name)

    def test_what_was_said_before_is_said_no_more(self):
        self.check("tests", LOST="cuDNN")
        self.assertEqual(self.result("tests")[0], "failed")
        self.assertIn("cuDNN was not loaded", self.result("tests")[1])
        done = self.check("tests")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_pack_travels_with_and_without_xz(self):
        data = self.root / "data"
        data.mkdir()
        (data / "train-images-idx3-ubyte.gz").write_bytes(b"images")
        built = self.make_build()
        self.program(self.path / "cmake", "#!/bin/sh\n")
        self.program(self.path / "git", "#!/bin/sh\necho 0123\n")
        only = self.root / "only"
        only.mkdir()
        for name in ("awk", "bash", "cat", "cp", "dirname", "grep", "head", "id", "ldd", "ln", "ls",
                     "mkdir", "nice", "nproc", "python3", "readlink", "rm",
                     "sed", "sort", "stat", "strip", "tail", "tar", "timeout", "uname", "gzip"):
            if shutil.which(name):
                (only / name).symlink_to(shutil.which(name))
        for path in (None, f"{self.path}:{only}"):
            with self.subTest(path):
                self.assertEqual(bool(shutil.which("xz", path=path)), path is None)
                done = self.check("pack", path=path, QUERN_GPU_BUILD=built,
                                  QUERN_DATA_DIR=str(data))
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                shutil.rmtree(self.bin)
                done = self.check("build", path=path)
                self.assertEqual(self.result("build")[0], "passed", done.stdout + done.stderr)
                self.assertTrue(os.access(self.bin / "test_gpu", os.X_OK))
                done = self.check("pack", path=path, QUERN_GPU_BUILD=built,
                                  QUERN_DATA_DIR=str(data), QUERN_GPU_PACK_BYTES="1000")
                self.assertEqual(done.returncode, 1)
                self.assertIn("less than 1000 travel", done.stderr)

    def make_build(self):
        built = self.root / "built"
        for name in ("tools/quern/quern", "tools/bench/bench_train", "tests/gpu/test_gpu",
                     "tools/bench/bench_kernels", "tools/bench/probes", "libquern.so.0.1",
                     "libquern-blas.so", "libquern-cuda.so", "CMakeCache.txt"):
            (built / name).parent.mkdir(parents=True, exist_ok=True)
            self.program(built / name, QUERN if name.endswith("/quern") else GTEST)
        (built / "libquern.so").symlink_to("libquern.so.0.1")
        return str(built)

    def test_a_pack_that_lacks_a_file_is_none(self):
        data = self.root / "data"
        data.mkdir()
        (data / "some-ubyte.gz").write_text("images")
        self.program(self.path / "cmake", "#!/bin/sh\n")
        for missing in ("libquern-blas.so", "libquern.so.0.1", "tools/bench/probes"):
            with self.subTest(missing):
                built = self.make_build()
                os.remove(pathlib.Path(built) / missing)
                done = self.check("pack", QUERN_GPU_BUILD=built, QUERN_DATA_DIR=str(data))
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn("is not complete", done.stderr)
                shutil.rmtree(built)


OK = "[       OK ] GpuOp.relu (1 ms)\n[  PASSED  ] 1 test.\n"
BAD = "[  FAILED  ] GpuOp.relu (1 ms)\n"
CLEAN = "========= ERROR SUMMARY: 0 errors\n"
# A log, how the command ended, what that is, and a part of what is said.
LOGS = [
    (OK + CLEAN, 0, "passed", "1 tests, the vendor's kernels and GpuOp.conv2d left out"),
    (OK + "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n", 0, "passed",
     "0 hazards"),
    (CLEAN, 0, "not_run", "no result"),
    (OK, 0, "not_run", "no result"),
    ("[  PASSED  ] 0 tests.\n" + CLEAN, 0, "not_run", "no result"),
    ("", 127, "not_run", "no output"),
    (OK + "========= Invalid __global__ write of size 4 bytes\n"
     "========= ERROR SUMMARY: 1 error\n", 99, "failed", "Invalid __global__"),
    (OK + "========= ERROR SUMMARY: 2 errors\n", 99, "failed", "2 errors"),
    ("========= Invalid __global__ read of size 2 bytes\n", 137, "failed", "no summary"),
    (OK + "========= Error: Race reported between Write access\n========= RACECHECK SUMMARY: "
     "1 hazard displayed (1 error, 0 warnings)\n", 99, "failed", "Race reported"),
    ("========= Error: Device not supported. Please refer to the section\n" + BAD + CLEAN, 1,
     "not_run", "refused: Error: Device not supported"),
    (BAD + "cudaMalloc: unknown error (999)\n" + CLEAN, 1, "not_run", "refused"),
    ("========= Program hit CUDA_ERROR_UNKNOWN (error 999)\n" + BAD +
     "========= ERROR SUMMARY: 1 error\n", 99, "not_run", "refused"),
    ("========= Error: Target application terminated before first instrumented API call\n", 255,
     "not_run", "refused"),
    ("the argument for option '--tool' is invalid\n", 255, "not_run", "no result"),
    (OK, 124, "not_run", "cut short after 1 tests"),
    (BAD + CLEAN, 1, "failed", "GpuOp.relu"),
    ("relu of a type that is not supported; failed to launch\n" + BAD + CLEAN, 1, "failed",
     "GpuOp.relu"),
]


class Sanitize(Place):
    def test_every_log_is_what_it_is(self):
        for text, code, status, words in LOGS:
            with self.subTest(text, code=code):
                found, said = sanitizer.judge("racecheck", code, text)
                self.assertEqual(found, status, said)
                self.assertIn(words, said)

    def test_each_tool_is_run_and_judged(self):
        log = self.root / "log"
        log.write_text(OK + CLEAN)
        self.program(self.path / "compute-sanitizer", SANITIZER)
        done = self.check("sanitize", LOG=str(log), CODE="0")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for tool in sanitizer.TOOLS:
            self.assertEqual(self.result(f"sanitize-{tool}")[0], "passed")
        log.write_text("========= Error: Device not supported.\n" + CLEAN)
        done = self.check("sanitize", "racecheck", LOG=str(log), CODE="1")
        self.assertEqual(self.result("sanitize-racecheck")[0], "not_run")
        self.assertEqual(self.result("sanitize-memcheck")[0], "passed")


if __name__ == "__main__":
    unittest.main()
