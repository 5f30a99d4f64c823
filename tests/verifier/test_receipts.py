"""Receipts: each request of the example, any bit, and parts that belong elsewhere."""
import functools

import bank as made
from bank import b64, leaf
from common import SIZE, Case, check_receipt, checkpoint, example, keys, receipt, request_file, verify


class Receipts(Case):
    def places(self):
        return [(height, index) for height, block in enumerate(example().blocks) for index in range(len(block["entries"]))]

    def test_each_request_in_each_tree(self):
        for height, index in self.places():
            entry = example().blocks[height]["objects"][index]
            for size in range(height + 1, SIZE + 1):
                data = receipt(height, index, size)
                said = check_receipt(height, index, data)
                self.assertIn(f'block {height} of {example().origin()} holds "{entry["verb"]}" {entry["id"]} ', said)
                self.assertIn(f"{entry['outcome']}, as request {index}; head of size {size} signed by n1, n2", said)
        self.assertIn('holds "transfer" r2 from alice to bob 5, committed, as request 0;', check_receipt(1, 0, receipt(1, 0)))

    def test_any_bit(self):
        for height, index in self.places():
            self.all_flips_refused(receipt(height, index), functools.partial(check_receipt, height, index))

    def test_any_bit_of_a_request_given_apart(self):
        data = receipt(5, 0)
        self.assertIn(b"\nrequest-leaf ", data)
        self.all_flips_refused(request_file(5, 0), lambda flipped: verify.check_receipt(data, keys(), flipped))
        with self.assertRaisesRegex(verify.Usage, "--request"):
            verify.check_receipt(data, keys())
        self.refused("another request", verify.check_receipt, data, keys(), request_file(1, 0))
        self.refused("another request", verify.check_receipt, receipt(1, 0), keys(), request_file(2, 0))
        verify.check_receipt(receipt(1, 0), keys(), request_file(1, 0))
        self.refused("does not end", verify.check_receipt, data, keys(), request_file(5, 0)[:-1])

    def test_where_a_request_stands(self):
        long = receipt(5, 0).decode().split("\n")
        long[1] = "request " + made.spell(example().blocks[5]["objects"][0])
        self.refused("up to 700 bytes", verify.check_receipt, "\n".join(long).encode(), keys())
        short = receipt(1, 0).decode().split("\n")
        short[1] = "request-leaf " + b64(leaf(example().blocks[1]["entries"][0]))
        self.refused("up to 700 bytes", verify.check_receipt, "\n".join(short).encode(), keys(), request_file(1, 0))
        bank = made.Bank()
        empty = len("request " + made.spell(made.request("put", "p", b"k", b"")[0] | {"outcome": "committed"}))
        for extra in range(8):  # the base64 of the value and one more character of the id: each length around 700
            value = bytes((700 - empty) // 4 * 3)
            bank.block([("committed", "put", "p" * (1 + extra) + f"{extra}", b"k", value)])
        lengths = set()
        for height in range(1, 9):
            line = "request " + made.spell(bank.blocks[height]["objects"][0])
            data = bank.receipt(height, 0, 9, bank.checkpoint(9))
            lengths.add(len(line))
            self.assertEqual(line.encode() in data, len(line) <= 700)
            verify.check_receipt(data, verify.check_keys(bank.keys()), (line[8:] + "\n").encode())
        self.assertTrue({700, 701} <= lengths, lengths)

    def test_parts_of_others(self):
        other = made.Bank(salt="other")
        data = other.receipt(0, 1, 1, other.checkpoint(1))
        verify.check_receipt(data, verify.check_keys(other.keys()))
        self.refused("another bank", verify.check_receipt, data, keys())
        # The same block proven to a checkpoint of another size, or of another history of the same bank
        self.refused("hashes|does not lead", check_receipt, 1, 0,
                     receipt(1, 0).replace(checkpoint(8), checkpoint(7)))
        fork = made.Bank()
        fork.block([("committed", "transfer", "r2", "alice", "bob", 6, "rent")])
        self.refused("does not lead to the root", check_receipt, 1, 0,
                     example().receipt(1, 0, 2, fork.checkpoint(2)))
        # The transaction's index, or the block's, is another's
        for old, new in [("\nindex 0\n", "\nindex 1\n"), ("v1\nindex 1\n", "v1\nindex 2\n")]:
            data = receipt(1, 0).decode()
            self.assertIn(old, data)
            self.refused("index|for block", check_receipt, 1, 0, data.replace(old, new, 1).encode())

    def test_proofs_that_are_not_this_one(self):
        lines = receipt(3, 2).decode().split("\n")
        start = 4
        self.assertEqual([len(line) for line in lines[start:start + 4]], [44, 44, 44, 0])
        swapped = lines[:start] + [lines[start + 1], lines[start]] + lines[start + 2:]
        missing, extra = lines[:start] + lines[start + 1:], lines[:start] + [lines[start]] + lines[start:]
        for why, changed in [("does not lead", swapped), ("too few hashes", missing), ("too many hashes", extra)]:
            self.refused(why, check_receipt, 3, 2, "\n".join(changed).encode())
        # A node in the place of a leaf: the left half of the block, which is no request
        leaves = [leaf(entry) for entry in example().blocks[3]["entries"]]
        node = made.H(b"\x01" + leaves[2] + leaves[3])
        changed = ["raftbank receipt v1", "request-leaf " + b64(node), "index 1"] + [lines[3]] + lines[5:]
        self.refused("too few hashes", verify.check_receipt, "\n".join(changed).encode(), keys())
        self.refused("another request", verify.check_receipt, "\n".join(changed).encode(), keys(), request_file(3, 2))

    def test_layout(self):
        data = receipt(3, 2)
        for changed in [data.replace(b"\n", b"\r\n"), data + b"\n", data[:-1], b"\n" + data, data.replace(b"\n\n", b"\n", 1),
                        data.replace(b"\n\n", b"\n\n\n", 1), data.replace(b"index 2", b"index 02"), b"", b"\n", b"\n" * 5,
                        data.replace(b"index 2", b"index +2"), data.replace(b"index 2", b"index 2 "), b"\xff" * 100,
                        data.replace(b"index 2", "index ٢".encode()), data.replace(b"index 2", b"index -0"),
                        data.replace(b"index 2", b"index 99999999999999999999"), data.replace(b"block ", b"block  "),
                        data.replace(b"receipt v1", b"receipt v2"), data.replace(b"\nblock ", b"\nextra AA==\nblock "),
                        data.replace(b"index 3", b"extra AA==\nindex 3"), data.replace(b"\n", b"\xe2\x80\xa8"), bytes(2**20 + 1)]:
            with self.assertRaises(verify.Invalid):
                check_receipt(3, 2, changed)
        for length in range(len(data)):
            with self.assertRaises(verify.Invalid):
                check_receipt(3, 2, data[:length])
        self.refused("has more than", check_receipt, 3, 2, bytes(2**20 + 1))
        for label in (b"request ", b"index ", b"block "):
            self.refused(f"begins with '{label.decode()}'", check_receipt, 3, 2, data.replace(label, b"x" + label, 1))
        self.refused("begins with 'block '", check_receipt, 3, 2, b"\n".join(data.split(b"\n")[:3] + data.split(b"\n")[7:]))

    def test_headers_that_cannot_be(self):
        header = example().blocks[3]["header"]
        self.assertEqual(verify.header_decode(header).encode(), header)
        for length in range(len(header)):
            self.refused("", verify.header_decode, header[:length])
        self.assertEqual(header[84:87], b"\x02n2")
        for changed in [header + b"\x00", b"\x00\x00\x00\x02" + header[4:], header[:84] + b"\x01" + header[85:],
                        header[:84] + b"\x03" + header[85:], header[:84] + b"\x00" + header[87:], header[:85] + b"n:" + header[87:]]:
            self.refused("", verify.header_decode, changed)
