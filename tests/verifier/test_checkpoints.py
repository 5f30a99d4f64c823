"""Checkpoints, keys files, and consistency proofs between checkpoints."""
import bank as made
from bank import b64, node_seed
from common import SIZE, WITNESS, Case, checkpoint, example, keys, verify


class Checkpoints(Case):
    def check(self, data, witnesses=()):
        return verify.checkpoint_file(data, keys(witnesses))

    def test_any_bit(self):
        self.all_flips_refused(checkpoint(SIZE), self.check)
        self.all_flips_refused(checkpoint(3, ("n3", "n1", "n2")), self.check)

    def test_any_bit_of_a_cosigned_one(self):
        data = checkpoint(SIZE, ("n1", "n3"), (WITNESS,))
        self.all_flips_refused(data, lambda data: self.check(data, (WITNESS,)))

    def test_witnesses(self):
        cosigned = checkpoint(SIZE, ("n1", "n2"), (WITNESS,))
        self.assertIn(f"signed by n1, n2, witnessed by {WITNESS}", self.check(cosigned, (WITNESS,)).says())
        self.refused("cosignature of .* is missing", self.check, checkpoint(), (WITNESS,))
        self.refused("not in the keys file", self.check, cosigned)
        two = (WITNESS, "w2")
        self.refused("cosignature of 'w2' is missing", self.check, cosigned, two)
        self.check(checkpoint(SIZE, ("n1", "n2"), two), two)
        # A witness is no node: its signature counts for no majority
        self.refused("1 of 3", self.check, checkpoint(SIZE, ("n1",), (WITNESS,)), (WITNESS,))
        text = example().checkpoint_text(SIZE)
        late = (text + "\n").encode() + b"".join(example().signature(node, text).encode() for node in ("n1", "n2"))
        self.refused("above 2", self.check, late + made.cosignature(WITNESS, text, 2**63).encode(), (WITNESS,))
        self.check(late + made.cosignature(WITNESS, text, 2**63 - 1).encode(), (WITNESS,))
        self.check(late + made.cosignature(WITNESS, text, 0).encode(), (WITNESS,))

    def test_majority(self):
        for nodes in [("n1", "n2"), ("n3", "n1"), ("n2", "n1", "n3")]:
            self.assertEqual(tuple(self.check(checkpoint(SIZE, nodes)).signers), nodes)
        self.refused("1 of 3 nodes: no majority", self.check, checkpoint(SIZE, ("n2",)))
        self.refused("signed already", self.check, checkpoint(SIZE, ("n2", "n2")))
        self.refused("signed already", self.check, checkpoint(SIZE, ("n1", "n2", "n1")))
        self.refused("not in the keys file", self.check, checkpoint(SIZE, ("n1", "n2", "n4")))
        text = (example().checkpoint_text(SIZE) + "\n").encode()
        for changed in (text, text + b"\n", text[:-1]):
            with self.assertRaises(verify.Invalid):
                self.check(changed)
        four = verify.check_keys(example().keys(nodes=["n1", "n2", "n3", "n4"]))
        self.refused("2 of 4", verify.checkpoint_file, checkpoint(), four)
        verify.checkpoint_file(checkpoint(SIZE, ("n1", "n2", "n4")), four)

    def test_text(self):
        def signed(text):
            return (text + "\n" + "".join(example().signature(node, text) for node in ("n1", "n2"))).encode()

        origin, root = example().origin(), b64(made.tree(example().logged(SIZE)))
        self.check(signed(f"{origin}\n8\n{root}\n"))
        self.check(signed(f"{origin}\n18446744073709551615\n{root}\n"))
        for why, text in [
            ("3 lines, not 4", f"{origin}\n8\n{root}\nmore\n"), ("3 lines, not 2", f"{origin}\n8\n"),
            ("is not in 1 to", f"{origin}\n0\n{root}\n"), ("no decimal", f"{origin}\n08\n{root}\n"),
            ("is not in 1 to", f"{origin}\n18446744073709551616\n{root}\n"), ("is not in 1 to", f"{origin}\n-8\n{root}\n"),
            ("no decimal", f"{origin}\n8 \n{root}\n"), ("no decimal", f"{origin}\n٨\n{root}\n"),
            ("is of", f"raftbank/{'0' * 64}\n8\n{root}\n"), ("is of", f"{origin.upper()}\n8\n{root}\n"),
            ("base64", f"{origin}\n8\n{root[:-1]}\n"), ("base64", f"{origin}\n8\n {root}\n"),
            ("not 32", f"{origin}\n8\n{b64(bytes(33))}\n"), ("one spelling", f"{origin}\n8\n{'A' * 42}B=\n"),
            ("base64", f"{origin}\n8\n{'_' * 43}=\n"),
        ]:
            self.refused(why, self.check, signed(text))

    def test_layout(self):
        data = checkpoint()
        for changed in [data.replace(b"\n", b"\r\n"), data + b"\n", data[:-1], b"\n" + data, data.replace("— ".encode(), b"- "),
                        data.replace("— ".encode(), "—  ".encode()), data.replace("— ".encode(), "–\u00a0".encode()),
                        data.replace(b"\n\n", b"\n\n\n"), data.replace(b"\n\n", b"\n"), data.replace(b"\n", b" \n")]:
            with self.assertRaises(verify.Invalid):
                self.check(changed)

    def test_keys_files(self):
        whole = example().keys(witnesses=(WITNESS,))
        lines = whole.decode().splitlines(keepends=True)
        self.assertEqual(len(verify.check_keys(("# who\n\n" + "\n".join(lines) + "#\n").encode()).keys), 4)
        origin, seed = example().origin(), node_seed("x")
        same_key = made.verifier_key("w", 4, node_seed("n1"))
        weak = "w+" + made.key_id("w", 4, bytes(32)).hex() + "+" + b64(b"\x04" + bytes(32)) + "\n"
        for why, text in [
            ("not of one bank", lines[0] + made.verifier_key(f"raftbank/{'0' * 64}/n2", 1, seed)),
            ("twice", lines[0] + lines[0]), ("twice", lines[0] + same_key),
            ("twice", lines[0] + made.verifier_key(f"{origin}/n1", 1, seed)),
            ("twice", lines[0] + made.verifier_key(f"{origin}/n1", 4, seed)), ("weak", lines[0] + weak),
            ("no key of a node", ""), ("no key of a node", "# nothing\n"), ("no key of a node", lines[3]),
            ("key ID", lines[0].replace("+", "+0", 1)), ("key ID", lines[0][:-1].replace("+", "+A", 1) + "\n"),
            ("no verifier key", "x\n"), ("no verifier key", " \n"), ("no verifier key", lines[0] + "\t\n"),
            ("not that of|not the key name", made.verifier_key("raftbank/n1", 1, seed)),
            ("not the key name", made.verifier_key(f"{origin}/a:b", 1, seed)),
            ("not the key name", made.verifier_key(f"{origin}/", 1, seed)),
            ("not the key name", made.verifier_key(f"{origin.upper()}/n1", 1, seed)),
            ("no key name", lines[0] + made.verifier_key("a b", 4, seed)), ("no key name", lines[0] + made.verifier_key("", 4, seed)),
            ("type 2", lines[0] + made.verifier_key("w", 2, seed)), ("base64", lines[0][:-1] + " \n"),
            ("not 33", lines[0][:-5] + "\n"), ("line feed", lines[0][:-1]),
        ]:
            self.refused(why if text else "line feed", verify.check_keys, text.encode())
        with self.assertRaises(verify.Invalid):
            verify.check_keys(whole.replace(b"\n", b"\r\n"))
        # Any bit of the keys file: it is no keys file, or not one that the checkpoint counts for
        data = checkpoint(SIZE, ("n1", "n2", "n3"), (WITNESS,))
        self.all_flips_refused(whole, lambda flipped: verify.checkpoint_file(data, verify.check_keys(flipped)))


