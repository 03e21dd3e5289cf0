#!/usr/bin/env python3
"""Every benchmark runs on the CPU at tiny sizes, and a wrong result is not called fast.

    test_bench.py BENCH_KERNELS QUERN BENCH_TRAIN
"""
import gc
import json
import pathlib
import sys
import tempfile
import unittest
import weakref
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tools/gpu"), str(ROOT / "tools/bench")]
import bench  # noqa: E402
import card  # noqa: E402
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
        for program, name in zip(PROGRAMS, ("bench_kernels", "quern", "bench_train")):
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
                answer = self.run_bench(name)
                self.check_rows(answer, len(models.TINY))
                for row in answer["more"]["ratios"]:
                    self.assertGreater(row["quern_start"], 0)
                    self.assertGreater(row["quern_host_us"], 0)
                    if bench.load_torch():
                        self.assertEqual(row["gate"], "passed")
                        self.assertGreater(row["torch_start"], 0)

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

    @unittest.skipUnless(bench.load_torch(), "no PyTorch")
    def test_another_training_fails_whatever_its_speed(self):
        torch = bench.load_torch()
        original = models.Step.loss_of
        with mock.patch.object(models.Step, "loss_of", lambda s: original(s) * 1.002):
            answer = self.run_bench("mlp")
        self.assertEqual(answer["status"], record.FAILED, answer["text"])
        self.assertIn("first losses", answer["text"])
        adamw = torch.optim.AdamW
        with mock.patch.object(torch.optim, "AdamW",
                               lambda p, lr, **more: adamw(p, lr=1.5 * lr, **more)):
            answer = self.run_bench("mlp")
        self.assertEqual(answer["status"], record.FAILED, answer["text"])
        self.assertIn("part by", answer["text"])

    def test_curves_that_are_not_finite_or_not_whole_are_wrong(self):
        self.assertEqual(models.compare_curves([2.0, 1.0], [2.0, 1.01], 0.02), "")
        for ours, theirs in (([2.0, float("nan")], [2.0, 1.0]), ([float("nan")], [2.0]),
                             ([2.0], [2.0, 1.0]), ([], []), ([2.0, 1.0], [2.0, 1.1])):
            self.assertTrue(models.compare_curves(ours, theirs, 0.02), (ours, theirs))

    @unittest.skipUnless(bench.load_torch(), "no PyTorch")
    def test_each_variant_of_the_update_has_an_optimizer_of_its_own(self):
        torch, original = bench.load_torch(), subjects.numbers

        def on_cpu(torch, device, *more, **named):
            return original(torch, torch.device("cpu"), *more, **named)
        side = subjects.AdamW(torch, mock.Mock(type="cuda"), (1000,))
        with mock.patch.object(subjects, "numbers", on_cpu), \
                mock.patch.object(torch, "compile", lambda f: f, create=True), \
                mock.patch.object(torch.optim, "AdamW", lambda p, **more: mock.Mock(of=p)):
            turns = [make() for _, make, _ in side.variants(torch) for _ in range(2)]
        self.assertEqual(len(turns), 6)
        places = [p.data_ptr() for turn in turns for p in turn.parts]
        self.assertEqual(len(places), len(set(places)))
        for turn in turns:
            self.assertIs(turn.optimizer.of, turn.parts)
            self.assertIs(turn.run.__self__, turn)

    def test_a_captured_turn_lives_as_long_as_its_replay(self):
        class Turn:
            def __call__(self):
                pass
        turn = Turn()
        alive = weakref.ref(turn)
        replay = bench.captured(mock.MagicMock(), turn)
        del turn
        gc.collect()
        self.assertIsNotNone(alive())
        replay()
        del replay
        gc.collect()
        self.assertIsNone(alive())

    def test_what_the_time_does_not_suffice_for_is_not_passed(self):
        rows = [{"what": "a", "ratio": 2.0}]
        self.assertEqual(bench.judge(rows, 2)[0], record.NOT_RUN)
        self.assertEqual(bench.judge(rows, 1)[0], record.PASSED)

    def test_the_cards_state_is_told_where_the_driver_tells_it(self):
        states = [card.parse("1980, 3201, 612.5, 61"), card.parse("1755, [N/A], 690.2, 66")]
        self.assertNotIn("memory_mhz", states[1])
        self.assertEqual(card.summary(states), "1755-1980 MHz, 612-690 W, 61-66 °C")
        self.assertEqual(card.summary([{}]), "")

    def test_the_report_says_which_libraries_were_loaded(self):
        about = {"libraries": [{"name": "cuDNN", "version": "9.19.0"}, {"name": "NCCL"}]}
        self.assertEqual(record.library_line(about), "Quern loaded: cuDNN 9.19.0, NCCL none.")


if __name__ == "__main__":
    PROGRAMS = sys.argv[1:4]
    unittest.main(argv=sys.argv[:1])
