"""Balance proofs: of accounts that are there, and of some that are not."""
import bank as made
from bank import b64
from common import SIZE, Case, checkpoint, example, keys, verify


class Balances(Case):
    def absent(self, by_other, height=7):
        """A name that is no account, with another leaf in its place, or none."""
        state = example().blocks[height]["state"]
        return next(name for name in map("ghost{}".format, range(1000))
                    if bool(made.state_proof(state, made.account_key(name))[0]) == by_other)

    def proof(self, account, height=7, size=SIZE):
        return example().balance_proof(account, height, size, checkpoint(size))

    def test_each_account_after_each_block(self):
        for height, block in enumerate(example().blocks):
            for account in ["world", "alice", "bob", "carol", "e0", "e4", "ghost"]:
                said = verify.check_balance(self.proof(account, height), keys())
                n = block["balances"].get(account)
                self.assertIn(f"there was no account {account};" if n is None else f"{account} had {n};", said)
                self.assertIn(f"after block {height} of", said)
        self.assertIn("world had -100;", verify.check_balance(self.proof("world", 3), keys()))

    def test_any_bit(self):
        proofs = [self.proof("alice"), self.proof("world"), self.proof(self.absent(False)), self.proof(self.absent(True)),
                  self.proof("bob", 0, 5)]
        self.assertEqual([b"\nother " in proof for proof in proofs], [False, False, False, True, False])
        self.assertEqual([b"\nbalance none\n" in proof for proof in proofs], [False, False, True, True, False])
        for proof in proofs:
            self.all_flips_refused(proof, lambda data: verify.check_balance(data, keys()))

    def test_another_name(self):
        # That nothing stands in a place is true of each name that would stand there: the key shows which one was meant.
        ghost, proof = self.absent(False), self.proof(self.absent(False))
        state, key = example().blocks[7]["state"], made.account_key(ghost)
        depth = len(made.state_proof(state, key)[1])
        same = next(name for name in map("gh{}".format, range(100_000))
                    if all(made.bit(made.account_key(name), n) == made.bit(key, n) for n in range(depth)))
        self.refused("the key is not", verify.check_balance, proof.replace(ghost.encode(), same.encode()), keys())
        other = proof.replace(ghost.encode(), same.encode()).replace(b64(key).encode(), b64(made.account_key(same)).encode())
        self.assertEqual(other, self.proof(same))
        self.assertIn(f"there was no account {same};", verify.check_balance(other, keys()))

    def test_lies(self):
        proof, ghost = self.proof("alice").decode(), self.absent(True)
        state = example().blocks[7]["state"]
        self.assertIn("balance 55\n", proof)
        for number in ("54", "055", "+55", "-55", "5_5", "55 ", "٥٥", "-0", "", "1" * 39, "1" * 5000):
            with self.assertRaises(verify.Invalid):
                verify.check_balance(proof.replace("balance 55\n", f"balance {number}\n").encode(), keys())
        # Alice's own leaf as the other one that stands in her place
        key = made.account_key("alice")
        other = "other " + b64(key + made.H(state[key])) + "\n"
        lie = proof.replace("balance 55", "balance none").split("\n")
        self.refused("the other leaf", verify.check_balance, "\n".join(lie[:5] + [other[:-1]] + lie[5:]).encode(), keys())
        self.refused("does not lead", verify.check_balance, "\n".join(lie).encode(), keys())
        # A leaf that is there, from another place
        bob = made.account_key("bob")
        far = ["other " + b64(bob + made.H(state[bob]))]
        siblings = made.hash_lines(made.state_proof(state, bob)[1]).split("\n")[:-1]
        d = len(siblings)
        far_ghost = next(name for name in map("far{}".format, range(1000))
                         if any(made.bit(made.account_key(name), n) != made.bit(bob, n) for n in range(d)))
        head = ["raftbank balance v1", f"account {far_ghost}", f"key {b64(made.account_key(far_ghost))}", "balance none", lie[4]]
        tail = proof.split("\n\n", 1)[1]
        data = "\n".join(head + far + siblings) + "\n\n" + tail
        self.refused("the other leaf", verify.check_balance, data.encode(), keys())
        # With a balance, no other leaf
        data = self.proof(ghost).decode().replace("balance none", "balance 0")
        self.refused("base64|not 32", verify.check_balance, data.encode(), keys())
        # Hashes swapped, missing, one more, too many
        lines = proof.split("\n")
        for changed in [lines[:5] + [lines[6], lines[5]] + lines[7:], lines[:5] + lines[6:], lines[:5] + [lines[5]] + lines[5:]]:
            self.refused("does not lead", verify.check_balance, "\n".join(changed).encode(), keys())
        many = lines[:5] + [b64(bytes(32))] * 257 + lines[5:]
        self.refused("more than 256", verify.check_balance, "\n".join(many).encode(), keys())

    def test_layout(self):
        data = self.proof("alice")
        for changed in [data.replace(b"\n", b"\r\n"), data + b"\n", data[:-1], b"", b"raftbank balance v1\n", b"\n\n\n\n\n\n\n",
                        data.replace(b"account alice", b"account al ice"), data.replace(b"account alice", b"account ")]:
            with self.assertRaises(verify.Invalid):
                verify.check_balance(changed, keys())
        for length in range(len(data)):
            with self.assertRaises(verify.Invalid):
                verify.check_balance(data[:length], keys())
