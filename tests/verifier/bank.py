"""A small bank for the tests of docs/verify.py, made from docs/format.md: chain, checkpoints, receipts and proofs.

Shares no code with verify.py. Everything is written the plain way - trees by their recursive definitions, points of the
curve as x and y - so that it can be compared with the page and with the RFCs line by line. For tests only: the signing
is neither fast nor safe.
"""
from base64 import b64encode
from hashlib import sha256, sha512

VERBS = ["open", "transfer", "credit", "debit", "put"]
OUTCOMES = ["committed", "insufficient_funds", "unknown_account", "account_exists", "same_account", "balance_overflow"]
NODES = ["n1", "n2", "n3"]


def H(data):
    return sha256(data).digest()


def u(size, n):
    return n.to_bytes(size, "big")


def b64(data):
    return b64encode(data).decode()


# ---- Ed25519, RFC 8032 section 5.1

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
BASE = (15112221349535400772501151409588531511454012693041857206046113283949847762202,
        46316835694926478169428394003475163141307993866256225615783033603165251855960)


def plus(p, q):
    product = D * p[0] * q[0] * p[1] * q[1] % P
    return ((p[0] * q[1] + p[1] * q[0]) * pow(1 + product, -1, P) % P,
            (p[1] * q[1] + p[0] * q[0]) * pow(1 - product, -1, P) % P)


def times(n, p):
    total = (0, 1)
    while n:
        total = plus(total, p) if n & 1 else total
        p, n = plus(p, p), n >> 1
    return total


def spell_point(p):
    return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")


def scalar(seed):
    return (int.from_bytes(sha512(seed).digest()[:32], "little") & ~7 & ~(1 << 255)) | 1 << 254


def public_key(seed):
    return spell_point(times(scalar(seed), BASE))


def sign(seed, message):
    number = int.from_bytes(sha512(sha512(seed).digest()[32:] + message).digest(), "little") % L
    r = spell_point(times(number, BASE))
    challenge = int.from_bytes(sha512(r + public_key(seed) + message).digest(), "little")
    return r + ((number + challenge * scalar(seed)) % L).to_bytes(32, "little")


# ---- RFC 6962 section 2.1

def leaf(data):
    return H(b"\x00" + data)


def split(leaves):
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return k


def tree(leaves):
    if len(leaves) == 1:
        return leaves[0]
    k = split(leaves)
    return H(b"\x01" + tree(leaves[:k]) + tree(leaves[k:]))


def path(m, leaves):
    if len(leaves) == 1:
        return []
    k = split(leaves)
    return path(m, leaves[:k]) + [tree(leaves[k:])] if m < k else path(m - k, leaves[k:]) + [tree(leaves[:k])]


def subproof(m, leaves, whole=True):
    if m == len(leaves):
        return [] if whole else [tree(leaves)]
    k = split(leaves)
    if m <= k:
        return subproof(m, leaves[:k], whole) + [tree(leaves[k:])]
    return subproof(m - k, leaves[k:], False) + [tree(leaves[:k])]


# ---- The state tree: {key: value}

def account_key(name):
    return H(b"raftbank/account/1\n" + name.encode())


def bit(key, depth):
    return key[depth // 8] >> (7 - depth % 8) & 1


def state_root(leaves, depth=0):
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        (key, value), = leaves.items()
        return leaf(key + H(value))
    return H(b"\x01" + b"".join(state_root(side, depth + 1) for side in sides(leaves, depth)))


def sides(leaves, depth):
    return [{key: value for key, value in leaves.items() if bit(key, depth) == side} for side in (0, 1)]


def state_proof(leaves, key, depth=0):
    """The leaves where the key's place is (one or none), and the siblings from there up to the root."""
    if len(leaves) <= 1:
        return leaves, []
    both = sides(leaves, depth)
    found, siblings = state_proof(both[bit(key, depth)], key, depth + 1)
    return found, siblings + [state_root(both[1 - bit(key, depth)], depth + 1)]


# ---- Requests: as JSON objects and as bytes

def spell_string(text):
    short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(short.get(c) or (f"\\u00{ord(c):02x}" if c < " " else c) for c in text) + '"'


def spell(value):
    if isinstance(value, str):
        return spell_string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(spell, value)) + "]"
    return "{" + ",".join(f"{spell_string(key)}:{spell(value[key])}" for key in sorted(value)) + "}"


def text8(text):
    return u(1, len(text)) + text.encode()


