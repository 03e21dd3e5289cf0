#!/usr/bin/env python3
"""What tools/gpu/check.sh reports: a skip is a failure, what was not run is never green."""
import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent.parent / "tools/gpu"))
import record  # noqa: E402


class Record(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def run_record(self, *arguments):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.code = record.main([str(a) for a in arguments])
        return out.getvalue()

    def gtest(self, cases, code=0):
        suites = {"testsuites": [{"testsuite": cases}]}
        (self.path / "tests-a.gtest").write_text(json.dumps(suites))
        self.run_record("--gtest", self.path / "tests-a", code)
        return json.loads((self.path / "tests-a.json").read_text())["status"]

    def test_only_all_passed_is_passed(self):
        good = {"name": "a", "result": "COMPLETED"}
        self.assertEqual(self.gtest([good]), "passed")
        self.assertEqual(self.gtest([good, {"name": "b", "result": "SKIPPED"}]), "failed")
        self.assertEqual(self.gtest([good, {"name": "b", "failures": [{}]}], 1), "failed")
        self.assertEqual(self.gtest([good], 124), "failed")
        self.assertEqual(self.gtest([]), "failed")

    def test_a_program_that_died_is_failed(self):
        self.run_record("--gtest", self.path / "tests-b", 139)
        self.assertEqual(json.loads((self.path / "tests-b.json").read_text())["status"], "failed")

    def test_exit_codes(self):
        self.run_record("--exit-code", self.path, "tests")
        self.assertEqual(self.code, 3)
        self.run_record(self.path / "tests-a.json", "passed", "all")
        self.run_record("--exit-code", self.path, "tests")
        self.assertEqual(self.code, 0)
        self.run_record(self.path / "tests-b.json", "not_run", "no GPU")
        self.run_record("--exit-code", self.path, "tests")
        self.assertEqual(self.code, 3)
        self.run_record(self.path / "tests-c.json", "failed", "one")
        self.run_record("--exit-code", self.path, "tests")
        self.assertEqual(self.code, 1)

    def test_the_report_names_what_nobody_ran(self):
        self.run_record(self.path / "build.json", "not_run", "no driver")
        text = self.run_record("--report", self.path)
        self.assertIn("| build | not run | no driver |", text)
        self.assertIn("| sanitize-racecheck | not run | check.sh was not asked to |", text)
        self.assertNotIn("passed", text)
        self.assertTrue((self.path / "report.json").is_file())


if __name__ == "__main__":
    unittest.main()
