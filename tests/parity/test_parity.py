"""The parity test's own parts: what may not be wrong for its number to mean anything."""

import collections
import subprocess
import sys
import tempfile
import unittest

import lsp
import parity
import probes

PROBE = probes.Probe("p", "venv", "definition", "d.py", 0, 0, "w")
HOVER = probes.Probe("p", "venv", "hover", "d.py", 0, 0, "w")


class Probes(unittest.TestCase):
    def test_enough_of_every_kind_and_no_two_alike(self):
        asked = probes.probes()
        self.assertGreaterEqual(len(asked), 200)
        self.assertEqual(len(asked), len(set(asked)))
        self.assertGreaterEqual(len({p.package for p in asked if p.origin != "stdlib"}), 20)
        kinds = collections.Counter(p.kind for p in asked)
        self.assertEqual(set(kinds), {"completion", "definition", "hover", "diagnostics"})
        self.assertGreaterEqual(min(kinds.values()), 20)

    def test_cursors_lie_in_words_of_documents_that_compile(self):
        texts = probes.documents()
        for probe in probes.probes():
            line = texts[probe.document].splitlines()[probe.line]
            self.assertLessEqual(probe.column, len(line))
            if probe.kind in ("definition", "hover"):
                self.assertTrue(line[probe.column].isidentifier() or line[probe.column].isdigit(), (probe, line))
        for name, text in texts.items():
            self.assertNotIn(probes.CURSOR, text)
            if "/whole_" in name:
                compile(text, name, "exec")


class Paths(unittest.TestCase):
    def test_only_whole_folder_names_are_mapped_nearest_first(self):
        folders = (("/data/ws/venv", "/v"), ("/data/ws", "/app"))
        for host, container in [
            ("/data/ws/a.py", "/app/a.py"),
            ("/data/ws", "/app"),
            ("/data/ws/venv/x", "/v/x"),
            ("/data/ws2/a.py", "/data/ws2/a.py"),
            ("/data/ws-old/a.py", "/data/ws-old/a.py"),
            ("[x](file:///data/ws/a.py#L1)", "[x](file:///app/a.py#L1)"),
        ]:
            self.assertEqual(parity.map_paths(host, folders), container)

    def test_a_position_by_numbers_or_by_text(self):
        text = "import a\na.b\n"
        self.assertEqual(lsp.find_position(text, "2:3"), (1, 2))
        self.assertEqual(lsp.find_position(text, "a.|b"), (1, 2))
        with self.assertRaises(lsp.LspError):
            lsp.find_position(text, "nowhere|")


class Judging(unittest.TestCase):
    def test_only_the_same_answer_is_equal_and_silence_is_not_agreement(self):
        for outside, inside, outcome in [
            (["a"], ["a"], "equal"),
            ([], [], "void"),
            ([], ["a"], "differs"),
            (["a"], [], "differs"),
            (["a", "b"], ["a"], "differs"),
        ]:
            self.assertEqual(parity.judge(PROBE, outside, inside).outcome, outcome)
        self.assertIn("«", parity.judge(HOVER, ["def f(a)"], ["def f(b)"]).reason)

    def test_goals_too_few_probes_and_too_much_silence(self):
        def met(equal, differs, void):
            outcomes = ["equal"] * equal + ["differs"] * differs + ["void"] * void
            return parity.summary("ty", [parity.Verdict(PROBE, o) for o in outcomes], 1.0)["met"]

        self.assertTrue(met(300, 0, 0))
        self.assertTrue(met(285, 15, 0))
        self.assertFalse(met(284, 16, 0))
        self.assertFalse(met(199, 0, 0))
        self.assertFalse(met(300, 0, parity.MOST_VOID + 1))

    def test_jedi_gets_the_folders_and_a_bare_environment(self):
        with tempfile.TemporaryDirectory() as home:
            options = lsp.jedi_options(home, ["/a", "/b"])["workspace"]
            self.assertEqual(options["extraPaths"], ["/a", "/b"])
            code = "import importlib.util as u; print(u.find_spec('pip'), u.find_spec('json') is not None)"
            said = subprocess.run([options["environmentPath"], "-c", code], capture_output=True, text=True, check=True)
            self.assertEqual(said.stdout, "None True\n")


class Client(unittest.TestCase):
    def test_a_server_that_ends_is_an_error_with_its_own_words(self):
        program = "import sys; print('no such option', file=sys.stderr); sys.exit(3)"
        with self.assertRaisesRegex(lsp.LspError, "no such option"):
            lsp.Client([sys.executable, "-c", program], "/", deadline=20)

    def test_a_server_that_is_silent_is_an_error_at_the_deadline(self):
        with self.assertRaisesRegex(lsp.LspError, "nothing for"):
            lsp.Client([sys.executable, "-c", "import sys; sys.stdin.read()"], "/", deadline=0.3)

    def test_settings_are_answered_as_asked_and_unset_ones_are_null(self):
        client = lsp.Client.__new__(lsp.Client)
        client.settings = {"python": {"pyrefly": {"displayTypeErrors": "force-on"}}}
        ask = lambda *sections: client._serve("workspace/configuration", {"items": [{"section": s} for s in sections]})
        self.assertEqual(ask("python.pyrefly", "python"), [{"displayTypeErrors": "force-on"}, client.settings["python"]])
        self.assertEqual(ask("pyrefly", "basedpyright.analysis", "python.analysis"), [None, None, None])


if __name__ == "__main__":
    unittest.main()