class Consistency(Case):
    def proof(self, old, new):
        return example().consistency(old, new, checkpoint(new))

    def check(self, old, new, data, older=None):
        return verify.check_consistency(checkpoint(old) if older is None else older, data, keys())

    def test_all_pairs(self):
        for new in range(1, SIZE + 1):
            for old in range(1, new + 1):
                said = self.check(old, new, self.proof(old, new))
                self.assertIn(f"at size {new} begins with all of the head of size {old} ", said)

    def test_any_bit(self):
        for new in range(1, SIZE + 1):
            for old in range(1, new + 1):
                self.all_flips_refused(self.proof(old, new), lambda data: self.check(old, new, data))
        proof = self.proof(5, 8)
        self.all_flips_refused(checkpoint(5), lambda data: self.check(5, 8, proof, data))

    def test_other_sizes(self):
        for old in range(1, SIZE + 1):
            for other in range(1, SIZE + 1):
                if other != old:
                    self.refused("older checkpoint has|does not begin|hashes", self.check, other, SIZE, self.proof(old, SIZE))
                    said = self.proof(old, SIZE).replace(b"old %d" % old, b"old %d" % other)
                    self.refused("older checkpoint has|does not begin|hashes", self.check, other, SIZE, said)
        said = self.proof(5, SIZE).replace(b"old 5", b"old 6")
        self.refused("older checkpoint has 5", self.check, 5, SIZE, said)
        # Backwards
        said = b"old 8\n\n" + checkpoint(5)
        self.refused("hashes", self.check, 8, 5, said)

    def test_a_fork(self):
        fork = made.Bank()
        for height in range(1, 8):
            fork.block([("committed", "transfer", f"r{height}", "alice", "bob", 6)])
        for old in range(2, SIZE + 1):
            self.refused("does not begin", self.check, old, SIZE, fork.consistency(old, SIZE, fork.checkpoint(SIZE)))
        self.check(1, SIZE, fork.consistency(1, SIZE, fork.checkpoint(SIZE)))

    def test_hashes(self):
        lines = self.proof(5, 8).decode().split("\n")
        self.assertEqual([len(line) for line in lines[1:6]], [44, 44, 44, 44, 0])
        for changed in [lines[:1] + lines[2:], lines[:1] + [lines[2], lines[1]] + lines[3:], lines[:2] + lines[1:],
                        lines[:1] + lines[5:]]:
            self.refused("does not begin|hashes", self.check, 5, 8, "\n".join(changed).encode())
        same = self.proof(8, 8).decode().split("\n")
        self.refused("hashes", self.check, 8, 8, "\n".join(same[:1] + [b64(bytes(32))] + same[1:]).encode())
        for changed in ["old 05", "old +5", "old -5", "old 5 ", "old", "old 0", "Old 5"]:
            with self.assertRaises(verify.Invalid):
                self.check(5, 8, "\n".join([changed] + lines[1:]).encode())
