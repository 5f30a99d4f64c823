"""Exports: accepted whole, and refused with any bit turned over or any rule broken."""
import unittest.mock

import bank as made
from bank import u
from common import SIZE, Case, check_export, checkpoint, example, keys, verify


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
        hash_ = example().blocks[0]["hash"].hex().encode()
        for other in (b"z" * 64, hash_.upper(), hash_[:-1], hash_ + b"00", hash_[:-1] + b" ", b""):
            self.refused('"hash" is no hash', check_export, data.replace(b'"hash":"' + hash_, b'"hash":"' + other))
        self.refused('"hash" is not the hash', check_export, data.replace(b'"hash":"' + hash_, b'"hash":"' + b"0" * 64))
        self.refused("is empty", check_export, b"")
        with unittest.mock.patch.object(verify, "MAX_LINE", len(lines[0]) - 1):
            self.refused("the line does not end, or has more", check_export, data)

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
