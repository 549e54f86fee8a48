"""The audit refuses what it is there to refuse."""

import importlib.machinery
import importlib.util
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("audit", str(Path(__file__).with_name("audit")))
audit = importlib.util.module_from_spec(importlib.util.spec_from_loader("audit", loader))
loader.exec_module(audit)

POLICY = {
    "licenses": {"allow": ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]},
    "bans": {"deny": [{"crate": "tokio-tar", "reason": "r"}, {"crate": "tar@<0.4.45", "reason": "r"}]},
}
GOOD = {"name": "good", "version": "1.0.0", "license": "MIT", "source": audit.CRATES_IO, "checksum": "c"}


class Audit(unittest.TestCase):
    def test_licence_expressions(self):
        allowed = set(POLICY["licenses"]["allow"])
        for expression, expected in {
            "MIT": True,
            "GPL-3.0": False,
            "GPL-3.0 OR MIT": True,
            "MIT/Apache-2.0": True,
            "MIT AND GPL-3.0": False,
            "(MIT OR GPL-3.0) AND Apache-2.0": True,
            "MIT OR GPL-3.0 AND GPL-2.0": True,
            "(MIT OR GPL-3.0) AND GPL-2.0": False,
            "Apache-2.0 WITH LLVM-exception": True,
            "MIT WITH LLVM-exception": False,
        }.items():
            with self.subTest(expression):
                self.assertEqual(audit.is_allowed(expression, allowed), expected)
        for expression in ("", "MIT OR", "(MIT", "MIT MIT"):
            with self.subTest(expression), self.assertRaises(ValueError):
                audit.is_allowed(expression, allowed)

    def test_problems(self):
        for change, expected in {
            (): None,
            (("name", "tokio-tar"),): "banned",
            (("name", "tar"), ("version", "0.4.44")): "banned",
            (("name", "tar"), ("version", "0.4.45-rc.1")): "banned",
            (("name", "tar"), ("version", "0.4.45")): None,
            (("name", "tar"), ("version", "0.10.0")): None,
            (("license", "GPL-3.0"),): "does not allow",
            (("license", None),): "no licence",
            (("source", "git+https://example.org/x"),): "not from crates.io",
            (("checksum", None),): "no checksum",
        }.items():
            package = {**GOOD, **dict(change)}
            with self.subTest(change):
                found = audit.problems([package], [package], POLICY)
                self.assertEqual(len(found), 0 if expected is None else 1, found)
                self.assertIn(expected or "", "".join(found))

    def test_a_ban_that_is_not_understood_is_an_error(self):
        with self.assertRaises(ValueError):
            audit.is_banned("tar", "1.0.0", "tar@^0.3")


if __name__ == "__main__":
    unittest.main()
