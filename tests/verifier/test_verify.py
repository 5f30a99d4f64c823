"""Tests of docs/verify.py: known answers, a small bank made from docs/format.md, each of its bits turned over, and the
published vectors in tests/vectors.

    python3 -m unittest discover -s tests/verifier
"""
import functools
import importlib.util
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import bank as made
from bank import b64, leaf, node_seed, u

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERIFY, VECTORS = ROOT / "docs" / "verify.py", ROOT / "tests" / "vectors"
spec = importlib.util.spec_from_file_location("verify", VERIFY)
verify = importlib.util.module_from_spec(spec)
spec.loader.exec_module(verify)

# Thousands of files share signatures and lines: each is checked once only. Both depend on their arguments alone.
verify.ed25519_verify = functools.lru_cache(maxsize=None)(verify.ed25519_verify)
verify.block_of = functools.lru_cache(maxsize=4096)(verify.block_of)

SIZE = 8
WITNESS = "witness.example/w1"


@functools.cache
def example():
    return made.example()


@functools.cache
def keys(witnesses=()):
    return verify.check_keys(example().keys(witnesses=witnesses))


@functools.cache
def checkpoint(size=SIZE, nodes=("n1", "n2"), witnesses=()):
    return example().checkpoint(size, nodes, witnesses)


def check_export(data, **options):
    return verify.check_export(io.BytesIO(data), **options)


def receipt(height, index, size=SIZE):
    return example().receipt(height, index, size, checkpoint(size))


def request_file(height, index):
    return (made.spell(example().blocks[height]["objects"][index]) + "\n").encode()


def check_receipt(height, index, data):
    """As an auditor would: the request is given if the receipt does not hold it."""
    apart = b"\nrequest-leaf " in data
    return verify.check_receipt(data, keys(), request_file(height, index) if apart else None)


def flips(data):
    """Every file that differs from this one in one bit."""
    for place, byte in enumerate(data):
        for bit in range(8):
            yield data[:place] + bytes([byte ^ 1 << bit]) + data[place + 1:]


class Case(unittest.TestCase):
    def refused(self, why, function, *args, **options):
        """Refused, for this reason: a test that expects a refusal should not be content with any."""
        with self.assertRaisesRegex(verify.Invalid, why):
            function(*args, **options)

    def all_flips_refused(self, data, function):
        function(data)
        for flipped in flips(data):
            try:
                said = function(flipped)
            except verify.Invalid as error:
                self.assertTrue(str(error))
            else:
                self.fail(f"accepted as {said!r}: {flipped!r}")


