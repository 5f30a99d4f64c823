"""docs/verify.py as a program: exit codes and messages, and the published vectors in tests/vectors.

    python3 -m unittest discover -s tests/verifier
"""
import json
import pathlib
import subprocess
import sys
import tempfile

from common import VECTORS, VERIFY, Case, checkpoint, example, receipt, request_file


class CommandLine(Case):
    def run_verify(self, *args, folder, stdin=b""):
        done = subprocess.run([sys.executable, VERIFY, *args], cwd=folder, input=stdin, capture_output=True)
        self.assertNotIn(b"Traceback", done.stderr)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_commands(self):
        with tempfile.TemporaryDirectory() as folder:
            def file(name, data):
                pathlib.Path(folder, name).write_bytes(data)

            bank = example()
            file("chain", bank.export()), file("keys", bank.keys()), file("head", checkpoint(8)), file("old", checkpoint(5))
            file("receipt", receipt(1, 0)), file("long", receipt(5, 0)), file("request", request_file(5, 0))
            file("balance", bank.balance_proof("bob", 7, 8, checkpoint())), file("newer", bank.consistency(5, 8, checkpoint()))
            file("bad", b"\xff\x00\n"), file("deep", b"[" * 100_000 + b"\n")
            cluster, other = bank.cluster.hex(), "0" * 64
            keys = ("--keys", "keys")
            for code, args in [
                (0, ("export", "chain")), (0, ("export", "chain", "--cluster", cluster)), (0, ("export", "chain", *keys)),
                (0, ("export", "chain", "--checkpoint", "head", *keys, "--cluster", cluster)), (0, ("export", "-")),
                (0, ("receipt", "receipt", *keys)), (0, ("receipt", "long", *keys, "--request", "request")),
                (0, ("balance", "balance", *keys)), (0, ("checkpoint", "head", *keys)),
                (0, ("consistency", "old", "newer", *keys)), (0, ("--help",)),
                (6, ("export", "chain", "--cluster", other)), (6, ("export", "deep")), (6, ("consistency", "head", "newer", *keys)),
                (6, ("receipt", "receipt", "--keys", "receipt")), (6, ("receipt", "receipt", *keys, "--request", "request")),
                *[(6, (command, "bad", *keys)) for command in ("export", "receipt", "balance", "checkpoint")],
                (6, ("consistency", "old", "bad", *keys)), (6, ("consistency", "bad", "newer", *keys)),
                (6, ("checkpoint", "head", "--keys", "bad")),
                (2, ("receipt", "long", *keys)), (2, ("receipt", "nothing", *keys)), (2, ("receipt", ".", *keys)),
                (2, ("receipt", "receipt")), (2, ("receipt", "receipt", "--keys", "nothing")), (2, ("export", "nothing")),
                (2, ("export", ".")), (2, ("export", "chain", "--cluster", "xyz")), (2, ("export", "chain", "--cluster", cluster.upper())),
                (2, ("export", "chain", "--checkpoint", "head")), (2, ()), (2, ("nonsense",)), (2, ("consistency", "old", *keys)),
                (2, ("export", "chain", "--keyz", "keys")),
            ]:
                with self.subTest(args=args):
                    got, out, err = self.run_verify(*args, folder=folder, stdin=bank.export())
                    self.assertEqual(got, code, err)
                    self.assertEqual((bool(out), bool(err)), (code == 0, code != 0))
                    if code == 6:
                        self.assertRegex(err, "^verify.py: not valid: .+\n$")
            got, out, err = self.run_verify("receipt", "-", *keys, folder=folder, stdin=receipt(1, 0))
            self.assertEqual((got, err), (0, ""))
            self.assertRegex(out, '^ok: block 1 of raftbank/[0-9a-f]{64} holds "transfer" r2 from alice to bob 5, committed, as '
                                  "request 0; head of size 8 signed by n1, n2\n$")

    def test_published_vectors(self):
        manifest = VECTORS / "manifest.json"
        if not manifest.exists():
            print("skipped: there are no published vectors (tests/vectors/manifest.json)", file=sys.stderr)
            self.skipTest("there is no tests/vectors/manifest.json")
        cases = json.loads(manifest.read_text())
        self.assertTrue(cases, "the manifest is empty")
        self.assertTrue({case["exit"] for case in cases} >= {0, 6}, "the manifest has nothing to accept or to refuse")
        for case in cases:
            with self.subTest(args=case["args"]):
                code, _, err = self.run_verify(*case["args"], folder=VECTORS)
                self.assertEqual(code, case["exit"], err)
