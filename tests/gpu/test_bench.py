#!/usr/bin/env python3
"""Every benchmark runs on the CPU at tiny sizes, and a wrong result is not called fast.

    test_bench.py BENCH_KERNELS QUERN
"""
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tools/gpu"), str(ROOT / "tools/bench")]
import bench  # noqa: E402
import models  # noqa: E402
import record  # noqa: E402
import subjects  # noqa: E402

PROGRAMS = []
DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")


class Bench(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.place.name)
        (self.folder / "bin").mkdir()
        for program, name in zip(PROGRAMS, ("bench_kernels", "quern")):
            (self.folder / "bin" / name).symlink_to(program)
        (self.folder / "data").symlink_to(DATA)

    def tearDown(self):
        self.place.cleanup()

    def run_bench(self, name):
        result = self.folder / "result.json"
        bench.main([name, str(self.folder), str(result), "--device", "cpu", "--tiny"])
        return json.loads(result.read_text())

    def check_rows(self, answer, count):
        self.assertEqual(answer["status"], record.PASSED, answer["text"])
        rows = answer["more"]["ratios"]
        self.assertEqual(len(rows), count)
        for row in rows:
            self.assertGreater(row["quern"], 0)
            if bench.load_torch():
                self.assertGreater(row["ratio"], 0)
            self.assertIn(row["what"], "\n".join(record.table(rows)))

    def test_every_group_of_kernels(self):
        for name, cases in subjects.GROUPS.items():
            with self.subTest(name):
                answer = self.run_bench(name)
                self.check_rows(answer, len(cases))
                for row in answer["more"]["ratios"]:
                    self.assertGreater(row["share"], 0)
                    self.assertEqual(row["gate"] == "passed", bool(bench.load_torch()), row["gate"])

    def test_models(self):
        for name in models.NAMES:
            with self.subTest(name):
                self.check_rows(self.run_bench(name), 1)

    def test_what_is_not_there_is_not_run(self):
        self.assertEqual(self.run_bench("unknown")["status"], record.NOT_RUN)

    def test_a_program_that_fails_is_a_failure(self):
        (self.folder / "bin/bench_kernels").unlink()
        self.assertEqual(self.run_bench("copy")["status"], record.FAILED)

    @unittest.skipUnless(bench.load_torch(), "no PyTorch")
    def test_a_wrong_result_fails_whatever_its_speed(self):
        original = subjects.build_differentiable

        def wrong(torch, device, c, dims):
            side = original(torch, device, c, dims)
            forward = side.forward
            side.forward = lambda **inputs: forward(**inputs) * 1.01
            return side
        subjects.build_differentiable = wrong
        try:
            answer = self.run_bench("layer_norm")
        finally:
            subjects.build_differentiable = original
        self.assertEqual(answer["status"], record.FAILED)
        self.assertIn("results differ", answer["text"])

    @unittest.skipUnless(bench.load_torch(), "no PyTorch")
    def test_nan_is_beyond_every_gate(self):
        torch = bench.load_torch()
        _, beyond = bench.compare(torch, {"y": [float("nan")]}, {"y": torch.ones(1)}, 1.0)
        self.assertEqual(len(beyond), 1)


if __name__ == "__main__":
    PROGRAMS = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1])