def request(verb, id, *arguments):
    """(JSON object without the outcome, bytes)"""
    fields, body = {"verb": verb, "id": id}, b""
    if verb == "open":
        fields["account"], body = arguments[0], text8(arguments[0])
    elif verb == "transfer":
        source, target, amount, *memo = arguments
        memo = memo[0] if memo else ""
        fields |= {"from": source, "to": target, "amount": str(amount), "memo": memo}
        body = text8(source) + text8(target) + u(8, amount) + u(2, len(memo.encode())) + memo.encode()
    elif verb == "put":
        key, value = arguments
        fields |= {"key_base64": b64(key), "value_base64": b64(value)}
        try:
            fields["key"] = key.decode()
        except UnicodeDecodeError:
            pass
        body = u(2, len(key)) + key + u(4, len(value)) + value
    else:
        fields |= {"account": arguments[0], "amount": str(arguments[1])}
        body = text8(arguments[0]) + u(8, arguments[1])
    return fields, u(1, VERBS.index(verb) + 1) + text8(id) + body


class Bank:
    """A chain. `requests` of a block: (outcome, verb, id, arguments...). Outcomes are given, not computed: if they are
    wrong, verify.py has to notice."""

    def __init__(self, name="test", salt="pepper"):
        self.balances, self.values, self.blocks = {}, {}, []
        self.parameters = (text8(name) + text8(salt) + u(1, 3) + b"".join(map(text8, NODES)) + u(1, 4) + u(8, 1000))
        self.block([("committed", "put", "genesis:0", b"raftbank/genesis", self.parameters),
                    ("committed", "open", "genesis:1", "alice"), ("committed", "open", "genesis:2", "bob"),
                    ("committed", "credit", "genesis:3", "alice", 100),
                    ("committed", "transfer", "genesis:4", "alice", "bob", 40)],
                   term=0, proposer="genesis", time=1000)
        self.cluster = self.blocks[0]["hash"]

    def apply(self, verb, _id, *arguments):
        if verb == "open":
            self.balances[arguments[0]] = 0
        elif verb == "put":
            self.values[arguments[0]] = arguments[1]
        else:
            source, target, amount = {"transfer": arguments[:3], "credit": ("world", *arguments),
                                      "debit": (arguments[0], "world", arguments[-1])}[verb]
            self.balances[source] = self.balances.get(source, 0) - amount
            self.balances[target] = self.balances.get(target, 0) + amount

    def state(self):
        return ({account_key(name): n.to_bytes(16, "big", signed=True) for name, n in self.balances.items()}
                | {H(b"raftbank/value/1\n" + key): value for key, value in self.values.items()})

    def block(self, requests, **changes):
        """Appends a block; `changes` are header fields that are not to be what they should be."""
        entries, objects = [], []
        for outcome, *rest in requests:
            fields, encoded = request(*rest)
            objects.append(fields | {"outcome": outcome})
            entries.append(u(4, len(encoded)) + encoded + u(1, OUTCOMES.index(outcome)))
            if outcome == "committed":
                self.apply(*rest)
        height, zero = len(self.blocks), bytes(32)
        state = self.state()
        fields = {"version": 1, "cluster_id": self.cluster if height else zero, "height": height,
                  "previous": self.blocks[-1]["hash"] if height else zero, "term": 3, "proposer": "n2",
                  "time_ms": 1000 + 1000 * height, "transaction_root": tree([leaf(entry) for entry in entries]),
                  "state_root": state_root(state), "difficulty": 4}
        fields |= {{"time": "time_ms"}.get(key, key): value for key, value in changes.items()}
        start = (u(4, fields["version"]) + fields["cluster_id"] + u(8, fields["height"]) + fields["previous"]
                 + u(8, fields["term"]) + text8(fields["proposer"]) + u(8, fields["time_ms"]) + u(4, len(entries))
                 + fields["transaction_root"] + fields["state_root"] + u(1, fields["difficulty"]))
        nonce = fields.get("nonce", 0)
        while height and "nonce" not in changes and H(b"raftbank/block/1\n" + start + u(8, nonce))[0] >> 4:
            nonce += 1
        header = start + u(8, nonce)
        fields |= {"nonce": nonce, "schema": 1, "hash": H(b"raftbank/block/1\n" + header), "requests": objects}
        line = spell({key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()})
        self.blocks.append({"hash": fields["hash"], "header": header, "entries": entries, "objects": objects,
                            "line": line.encode() + b"\n", "state": state, "balances": dict(self.balances)})

    # What others get to see

    def origin(self):
        return "raftbank/" + self.cluster.hex()

    def export(self):
        return b"".join(block["line"] for block in self.blocks)

    def logged(self, size):
        return [leaf(block["hash"]) for block in self.blocks[:size]]

    def checkpoint_text(self, size):
        return f"{self.origin()}\n{size}\n{b64(tree(self.logged(size)))}\n"

    def signature(self, node, text):
        name, seed = f"{self.origin()}/{node}", node_seed(node)
        return f"\u2014 {name} {b64(key_id(name, 1, public_key(seed)) + sign(seed, text.encode()))}\n"

    def checkpoint(self, size, nodes=("n1", "n2"), witnesses=()):
        text = self.checkpoint_text(size)
        lines = [self.signature(node, text) for node in nodes] + [cosignature(name, text) for name in witnesses]
        return (text + "\n" + "".join(lines)).encode()

    def keys(self, nodes=NODES, witnesses=()):
        lines = [verifier_key(f"{self.origin()}/{node}", 1, node_seed(node)) for node in nodes]
        return "".join(lines + [verifier_key(name, 4, node_seed(name)) for name in witnesses]).encode()

    def block_proof(self, height, size, checkpoint):
        hashes = hash_lines(path(height, self.logged(size)))
        return f"\nc2sp.org/tlog-proof@v1\nindex {height}\n{hashes}\n".encode() + checkpoint

    def receipt(self, height, index, size, checkpoint):
        block = self.blocks[height]
        object_line = "request " + spell(block["objects"][index])
        if len(object_line.encode()) > 700:
            object_line = "request-leaf " + b64(leaf(block["entries"][index]))
        hashes = hash_lines(path(index, [leaf(entry) for entry in block["entries"]]))
        return (f"raftbank receipt v1\n{object_line}\nindex {index}\nblock {b64(block['header'])}\n{hashes}".encode()
                + self.block_proof(height, size, checkpoint))

    def balance_proof(self, account, height, size, checkpoint):
        block, key, other = self.blocks[height], account_key(account), ""
        found, siblings = state_proof(block["state"], key)
        if key not in found:
            other = "".join(f"other {b64(k + H(value))}\n" for k, value in found.items())
        balance = block["balances"].get(account, "none")
        return (f"raftbank balance v1\naccount {account}\nkey {b64(key)}\nbalance {balance}\n"
                f"block {b64(block['header'])}\n{other}"
                f"{hash_lines(siblings)}").encode() + self.block_proof(height, size, checkpoint)

    def consistency(self, old, new, checkpoint):
        return f"old {old}\n{hash_lines(subproof(old, self.logged(new)))}\n".encode() + checkpoint


