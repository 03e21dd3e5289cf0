#!/usr/bin/env python3
"""check.sh looks where PyTorch's wheels lie, and does not pass on the fall-back kernels."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

GPU = pathlib.Path(__file__).resolve().parent.parent.parent / "tools/gpu"
sys.path.insert(0, str(GPU))
import libraries  # noqa: E402

# Says what the machine says, and checks that check.sh tells where to look.
QUERN = """#!/bin/sh
case ":$QUERN_CUDA_LIBRARY_PATH:" in
*:"$EXPECTED_FOLDER":*) cat "$LISTING" ;;
*) echo "not told to look in $EXPECTED_FOLDER: $QUERN_CUDA_LIBRARY_PATH" >&2; exit 1 ;;
esac
"""


def listing(cublaslt, cudnn, reason=None):
    rows = [{"name": "cuBLASLt", "version": cublaslt, "reason": None},
            {"name": "cuDNN", "version": cudnn, "reason": "no such file"}]
    return {"version": "0.1", "cuda_reason": reason, "devices": [], "cuda": {"libraries": rows}}


class Folders(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.place.name)

    def tearDown(self):
        self.place.cleanup()

    def test_wheels_before_the_toolkit_and_only_what_is_there(self):
        for name in ("cu13", "cudnn", "nccl"):
            (self.path / "nvidia" / name / "lib").mkdir(parents=True)
        (self.path / "nvidia/nvtx/include").mkdir(parents=True)
        (self.path / "lib64").mkdir()
        found = libraries.folders(self.path, [str(self.path / "lib64"), "/nowhere"])
        self.assertEqual(found, [str(self.path / f) for f in (
            "nvidia/cu13/lib", "nvidia/cudnn/lib", "nvidia/nccl/lib", "lib64")])

    def test_without_pytorch_the_toolkit_stays(self):
        self.assertEqual(libraries.folders(None, [str(self.path)]), [str(self.path)])


class Missing(unittest.TestCase):
    def test_each_needed_library_has_a_version(self):
        self.assertEqual(libraries.missing(listing("13.1.0", "9.19.0")), "")
        self.assertIn("cuDNN was not loaded (no such file)",
                      libraries.missing(listing("13.1.0", None)))
        self.assertIn("cuBLASLt", libraries.missing(listing(None, "9.19.0")))

    def test_without_the_module_all_is_missing(self):
        self.assertIn("cuBLASLt was not loaded (not listed)", libraries.missing({"cuda": None}))


class Check(unittest.TestCase):
    """check.sh itself, with a command that says what a machine with a GPU would."""

    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.place.name)
        shutil.copytree(GPU, self.path / "tools/gpu")
        stage = self.path / "stage"
        (stage / "bin").mkdir(parents=True)
        (stage / "bin/quern").write_text(QUERN)
        (stage / "bin/quern").chmod(0o755)
        (stage / "bin/test_gpu").write_text("#!/bin/sh\nexit 0\n")
        (stage / "bin/test_gpu").chmod(0o755)
        (stage / "COMMIT").write_text("0\n")
        (self.path / "build/gpu").mkdir(parents=True)
        subprocess.run(["tar", "-C", stage, "-cJf", self.path / "build/gpu/pack.tar.xz", "."],
                       check=True)
        # PyTorch's place, without PyTorch.
        (self.path / "packages/torch").mkdir(parents=True)
        (self.path / "packages/torch/__init__.py").write_text("")
        self.wheels = self.path / "packages/nvidia/cudnn/lib"
        self.wheels.mkdir(parents=True)

    def tearDown(self):
        self.place.cleanup()

    def check(self, verb, answer):
        (self.path / "listing.json").write_text(json.dumps(answer))
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.path / "packages"),
                       "LISTING": str(self.path / "listing.json"),
                       "EXPECTED_FOLDER": str(self.wheels)}
        subprocess.run([self.path / "tools/gpu/check.sh", verb], env=environment, check=False,
                       capture_output=True, timeout=300)
        name = "build" if verb == "build" else "tests"
        return json.loads((self.path / f"build/gpu/results/{name}.json").read_text())

    def test_build_passes_with_both_libraries(self):
        answer = self.check("build", listing("13.1.0", "9.19.0"))
        self.assertEqual(answer["status"], "passed", answer["text"])

    def test_build_and_tests_fail_on_the_fall_back_kernels(self):
        for verb in ("build", "tests"):
            answer = self.check(verb, listing("13.1.0", None))
            self.assertEqual(answer["status"], "failed", answer["text"])
            self.assertIn("cuDNN was not loaded", answer["text"])


if __name__ == "__main__":
    unittest.main()