class KnownAnswers(Case):
    # RFC 8032 section 7.1, tests 1 to 3: seed, public key, message, signature
    ED25519 = [
        ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
         "24655141438e7a100b"),
        ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302a"
         "eeb00d291612bb0c00"),
        ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed2"
         "8dc027beceea1ec40a"),
    ]
    # The certificate-transparency project's own tests of RFC 6962
    LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    ROOTS = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]

    def test_ed25519(self):
        for seed, public, message, signature in self.ED25519:
            seed, public, message, signature = map(bytes.fromhex, (seed, public, message, signature))
            self.assertEqual((made.public_key(seed), made.sign(seed, message)), (public, signature))
            self.assertTrue(verify.ed25519_verify(public, message, signature))
            self.assertFalse(verify.ed25519_verify(public, message + b"\x00", signature))
            for flipped in flips(signature):
                self.assertFalse(verify.ed25519_verify(public, message, flipped))
            for flipped in flips(public):
                self.assertFalse(verify.ed25519_verify(flipped, message, signature))
            self.assertFalse(verify.ed25519_verify(public, message, signature[:63]))

    def test_ed25519_has_one_spelling(self):
        public, signature = bytes.fromhex(self.ED25519[1][1]), bytes.fromhex(self.ED25519[1][3])
        again = (int.from_bytes(signature[32:], "little") + made.L).to_bytes(32, "little")
        self.assertFalse(verify.ed25519_verify(public, b"\x72", signature[:32] + again), "s + L")
        self.assertFalse(verify.ed25519_verify(public, b"\x72", signature + b"\x00"))

    def test_ed25519_weak_keys(self):
        # With a key or R of small order, signatures that nobody made would hold: 0·B = R + k·A.
        p, order8 = made.P, "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
        weak = [u(32, 1)[::-1], bytes(32), (p - 1).to_bytes(32, "little"), bytes(31) + b"\x80", bytes.fromhex(order8)]
        for point in weak:
            self.assertIsNone(verify.point_decode(point))
            for r in weak:
                for message in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"):
                    self.assertFalse(verify.ed25519_verify(point, message, r + bytes(32)))
        # An honest key, R the identity, s = k·a: the equation holds, strict verification refuses.
        seed, identity = node_seed("x"), u(32, 1)[::-1]
        public = made.public_key(seed)
        k = int.from_bytes(made.sha512(identity + public + b"m").digest(), "little")
        forged = identity + (k * made.scalar(seed) % made.L).to_bytes(32, "little")
        self.assertFalse(verify.ed25519_verify(public, b"m", forged))
        for y in range(p, 2**255):  # other spellings of the points with y below 19
            self.assertIsNone(verify.point_decode(y.to_bytes(32, "little")))
        self.assertIsNone(verify.point_decode((2).to_bytes(32, "little")), "not on the curve")

    def test_trees(self):
        leaves = [leaf(bytes.fromhex(text)) for text in self.LEAVES]
        tree = verify.Tree()
        for size, (leaf_hash, root) in enumerate(zip(leaves, self.ROOTS), 1):
            tree.append(leaf_hash)
            self.assertEqual((tree.root().hex(), made.tree(leaves[:size]).hex()), (root, root))

    def test_proofs_of_trees_of_many_sizes(self):
        leaves = [leaf(bytes([n])) for n in range(20)]
        roots = [None] + [made.tree(leaves[:size]) for size in range(1, 21)]

        def consistent(old, new, path):
            try:
                return verify.consistency(old, new, path, roots[old]) == (roots[old], roots[new])
            except verify.Invalid:
                return False

        for size in range(1, 21):
            for index in range(size):
                path = made.path(index, leaves[:size])
                self.assertEqual(verify.inclusion(leaves[index], index, size, path), roots[size])
                for wrong in (path + [bytes(32)], [bytes(32)] + path):
                    self.refused("too many hashes", verify.inclusion, leaves[index], index, size, wrong)
                for place in range(len(path)):
                    self.refused("too few|too many", verify.inclusion, leaves[index], index, size, path[:place] + path[place + 1:])
            self.refused("outside its tree", verify.inclusion, leaves[0], size, size, made.path(size - 1, leaves[:size]))
            for old in range(1, 21):
                path = made.subproof(min(old, size), leaves[:size])
                self.assertEqual(consistent(old, size, path), old <= size)
                self.assertFalse(consistent(old, size, path + [bytes(32)]) or consistent(old, size, [bytes(32)] + path))
                for place in range(len(path)):
                    self.assertFalse(consistent(old, size, path[:place] + path[place + 1:]))
                    self.assertFalse(consistent(old, size, path[:place] + [bytes(32)] + path[place + 1:]))

    def test_state_tree_grows_as_it_is_built_anew(self):
        # Keys that share up to 255 bits, which no search would find.
        some = [bytes(31) + bytes([n]) for n in (0, 1, 2, 128)] + [made.H(bytes([n])) for n in range(40)]
        leaves, tree = {}, None
        for n, key in enumerate(some + some[::3]):
            leaves[key] = bytes([n])
            tree = verify.state_put(tree, verify.state_leaf(key, bytes([n])))
            if n % 4:  # sometimes more than one change between two roots
                self.assertEqual(verify.state_root(tree), made.state_root(leaves))

    def test_the_worked_example(self):
        page = (ROOT / "docs" / "format.md").read_text()
        for block, hash_ in enumerate(["3a3052784a4b7b2eab1febfcb9ad84416d2d91e6fee1de16f8b2e38b684d6fd0",
                                       "01ea0eadcdb3b1f7e8855fcdb3f93f71e853d456c926436b90edd3554abf6a2a"]):
            self.assertIn(hash_, page)
            self.assertEqual(example().blocks[block]["hash"].hex(), hash_)
            header, entries = verify.block_of(example().blocks[block]["line"])
            self.assertEqual(header.hash().hex(), hash_)
            self.assertEqual([entry.encoded for entry in entries], example().blocks[block]["entries"])