def hash_lines(hashes):
    return "".join(b64(hash_) + "\n" for hash_ in hashes)


def node_seed(name):
    return H(b"a key for tests only\n" + name.encode())


def key_id(name, kind, public):
    return H(name.encode() + b"\n" + u(1, kind) + public)[:4]


def verifier_key(name, kind, seed):
    public = public_key(seed)
    return f"{name}+{key_id(name, kind, public).hex()}+{b64(u(1, kind) + public)}\n"


def cosignature(name, text, time=1_700_000_000):
    seed = node_seed(name)
    signature = sign(seed, f"cosignature/v1\ntime {time}\n{text}".encode())
    return f"\u2014 {name} {b64(key_id(name, 4, public_key(seed)) + u(8, time) + signature)}\n"


def example():
    """Eight blocks: each verb, each outcome, and text that is awkward in JSON. Block 1 is that of docs/format.md."""
    bank = Bank()
    bank.block([("committed", "transfer", "r2", "alice", "bob", 5, "rent")])
    bank.block([("committed", "open", "o1", "carol"), ("account_exists", "open", "o2", "carol"),
                ("account_exists", "open", "o3", "world")])
    bank.block([("insufficient_funds", "transfer", "f1", "bob", "carol", 46), ("unknown_account", "credit", "f2", "dan", 1),
                ("same_account", "transfer", "f3", "dan", "dan", 1), ("unknown_account", "transfer", "f4", "dan", "bob", 1),
                ("balance_overflow", "credit", "f5", "alice", 2**63 - 1), ("same_account", "debit", "f6", "world", 1),
                ("insufficient_funds", "debit", "f7", "carol", 1)], term=4, time=9000)
    bank.block([("committed", "put", "p1", "é \"\\\x00\x1f\x7f\u2028\n".encode(), b""),
                ("committed", "put", "p2", b"\xff\xfe", b"\x00\xff binary")], proposer="n.3", term=4, time=9000)
    bank.block([("committed", "transfer", "A.b_c:d-1", "bob", "carol", 45, "\x01" * 160 + "\u2029😀")],
               term=9, time=9001)
    bank.block([("committed", "debit", "d1", "carol", 45), ("committed", "put", "p3", b"raftbank/genesis", b"other"),
                ("committed", "transfer", "t1", "world", "bob", 2**63 - 1),
                ("committed", "transfer", "t2", "bob", "world", 2**63 - 2)], term=9, time=9002)
    bank.block([("committed", "open", f"e{i}", f"e{i}") for i in range(5)], term=9, time=2**64 - 1)
    return bank
