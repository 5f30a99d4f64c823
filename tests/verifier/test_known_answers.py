"""The parts of docs/verify.py against the answers of others: RFC 8032, RFC 6962, docs/format.md."""
import bank as made
from bank import leaf, node_seed, u
from common import ROOT, Case, example, flips, verify


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