class Export(Case):
    def test_it_is_accepted(self):
        data, cluster = example().export(), example().cluster.hex()
        said = check_export(data, cluster=cluster)
        for row in [f"cluster id  {cluster} (compared with the one given)", "blocks      8", "height      7",
                    "requests    28 (19 committed, 9 refused)", f"head        {example().blocks[-1]['hash'].hex()}",
                    f"log root    {made.tree(example().logged(8)).hex()}"]:
            self.assertIn(row, said.split("\n"))
        self.assertIn("NOT compared", check_export(data))
        for size in range(1, SIZE + 1):
            head = verify.checkpoint_file(checkpoint(size), keys())
            self.assertIn(f"contains the head of size {size} signed by n1, n2", check_export(data, keys=keys(), checkpoint=head))

    def test_any_bit(self):
        self.all_flips_refused(example().export(), check_export)

    def test_lines(self):
        lines = example().export().splitlines(keepends=True)
        for place in range(len(lines) - 1):
            missing = lines[:place] + lines[place + 1:]
            self.refused("height|previous|block 0", check_export, b"".join(missing))
        for place in range(len(lines)):
            self.refused("twice|is not next", check_export, b"".join(lines[:place + 1] + lines[place:]))
        data = b"".join(lines)
        self.refused("not spelled", check_export, data.replace(b"\n", b"\r\n"))
        self.refused("not spelled", check_export, data.replace(b'"amount":"5"', b'"amount": "5"'))
        self.refused("not spelled", check_export, data.replace(b'"memo":"rent"', b'"memo":"\\u0072ent"'))
        self.refused("not spelled", check_export, data.replace(b'"schema":1', b'"schema":1,"schema":1'))
        self.refused("not spelled", check_export, data.replace(b'"schema":1', b'"schema":2'))
        self.refused("not spelled", check_export, data.replace(b'"schema":1', b'"schema":true'))
        self.refused("not spelled", check_export, data.replace(b"\\u001f", b"\\u001F"))
        self.refused("not spelled|not JSON", check_export, b" " + data)
        self.refused("not JSON|not UTF-8", check_export, b"\xef\xbb\xbf" + data)
        self.refused("not JSON", check_export, data + b"\n")
        self.refused("does not end", check_export, data[:-1])
        self.refused("is empty", check_export, b"")

    def test_a_cut_end_needs_a_checkpoint(self):
        cut = b"".join(example().export().splitlines(keepends=True)[:-1])
        check_export(cut)
        head = verify.checkpoint_file(checkpoint(), keys())
        self.refused("ends before the head", check_export, cut, keys=keys(), checkpoint=head)

    def test_another_bank(self):
        other = made.Bank(salt="other")
        self.refused("the cluster id is", check_export, other.export(), cluster=example().cluster.hex())
        self.refused("the cluster id is", check_export, other.export(), keys=keys())
        head = verify.checkpoint_file(other.checkpoint(1), verify.check_keys(other.keys()))
        self.refused("another bank", check_export, example().export(), cluster=example().cluster.hex(),
                     keys=verify.check_keys(other.keys()), checkpoint=head)
        few = verify.check_keys(example().keys(nodes=["n1"]))
        self.refused("not those of all members", check_export, example().export(), keys=few)

    def test_another_history_of_the_same_bank(self):
        other = made.Bank()
        other.block([("committed", "transfer", "r2", "alice", "bob", 6, "rent")])
        head = verify.checkpoint_file(other.checkpoint(2), keys())
        self.refused("not those of the checkpoint", check_export, example().export(), keys=keys(), checkpoint=head)

    def test_rules_of_blocks(self):
        """Blocks that are whole in themselves - hash, proof-of-work, transaction root - and break one rule."""
        fine = ("committed", "open", "o", "carol")
        zero = bytes(32)
        for why, changes in [
            ("version 2", {"version": 2}), ("cluster id", {"cluster_id": zero}), ("height 2 is not next", {"height": 2}),
            ("height 0 is not next", {"height": 0}), ('"previous"', {"previous": zero}), ("no node name", {"proposer": "a:b"}),
            ("no node name", {"proposer": "n" * 33}), ("no node name", {"proposer": ""}),
            ("time is below", {"time": 999}), ("the difficulty", {"difficulty": 3}),
            ("the transaction root", {"transaction_root": zero}), ("the state root", {"state_root": zero}),
        ]:
            bank = made.Bank()
            bank.block([fine], **changes)
            self.refused(why, check_export, bank.export())
        bank = made.Bank()
        bank.block([fine])
        bank.block([("committed", "open", "o4", "dan")], term=2)
        self.refused("term or time is below", check_export, bank.export())
        for nonce in range(4):
            bank = made.Bank()
            bank.block([fine], nonce=nonce)
            if bank.blocks[1]["hash"][0] >> 4:
                self.refused("proof-of-work", check_export, bank.export())
                break
        else:
            self.fail("no block without proof-of-work was made")

    def test_rules_of_requests(self):
        for why, requests in [
            ("twice", [("committed", "open", "o", "c"), ("account_exists", "open", "o", "c")]),
            ("twice", [("committed", "open", "genesis:1", "c")]),
            ("is account_exists", [("committed", "open", "o", "alice")]),
            ("is committed", [("account_exists", "open", "o", "carol")]),
            ("is insufficient_funds", [("committed", "transfer", "t", "alice", "bob", 61)]),
            ("is balance_overflow", [("committed", "credit", "t", "alice", 2**63 - 60)]),
            ("is committed", [("balance_overflow", "credit", "t", "alice", 2**63 - 61)]),
            ("is unknown_account", [("insufficient_funds", "transfer", "t", "alice", "x", 61)]),
            ("is same_account", [("unknown_account", "transfer", "t", "x", "x", 1)]),
            ("the amount", [("unknown_account", "debit", "t", "x", 0)]),
            ("the amount", [("unknown_account", "debit", "t", "x", 2**63)]),
            ("no account name", [("unknown_account", "debit", "t", "a b", 1)]),
            ("no account name", [("unknown_account", "debit", "t", "a\n", 1)]),
            ("no account name", [("unknown_account", "debit", "t", "a" * 65, 1)]),
            ("no request id", [("unknown_account", "debit", "", "a", 1)]),
            ("memo is too long", [("committed", "transfer", "t", "alice", "bob", 1, "é" * 128 + "x")]),
            ("too long", [("committed", "put", "t", b"", b"")]),
            ("too long", [("committed", "put", "t", b"k" * 257, b"")]),
            ("too long", [("committed", "put", "t", b"k", bytes(65_537))]),
            ("requests in a block", [("committed", "put", f"i{i}", b"k", b"") for i in range(16_385)]),
            ("bytes", [("committed", "put", f"i{i}", b"k", bytes(65_536)) for i in range(64)]),
        ]:
            bank = made.Bank()
            bank.apply = lambda *_: None  # if it is refused, then before its state is looked at
            bank.block(requests)
            self.refused(why, check_export, bank.export())
        bank = made.Bank()  # the largest that is allowed
        bank.block([("committed", "put", "i", b"k" * 256, bytes(65_536)),
                    ("committed", "transfer", "t", "alice", "bob", 60, "é" * 128)])
        bank.block([("committed", "put", f"i{i}", b"k", b"") for i in range(16_384)])
        check_export(bank.export())

    def test_rules_of_block_0(self):
        def parameters(name=b"test", salt=b"pepper", members=(b"n1", b"n2"), difficulty=4, more=b""):
            packed = [bytes([len(text)]) + text for text in (name, salt)]
            packed += [bytes([len(members)])] + [bytes([len(node)]) + node for node in members]
            return b"".join(packed) + bytes([difficulty]) + u(8, 1000) + more

        def block_0(value, requests=(), first=("put", "genesis:0", b"raftbank/genesis"), **changes):
            bank = made.Bank()
            bank.balances, bank.values, bank.blocks = {}, {}, []
            bank.block([("committed", *first, value), *requests], **{"term": 0, "proposer": "genesis", "time": 1000} | changes)
            return bank.export()

        a, b = ("committed", "open", "genesis:1", "a"), ("committed", "open", "genesis:2", "b")
        fine = [a, b, ("committed", "credit", "genesis:3", "b", 9), ("committed", "transfer", "genesis:4", "b", "a", 9)]
        check_export(block_0(parameters(), fine))
        for why, data in [
            ("of block 0", block_0(parameters(), term=1)), ("of block 0", block_0(parameters(), nonce=1)),
            ("of block 0", block_0(parameters(), proposer="n1")), ("of block 0", block_0(parameters(), previous=b"1" * 32)),
            ("of block 0", block_0(parameters(), cluster_id=b"1" * 32)),
            ("of the parameters", block_0(parameters(), time=1001)),
            ("of the parameters", block_0(parameters(), difficulty=5)),
            ("above 24", block_0(parameters(difficulty=25), difficulty=25)), ("too long", block_0(parameters(more=b"x"))),
            ("too short", block_0(parameters()[:-1])), ("too short", block_0(b"")),
            ("1 to 128", block_0(parameters(name=b""))), ("1 to 128", block_0(parameters(salt=b"x" * 129))),
            ("UTF-8", block_0(parameters(name=b"\xff"))), ("members", block_0(parameters(members=()))),
            ("members", block_0(parameters(members=(b"n1", b"n1")))),
            ("members", block_0(parameters(members=[b"n%d" % n for n in range(8)]))),
            ("node name", block_0(parameters(members=(b"n 1",)))), ("node name", block_0(parameters(members=(b"\xff",)))),
            ("another key", block_0(parameters(), first=("put", "genesis:0", b"raftbank/genesi"))),
            ("not as in a block 0", block_0(parameters(), first=("put", "genesis:1", b"raftbank/genesis"))),
            ("not as in a block 0", block_0(parameters(), [b])),
            ("not as in a block 0", block_0(parameters(), [("account_exists", "open", "genesis:1", "world")])),
            ("memo", block_0(parameters(), [*fine[:3], (*fine[3], "hello")])),
            ("not those of a block 0", block_0(parameters(), [a, ("committed", "put", "genesis:2", b"k", b"v")])),
            ("not those of a block 0", block_0(parameters(), [("committed", "put", "genesis:1", b"k", b"v")])),
            ("not those of a block 0", block_0(parameters(), [a, ("committed", "credit", "genesis:2", "a", 1),
                                                              ("committed", "open", "genesis:3", "b")])),
            ("not those of a block 0", block_0(parameters(), [*fine, ("committed", "debit", "genesis:5", "a", 9)])),
            ("credits", block_0(parameters(), [a, b, ("committed", "credit", "genesis:3", "b", 1),
                                               ("committed", "credit", "genesis:4", "a", 1)])),
            ("credits", block_0(parameters(), [a, ("committed", "credit", "genesis:2", "a", 1),
                                               ("committed", "credit", "genesis:3", "a", 1)])),
        ]:
            self.refused(why, check_export, data)

    def test_json_that_python_would_take(self):
        line = made.Bank().export()
        for old, new in [(b'"height":0', b'"height":-0'), (b'"height":0', b'"height":0.0'), (b'"height":0', b'"height":false'),
                         (b'"height":0', b'"height":NaN'), (b'"height":0', b'"height":Infinity'),
                         (b'"height":0', b'"height":' + b"9" * 5000), (b'"height":0', b'"height":18446744073709551616'),
                         (b'"height":0', b'"height":null'), (b'"height":0', b'"height":"0"'), (b'"height":0', b'"height":1e0'),
                         (b'"difficulty":4', b'"difficulty":256'), (b'"version":1', b'"version":4294967297'),
                         (b'"amount":"40"', b'"amount":40'), (b'"amount":"40"', b'"amount":"+40"'),
                         (b'"amount":"40"', b'"amount":" 40"'), (b'"amount":"40"', b'"amount":"4_0"'),
                         (b'"amount":"40"', b'"amount":"040"'), (b'"amount":"40"', '"amount":"٤٠"'.encode()),
                         (b'"amount":"40"', b'"amount":"-40"'), (b'"amount":"40"', b'"amount":"40\\n"'),
                         (b'"memo":""', b'"memo":"\\ud800"'), (b'"memo":""', b'"memo":[]'), (b'"memo":""', b'"Memo":""'),
                         (b'"verb":"open"', b'"verb":"opens"'), (b'"outcome":"committed"', b'"outcome":"lost"'),
                         (b'"id":"genesis:1"', b'"id":"genesis:1\\ud800"'), (b'"id":"genesis:1"', b'"id":null'),
                         (b'"requests":[', b'"requests":[0,'), (b'"requests":[', b'"requests":[[],'),
                         (b'"schema":1', b'"schema":1,"more":1'), (b'"schema":1,', b'')]:
            self.assertIn(old, line)
            with self.assertRaises(verify.Invalid, msg=new):
                check_export(line.replace(old, new, 1))
        for line in [b"[" * 100_000, b'{"a":' * 100_000, b"[]", b"null", b"0", b'"x"', b"{}", b'{"requests":{}}', b"\xff",
                     b"\x00", b"9" * 100_000, b'{"requests":[]}']:
            with self.assertRaises(verify.Invalid):
                check_export(line + b"\n")


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
        self.refused("up to 900 bytes", verify.check_receipt, "\n".join(long).encode(), keys())
        short = receipt(1, 0).decode().split("\n")
        short[1] = "request-leaf " + b64(leaf(example().blocks[1]["entries"][0]))
        self.refused("up to 900 bytes", verify.check_receipt, "\n".join(short).encode(), keys(), request_file(1, 0))
        bank = made.Bank()
        empty = len("request " + made.spell(made.request("put", "p", b"k", b"")[0] | {"outcome": "committed"}))
        for extra in range(8):  # the base64 of the value and one more character of the id: each length around 900
            value = bytes((900 - empty) // 4 * 3)
            bank.block([("committed", "put", "p" * (1 + extra) + f"{extra}", b"k", value)])
        lengths = set()
        for height in range(1, 9):
            line = "request " + made.spell(bank.blocks[height]["objects"][0])
            data = bank.receipt(height, 0, 9, bank.checkpoint(9))
            lengths.add(len(line))
            self.assertEqual(line.encode() in data, len(line) <= 900)
            verify.check_receipt(data, verify.check_keys(bank.keys()), (line[8:] + "\n").encode())
        self.assertTrue({900, 901} <= lengths, lengths)

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

    def test_headers_that_cannot_be(self):
        header = example().blocks[3]["header"]
        self.assertEqual(verify.header_decode(header).encode(), header)
        for length in range(len(header)):
            self.refused("", verify.header_decode, header[:length])
        self.assertEqual(header[84:87], b"\x02n2")
        for changed in [header + b"\x00", b"\x00\x00\x00\x02" + header[4:], header[:84] + b"\x01" + header[85:],
                        header[:84] + b"\x03" + header[85:], header[:84] + b"\x00" + header[87:], header[:85] + b"n:" + header[87:]]:
            self.refused("", verify.header_decode, changed)


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
            # That nothing stands in a place is true of each name that would stand there: a flip in the name of an account
            # that is not there may give another name that is not there, and a proof of that.
            said, absent = verify.check_balance(proof, keys()), b"\nbalance none\n" in proof
            for flipped in flips(proof):
                try:
                    other = verify.check_balance(flipped, keys())
                except verify.Invalid:
                    continue
                name = flipped.split(b"\n")[1].decode().removeprefix("account ")
                self.assertTrue(absent and name not in example().balances, flipped)
                old = proof.split(b"\n")[1].decode().removeprefix("account ")
                self.assertEqual((flipped, other), (proof.replace(old.encode(), name.encode(), 1), said.replace(old, name, 1)))

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
        self.refused("the other leaf", verify.check_balance, "\n".join(lie[:4] + [other[:-1]] + lie[4:]).encode(), keys())
        self.refused("does not lead", verify.check_balance, "\n".join(lie).encode(), keys())
        # A leaf that is there, from another place
        bob = made.account_key("bob")
        far = ["other " + b64(bob + made.H(state[bob]))]
        siblings = made.hash_lines(made.state_proof(state, bob)[1]).split("\n")[:-1]
        d = len(siblings)
        far_ghost = next(name for name in map("far{}".format, range(1000))
                         if any(made.bit(made.account_key(name), n) != made.bit(bob, n) for n in range(d)))
        head = ["raftbank balance v1", f"account {far_ghost}", "balance none", lie[3]]
        tail = proof.split("\n\n", 1)[1]
        self.refused("the other leaf", verify.check_balance, ("\n".join(head + far + siblings) + "\n\n" + tail).encode(), keys())
        # With a balance, no other leaf
        data = self.proof(ghost).decode().replace("balance none", "balance 0")
        self.refused("base64|not 32", verify.check_balance, data.encode(), keys())
        # Hashes swapped, missing, one more, too many
        lines = proof.split("\n")
        for changed in [lines[:4] + [lines[5], lines[4]] + lines[6:], lines[:4] + lines[5:], lines[:4] + [lines[4]] + lines[4:]]:
            self.refused("does not lead", verify.check_balance, "\n".join(changed).encode(), keys())
        many = lines[:4] + [b64(bytes(32))] * 257 + lines[4:]
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
            ("not of one bank", lines[0] + made.verifier_key(f"raftbank/{'0' * 64}/n2", 1, seed)), ("twice", lines[0] + lines[0]), ("twice", lines[0] + same_key),
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
                self.assertIn(f"at size {new} begins with all of the head of size {old} ", self.check(old, new, self.proof(old, new)))

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
            self.skipTest("there is no tests/vectors/manifest.json")
        cases = json.loads(manifest.read_text())
        self.assertTrue(cases, "the manifest is empty")
        self.assertTrue({case["exit"] for case in cases} >= {0, 6}, "the manifest has nothing to accept or to refuse")
        for case in cases:
            with self.subTest(args=case["args"]):
                code, _, err = self.run_verify(*case["args"], folder=VECTORS)
                self.assertEqual(code, case["exit"], err)


if __name__ == "__main__":
    unittest.main()
