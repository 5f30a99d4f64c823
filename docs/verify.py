#!/usr/bin/env python3
"""Checks what a raftbank gives away: exports of its chain, receipts, balance proofs, checkpoints, consistency proofs.

Written from docs/format.md alone and sharing no code with raftbank, so that one finds the mistakes of the other. Needs
Python 3.11 and nothing else. The sections here have the names they have there.

Exit codes: 0 what was checked holds, and is said; 6 it does not, and why; 2 wrong usage or a file that cannot be read.
"""
import argparse
import base64
import json
import re
import struct
import sys
from hashlib import sha256, sha512
from typing import NamedTuple

I63, U32, U64 = 2**63 - 1, 2**32 - 1, 2**64 - 1
MAX_FILE = 1 << 20  # bytes of any file but an export
MAX_LINE = 64 << 20  # bytes of one line of an export: a block of 4 MiB as JSON is below that
MAX_BLOCK = 4 << 20
MAX_REQUESTS = 16_384


class Invalid(Exception):
    """What was to be checked does not hold; the text says why."""


class Usage(Exception):
    """Nothing was checked: the arguments or a file cannot be used."""


def need(holds, why):
    if not holds:
        raise Invalid(why)


def show(text):
    """Text from a file under check, for a message: nothing in it reaches the terminal unescaped."""
    return ascii(text if len(text) <= 80 else text[:80] + "...")


# ---- Conventions; base64, and exact spelling

ACCOUNT, NODE = re.compile(r"[a-zA-Z0-9._:-]{1,64}"), re.compile(r"[a-zA-Z0-9._-]{1,32}")
ZEROS = bytes(32)


def H(data):
    return sha256(data).digest()


def name(pattern, text, what):
    need(pattern.fullmatch(text), f"{show(text)} is no {what}")
    return text


def decimal(text, low, high, what):
    # Not int(): that takes spaces, signs, underscores, leading zeros and the digits of any script.
    need(re.fullmatch(r"0|-?[1-9][0-9]{0,38}", text), f"{what} {show(text)} is no decimal number")
    need(low <= int(text) <= high, f"{what} {text} is not in {low} to {high}")
    return int(text)


def b64(data):
    return base64.b64encode(data).decode()


def unb64(text, what, size=None):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Invalid(f"{what}: {show(text)} is not base64") from None
    need(b64(data) == text, f"{what}: {show(text)} is not the one spelling of these bytes")
    need(size is None or len(data) == size, f"{what} has {len(data)} bytes, not {size}")
    return data


def text_of(data, what):
    """The text of a file: UTF-8, every line ended. Lines end at a line feed and at nothing else."""
    need(len(data) <= MAX_FILE, f"{what} has more than {MAX_FILE} bytes")
    try:
        text = data.decode("utf-8")
    except ValueError:
        raise Invalid(f"{what} is not UTF-8") from None
    need(text.endswith("\n"), f"the last line of {what} does not end with a line feed")
    return text


def parts_of(data, count, what):
    """The lines of each part of a file; an empty line stands between two parts."""
    parts = text_of(data, what)[:-1].split("\n\n")
    need(len(parts) == count, f"{what} has {len(parts)} parts with an empty line between them, not {count}")
    return [part.split("\n") for part in parts]


def field(lines, label):
    """Takes the line `label rest` from the front and returns the rest."""
    start = label + " "
    need(lines and lines[0].startswith(start), f"a line is missing that begins with {show(start)}")
    return lines.pop(0)[len(start):]


def same_spelling(spelled, data, what):
    need(spelled.encode() == data, f"{what} is not spelled as what it means is spelled")


# ---- Ed25519 (RFC 8032), strict: one spelling of each point and number, no points of small order

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
IDENTITY = (0, 1, 1, 0)  # points are (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z


def point_add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_decode(data):
    """The point, or None: not on the curve, not the one spelling, or of small order (its eightfold is the identity)."""
    y, sign = int.from_bytes(data, "little") & 2**255 - 1, data[31] >> 7
    if y >= P:
        return None
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if x * x % P != xx:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != xx or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    point = eightfold = (x, y, 1, x * y % P)
    for _ in range(3):
        eightfold = point_add(eightfold, eightfold)
    return None if eightfold[0] == 0 else point  # x = 0 here: the identity, or the point of order 2


def point_combine(m, p, n, q):
    """m·p + n·q"""
    choice, sum_ = (None, p, q, point_add(p, q)), IDENTITY
    for bit in range(255, -1, -1):
        sum_ = point_add(sum_, sum_)
        chosen = choice[(m >> bit & 1) + 2 * (n >> bit & 1)]
        sum_ = point_add(sum_, chosen) if chosen else sum_
    return sum_


BASE = point_decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def ed25519_verify(public_key, message, signature):
    if len(public_key) != 32 or len(signature) != 64:
        return False
    a, r, s = point_decode(public_key), point_decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    k = int.from_bytes(sha512(signature[:32] + public_key + message).digest(), "little") % L
    x, y, z, _ = point_combine(s, BASE, k, (-a[0] % P, a[1], 1, -a[3] % P))  # must be r = s·B - k·A
    return (x - r[0] * z) % P == 0 and (y - r[1] * z) % P == 0


# ---- Transaction root, and the log tree (RFC 6962)

def leaf(data):
    return H(b"\x00" + data)


def join(left, right):
    return H(b"\x01" + left + right)


class Tree:
    """A tree that grows: keeps the roots of its complete subtrees only, the largest first."""

    def __init__(self):
        self.size, self.complete = 0, []

    def append(self, leaf_hash):
        self.size += 1
        self.complete.append(leaf_hash)
        for _ in range((self.size & -self.size).bit_length() - 1):  # one for each zero bit at the end of the size
            right = self.complete.pop()
            self.complete.append(join(self.complete.pop(), right))

    def root(self):
        root = self.complete[-1]
        for left in self.complete[-2::-1]:
            root = join(left, root)
        return root


def inclusion(leaf_hash, index, size, path, what):
    """The root that the path leads to from a leaf (RFC 9162 section 2.1.3.2)."""
    need(index < size, f"{what}: index {index} is not in a tree of {size}")
    at, last, root = index, size - 1, leaf_hash
    for sibling in path:
        need(last > 0, f"{what}: more hashes than an index of {index} in a tree of {size} asks for")
        if at & 1 or at == last:
            root = join(sibling, root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = join(root, sibling)
        at, last = at >> 1, last >> 1
    need(last == 0, f"{what}: fewer hashes than an index of {index} in a tree of {size} asks for")
    return root


def consistent(old_size, old_root, new_size, new_root, path):
    """Whether the tree of new_size begins with the tree of old_size (RFC 9162 section 2.1.4.2)."""
    if old_size == new_size:
        return not path and old_root == new_root
    if not path or old_size > new_size:
        return False
    if old_size & (old_size - 1) == 0:
        path = [old_root, *path]
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old, new = path[0], path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = join(sibling, old), join(sibling, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = join(new, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


# ---- State root: a subtree is None, a leaf (hash, key), or a branch [hash or None if not yet known, left, right]

def account_key(account):
    return H(b"raftbank/account/1\n" + account.encode())


def account_value(balance):
    return balance.to_bytes(16, "big", signed=True)


def bit_of(key, depth):
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def state_put(tree, new, depth=0):
    """The subtree at this depth with a new leaf, or another value in an old one."""
    if tree is None or (isinstance(tree, tuple) and tree[1] == new[1]):
        return new
    if isinstance(tree, tuple):  # two leaves where one was: a branch
        branch = [None, None, None]
        branch[1 + bit_of(tree[1], depth)] = tree
        tree = branch
    side = 1 + bit_of(new[1], depth)
    tree[0], tree[side] = None, state_put(tree[side], new, depth + 1)
    return tree


def state_root(tree):
    if tree is None:
        return ZEROS
    if tree[0] is None:  # only what was touched since the last time
        tree[0] = join(state_root(tree[1]), state_root(tree[2]))
    return tree[0]


def state_leaf(key, value):
    return leaf(key + H(value)), key


# ---- Request and entry; JSON lines

VERBS = {"open": 1, "transfer": 2, "credit": 3, "debit": 4, "put": 5}
OUTCOMES = ["committed", "insufficient_funds", "unknown_account", "account_exists", "same_account", "balance_overflow"]


class Entry(NamedTuple):
    verb: str
    id: str
    arguments: tuple  # open: account; transfer, credit, debit: from, to, amount; put: key, value
    outcome: str
    encoded: bytes  # the entry's canonical bytes
    json: dict  # spelled anew from what it means

    def says(self):
        words = {"open": "of {}", "put": "of key {}"}.get(self.verb, "from {} to {} {}")
        arguments = [show(a.decode("utf-8", "replace")) if isinstance(a, bytes) else a for a in self.arguments]
        return f'"{self.verb}" {self.id} {words.format(*arguments)}, {self.outcome}'


def parse_json(text):
    def no_number(text):
        raise Invalid(f"{show(text)} is no number of this format")

    def integer(text):
        return decimal(text, 0, U64, "the number")

    try:
        return json.loads(text, parse_int=integer, parse_float=no_number, parse_constant=no_number)
    except (ValueError, RecursionError):
        raise Invalid(f"not JSON: {show(text)}") from None


def spell_json(value):
    # sort_keys: here all keys are ASCII, so by code point is by byte. Escapes only what has to be.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def member(container, key, kind):
    need(isinstance(container, dict), "an object is missing")
    value = container.get(key)
    need(type(value) is kind, f'"{key}" is missing or of the wrong kind')  # type(): a bool is an int as well
    return value


def text8(text):
    return bytes([len(text)]) + text.encode()


def entry_of(source):
    """An entry from its JSON object. Compare the spelling afterwards: members that are none of ours are not seen here."""
    def string(key):
        return member(source, key, str)

    def account(key):
        return name(ACCOUNT, string(key), "account name")

    verb, id_, outcome = string("verb"), name(ACCOUNT, string("id"), "request id"), string("outcome")
    need(verb in VERBS and outcome in OUTCOMES, f"no verb {show(verb)} or no outcome {show(outcome)}")
    json_ = {"id": id_, "outcome": outcome, "verb": verb}
    if verb == "put":
        key, value = unb64(string("key_base64"), "the key"), unb64(string("value_base64"), "the value")
        need(1 <= len(key) <= 256 and len(value) <= 65_536, "a key or value is too long, or a key empty")
        arguments, body = (key, value), struct.pack(">H", len(key)) + key + struct.pack(">I", len(value)) + value
        json_ |= {"key_base64": b64(key), "value_base64": b64(value)}
        try:
            json_["key"] = key.decode("utf-8")
        except ValueError:
            pass
    elif verb == "open":
        arguments, body = (account("account"),), text8(account("account"))
        json_["account"] = arguments[0]
    else:
        amount = decimal(string("amount"), 1, I63, "the amount")
        json_["amount"], memo = str(amount), b""
        if verb == "transfer":
            arguments = account("from"), account("to"), amount
            try:
                memo = string("memo").encode("utf-8")  # fails on half of a surrogate pair
            except ValueError:
                raise Invalid("a memo is not UTF-8") from None
            need(len(memo) <= 256, "a memo is too long")
            memo = struct.pack(">H", len(memo)) + memo
            json_ |= {"from": arguments[0], "to": arguments[1], "memo": string("memo")}
            body = text8(arguments[0]) + text8(arguments[1])
        else:
            json_["account"] = name_ = account("account")
            arguments = ("world", name_, amount) if verb == "credit" else (name_, "world", amount)
            body = text8(name_)
        body += struct.pack(">Q", amount) + memo
    request = bytes([VERBS[verb]]) + text8(id_) + body
    encoded = struct.pack(">I", len(request)) + request + bytes([OUTCOMES.index(outcome)])
    return Entry(verb, id_, arguments, outcome, encoded, json_)


# ---- Header

class Header(NamedTuple):
    version: int
    cluster: bytes
    height: int
    previous: bytes
    term: int
    proposer: str
    time: int
    count: int
    transactions: bytes
    state: bytes
    difficulty: int
    nonce: int

    def encode(self):
        start = struct.pack(">I32sQ32sQ", *self[:5])
        return start + text8(self.proposer) + struct.pack(">QI32s32sBQ", *self[6:])

    def hash(self):
        return H(b"raftbank/block/1\n" + self.encode())


def header_of(version, cluster, height, previous, term, proposer, *rest):
    """A header whose fields are possible each by itself."""
    header = Header(version, cluster, height, previous, term, name(NODE, proposer, "node name"), *rest)
    need(header.version == 1, f"version {header.version} of the header is unknown")
    need(1 <= header.count <= MAX_REQUESTS, f"{header.count} requests in a block")
    return header


def header_decode(data):
    length = data[84] if len(data) > 84 else 0
    need(len(data) == 84 + 1 + length + 85, f"{len(data)} bytes are no header")
    start, end = struct.unpack(">I32sQ32sQ", data[:84]), struct.unpack(">QI32s32sBQ", data[85 + length:])
    return header_of(*start, data[85:85 + length].decode("latin-1"), *end)


def block_of(line):
    """Header and entries of a line of an export; the line is what they are spelled as."""
    try:
        source = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise Invalid("not UTF-8") from None
    entries = [entry_of(request) for request in member(source, "requests", list)]

    def hash_(key):
        text = member(source, key, str)
        need(re.fullmatch("[0-9a-f]{64}", text), f'"{key}" is no hash')
        return bytes.fromhex(text)

    def number(key, high=U64):
        need(member(source, key, int) <= high, f'"{key}" is too large')
        return source[key]

    header = header_of(number("version", U32), hash_("cluster_id"), number("height"), hash_("previous"), number("term"),
                       member(source, "proposer", str), number("time_ms"), len(entries), hash_("transaction_root"),
                       hash_("state_root"), number("difficulty", 255), number("nonce"))
    need(hash_("hash") == header.hash(), '"hash" is not the hash of the block')
    spelled = {"cluster_id": header.cluster.hex(), "difficulty": header.difficulty, "hash": header.hash().hex(),
               "height": header.height, "nonce": header.nonce, "previous": header.previous.hex(), "schema": 1,
               "proposer": header.proposer, "requests": [entry.json for entry in entries], "version": header.version,
               "state_root": header.state.hex(), "term": header.term, "time_ms": header.time,
               "transaction_root": header.transactions.hex()}
    same_spelling(spell_json(spelled) + "\n", line, "the line")
    return header, entries


# ---- What a request does

class Bank:
    def __init__(self):
        self.balances, self.tree = {}, None

    def execute(self, entry):
        """Executes the request and returns its outcome; adds the accounts whose balance it set to `touched`."""
        if entry.verb == "put":
            key, value = entry.arguments
            self.tree = state_put(self.tree, state_leaf(H(b"raftbank/value/1\n" + key), value))
            return "committed", ()
        if entry.verb == "open":
            account, = entry.arguments
            if account in self.balances or account == "world":
                return "account_exists", ()
            self.balances[account] = 0
            return "committed", (account,)
        source, target, amount = entry.arguments
        if source == target:
            return "same_account", ()
        if any(account not in self.balances and account != "world" for account in (source, target)):
            return "unknown_account", ()
        if source != "world" and self.balances[source] < amount:
            return "insufficient_funds", ()
        if self.balances.get(target, 0) + amount > I63:
            return "balance_overflow", ()
        self.balances[source] = self.balances.get(source, 0) - amount
        self.balances[target] = self.balances.get(target, 0) + amount
        return "committed", (source, target)

    def root_after(self, entries):
        """The state root after these, each of which must have its outcome."""
        touched = set()
        for index, entry in enumerate(entries):
            outcome, accounts = self.execute(entry)
            need(outcome == entry.outcome, f"request {index} ({entry.id}) is said to be {entry.outcome}, but is {outcome}")
            touched.update(accounts)
        for account in touched:
            self.tree = state_put(self.tree, state_leaf(account_key(account), account_value(self.balances[account])))
        return state_root(self.tree)


# ---- Block 0

def check_genesis(header, entries):
    """Whether it is as a genesis file makes it. Returns the members."""
    need((header.cluster, header.previous) == (ZEROS, ZEROS) and (header.term, header.nonce) == (0, 0)
         and header.proposer == "genesis", "cluster id, previous, term, nonce or proposer is not that of block 0")
    verbs = [entry.verb for entry in entries]
    order = sorted(verbs, key=["put", "open", "credit", "transfer", "debit"].index)
    need(verbs == order and verbs.count("put") == 1 and "debit" not in verbs, "the requests are not those of a block 0")
    for index, entry in enumerate(entries):
        need(entry.id == f"genesis:{index}" and entry.outcome == "committed", f"request {index} is not as in a block 0")
        need(entry.json.get("memo", "") == "", "a transfer of block 0 has a memo")
    opened = [entry.arguments[0] for entry in entries if entry.verb == "open"]
    credited = [entry.arguments[1] for entry in entries if entry.verb == "credit"]
    need(credited == [account for account in opened if account in set(credited)],
         "the credits are not one an account in the order of the accounts")
    key, rest = entries[0].arguments
    need(key == b"raftbank/genesis", "the parameters have another key")

    def take(size):
        nonlocal rest
        need(len(rest) >= size, "the parameters are too short")
        taken, rest = rest[:size], rest[size:]
        return taken

    for what in ("name", "salt"):
        text = take(take(1)[0])
        need(1 <= len(text) <= 128, f"the {what} of the bank has not 1 to 128 bytes")
        need(text.decode("utf-8", "ignore").encode() == text, f"the {what} of the bank is not UTF-8")
    members = [name(NODE, take(take(1)[0]).decode("latin-1"), "node name") for _ in range(take(1)[0])]
    need(1 <= len(members) <= 7 and len(set(members)) == len(members), "not 1 to 7 different members")
    difficulty, time = struct.unpack(">BQ", take(9))
    need(rest == b"" and difficulty <= 24, "the parameters are too long, or the difficulty is above 24")
    need((header.difficulty, header.time) == (difficulty, time), "difficulty or time is not that of the parameters")
    return members


# ---- Keys file, checkpoints

class Key(NamedTuple):
    name: str
    id: bytes
    kind: int
    public: bytes


class Keys(NamedTuple):
    origin: str
    keys: list

    def nodes(self):
        return [key.name[len(self.origin) + 1:] for key in self.keys if key.kind == 1]


class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes
    signers: list
    witnesses: list
    spelled: str

    def says(self):
        seen = f", witnessed by {', '.join(self.witnesses)}" if self.witnesses else ""
        return f"head of size {self.size} signed by {', '.join(self.signers)}{seen}"


def check_keys(data):
    origin, keys = None, []
    for line in text_of(data, "the keys file")[:-1].split("\n"):
        if line == "" or line.startswith("#"):
            continue
        need(line.count("+") >= 2, f"the line {show(line)} of the keys file is no verifier key")
        key_name, id_, public = line.split("+", 2)
        public = unb64(public, "a key of the keys file", 33)
        key = Key(key_name, H(key_name.encode() + b"\n" + public[:1] + public[1:])[:4], public[0], public[1:])
        need(id_ == key.id.hex(), f"{show(key_name)} has the key ID {key.id.hex()}, not {show(id_)}")
        need(key.kind in (1, 4), f"the key of {show(key_name)} is of type {key.kind}, neither node nor witness")
        need(point_decode(key.public), f"the key of {show(key_name)} is not a point, or a weak one")
        need(key_name and not any(c.isspace() or c < " " for c in key_name), f"{show(key_name)} is no key name")
        for other in keys:
            need(key.name != other.name and key.public != other.public, f"a name or key twice: {show(key_name)}")
        if key.kind == 1:
            parts = re.fullmatch(r"(raftbank/[0-9a-f]{64})/([a-zA-Z0-9._-]{1,32})", key_name)
            need(parts, f"{show(key_name)} is not the key name of a node")
            need(origin in (None, parts[1]), "the nodes of the keys file are not of one bank")
            origin = parts[1]
        keys.append(key)
    need(origin is not None, "the keys file has no key of a node")
    return Keys(origin, keys)


def check_checkpoint(text, signatures, keys):
    """The checkpoint with these lines of text and of signatures; it counts."""
    need(len(text) == 3, f"the text of a checkpoint has 3 lines, not {len(text)}")
    need(text[0] == keys.origin, f"the checkpoint is of {show(text[0])}, the keys are of {keys.origin}")
    size, root = decimal(text[1], 1, U64, "the tree size"), unb64(text[2], "the root", 32)
    body = f"{text[0]}\n{size}\n{b64(root)}\n"
    spelled, signers, witnesses, by_name = body + "\n", [], [], {key.name: key for key in keys.keys}
    for line in signatures:
        words = line.split(" ")
        need(len(words) == 3 and words[0] == "\u2014", f"{show(line)} is no signature line")
        need(words[1] in by_name, f"signed by {show(words[1])}, whose key is not in the keys file or signed already")
        key, data = by_name.pop(words[1]), unb64(words[2], "a signature")
        need(data[:4] == key.id, f"the signature of {show(key.name)} has another key ID")
        message, signature, who = body.encode(), data[4:], key.name
        if key.kind == 4:
            need(len(signature) == 8 + 64, "a cosignature has not 76 bytes")
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            need(time <= I63, "the time of a cosignature is above 2^63 - 1")
            message = f"cosignature/v1\ntime {time}\n".encode() + message
        need(ed25519_verify(key.public, message, signature), f"the signature of {show(key.name)} does not hold")
        (witnesses.append(show(who)) if key.kind == 4 else signers.append(who[len(keys.origin) + 1:]))
        spelled += f"\u2014 {key.name} {b64(data)}\n"
    nodes, missing = len(keys.nodes()), [key.name for key in by_name.values() if key.kind == 4]
    need(len(signers) >= nodes // 2 + 1, f"signed by {len(signers)} of {nodes} nodes: no majority")
    need(not missing, f"the cosignature of {show(missing[0] if missing else '')} is missing")
    return Checkpoint(keys.origin, size, root, signers, witnesses, spelled)


def checkpoint_file(data, keys):
    checkpoint = check_checkpoint(*parts_of(data, 2, "the checkpoint"), keys)
    same_spelling(checkpoint.spelled, data, "the checkpoint")
    return checkpoint


def hash_lines(lines):
    return [unb64(line, "a hash of a proof", 32) for line in lines]


def spell_hashes(hashes):
    return "".join(b64(hash_) + "\n" for hash_ in hashes)


# ---- Receipts, balance proofs, consistency proofs

def check_block_proof(header, proof, text, signatures, keys):
    """Whether the header is of a block in the log; the tlog-proof spelled anew, and its checkpoint."""
    need(proof.pop(0) == "c2sp.org/tlog-proof@v1", "the second part is no tlog-proof")
    index, path = decimal(field(proof, "index"), 0, U64, "the index"), hash_lines(proof)
    need(index == header.height, f"the proof is for block {index}, the header is that of block {header.height}")
    bank = header.hash() if header.height == 0 else header.cluster
    need(f"raftbank/{bank.hex()}" == keys.origin, "the block is of another bank than the keys")
    checkpoint = check_checkpoint(text, signatures, keys)
    root = inclusion(leaf(header.hash()), index, checkpoint.size, path, "the proof of the block")
    need(root == checkpoint.root, "the proof of the block does not lead to the root of the checkpoint")
    return f"\nc2sp.org/tlog-proof@v1\nindex {index}\n{spell_hashes(path)}\n{checkpoint.spelled}", checkpoint


def request_of(text):
    entry = entry_of(parse_json(text))
    need(spell_json(entry.json) == text, "the request is not spelled as what it means is spelled")
    return entry


def check_receipt(data, keys, request=None):
    lines, *proof = parts_of(data, 4, "the receipt")
    need(lines.pop(0) == "raftbank receipt v1", "the first line is not that of a receipt")
    given = None if request is None else request_of(text_of(request, "the request")[:-1])
    if lines and lines[0].startswith("request-leaf "):
        entry, leaf_hash = given, unb64(field(lines, "request-leaf"), "the leaf", 32)
        spelled = f"request-leaf {b64(leaf_hash)}\n"
    else:
        entry = request_of(field(lines, "request"))
        leaf_hash, spelled = leaf(entry.encoded), f"request {spell_json(entry.json)}\n"
    need(given is None or leaf(given.encoded) == leaf_hash, "the receipt is for another request than the one given")
    if entry is not None:
        is_short = len(f"request {spell_json(entry.json)}".encode()) <= 900
        need(is_short == spelled.startswith("request "), "a request stands in its receipt up to 900 bytes, and not above")
    index = decimal(field(lines, "index"), 0, U32, "the index")
    header = header_decode(unb64(field(lines, "block"), "the header"))
    path = hash_lines(lines)
    root = inclusion(leaf_hash, index, header.count, path, "the proof of the request")
    need(root == header.transactions, "the proof of the request does not lead to the transaction root of the block")
    rest, checkpoint = check_block_proof(header, *proof, keys)
    spelled = f"raftbank receipt v1\n{spelled}index {index}\nblock {b64(header.encode())}\n{spell_hashes(path)}{rest}"
    same_spelling(spelled, data, "the receipt")
    if entry is None:
        raise Usage("this receipt holds only a hash of its request: give the request with --request")
    return (f"ok: block {header.height} of {checkpoint.origin} holds {entry.says()}, as request {index}; "
            + checkpoint.says())


def check_balance(data, keys):
    lines, *proof = parts_of(data, 4, "the balance proof")
    need(lines.pop(0) == "raftbank balance v1", "the first line is not that of a balance proof")
    account = name(ACCOUNT, field(lines, "account"), "account name")
    key, other = unb64(field(lines, "key"), "the key", 32), None
    need(key == account_key(account), "the key is not that of the account")
    balance = field(lines, "balance")
    header = header_decode(unb64(field(lines, "block"), "the header"))
    spelled = (f"raftbank balance v1\naccount {account}\nkey {b64(key)}\nbalance {balance}\n"
               f"block {b64(header.encode())}\n")
    if balance != "none":
        number = decimal(balance, -2**127 if account == "world" else 0, I63, "the balance")
        root, said = state_leaf(key, account_value(number))[0], f"{account} had {number}"
    else:
        root, said = ZEROS, f"there was no account {account}"
        if lines and lines[0].startswith("other "):
            other = unb64(field(lines, "other"), "the other leaf", 64)
            root, spelled = leaf(other), spelled + f"other {b64(other)}\n"
    path = hash_lines(lines)
    need(len(path) <= 256, f"{len(path)} hashes, more than 256")
    if other is not None:
        shares = all(bit_of(other, depth) == bit_of(key, depth) for depth in range(len(path)))
        need(other[:32] != key and shares, "the other leaf is the account's, or does not stand in its place")
    for depth, sibling in zip(range(len(path) - 1, -1, -1), path):
        root = join(sibling, root) if bit_of(key, depth) else join(root, sibling)
    need(root == header.state, "the proof does not lead to the state root of the block")
    rest, checkpoint = check_block_proof(header, *proof, keys)
    same_spelling(spelled + spell_hashes(path) + rest, data, "the balance proof")
    return f"ok: after block {header.height} of {checkpoint.origin} {said}; {checkpoint.says()}"


def check_consistency(old_data, data, keys):
    old = checkpoint_file(old_data, keys)
    lines, *newer = parts_of(data, 3, "the consistency proof")
    size, path, new = decimal(field(lines, "old"), 1, U64, "the old size"), hash_lines(lines), check_checkpoint(*newer, keys)
    same_spelling(f"old {size}\n{spell_hashes(path)}\n{new.spelled}", data, "the consistency proof")
    need(size == old.size, f"the proof is for an old size of {size}, the older checkpoint has {old.size}")
    need(consistent(old.size, old.root, new.size, new.root, path), "the newer log does not begin with the older one")
    return f"ok: the log of {new.origin} at size {new.size} begins with all of the {old.says()}; newer {new.says()}"


# ---- To check a chain

def check_export(stream, cluster=None, keys=None, checkpoint=None):
    """Executes all of the chain again; with a checkpoint, the chain has to contain its head."""
    bank, log, ids, last, members, refused = Bank(), Tree(), set(), None, None, 0
    if keys:
        origin_cluster = keys.origin.removeprefix("raftbank/")
        need(cluster in (None, origin_cluster), "the keys are of another bank than the cluster id given")
        cluster = origin_cluster
    while line := stream.readline(MAX_LINE + 1):
        try:
            need(line.endswith(b"\n"), f"the line does not end, or has more than {MAX_LINE} bytes")
            header, entries = block_of(line)
            check_block(last, header, entries, bank, ids)
            if last is None:
                members, id_ = check_genesis(header, entries), header.hash()
                need(cluster in (None, id_.hex()), f"the cluster id is {id_.hex()}, not {cluster}")
                need(not keys or sorted(keys.nodes()) == sorted(members), "the keys are not those of all members")
            else:
                need(header.cluster == id_, "the cluster id is not the hash of block 0")
        except Invalid as error:
            raise Invalid(f"line {log.size + 1}: {error}") from None
        log.append(leaf(header.hash()))
        need(not checkpoint or checkpoint.size != log.size or checkpoint.root == log.root(),
             f"the first {log.size} blocks are not those of the checkpoint")
        refused += sum(entry.outcome != "committed" for entry in entries)
        last = header
    need(last, "the export is empty")
    need(not checkpoint or checkpoint.size <= log.size, "the export ends before the head of the checkpoint")
    need(sum(bank.balances.values()) == 0, "the sum of all balances is not 0")
    compared = "compared with the one given" if cluster else "NOT compared with one given from outside"
    rows = [("cluster id", f"{id_.hex()} ({compared})"), ("blocks", log.size),
            ("requests", f"{len(ids)} ({len(ids) - refused} committed, {refused} refused)"), ("height", last.height),
            ("accounts", f"{len(bank.balances)}, the sum of their balances is 0"), ("head", last.hash().hex()),
            ("log root", log.root().hex()), ("checkpoint", f"contains the {checkpoint.says()}" if checkpoint else "none given")]
    return "\n".join(["ok: each block follows from the one before"] + [f"{what:<12}{value}" for what, value in rows])


def check_block(last, header, entries, bank, ids):
    """Whether a block may follow the last one; executes it."""
    size = len(header.encode()) + sum(4 + len(entry.encoded) for entry in entries)
    need(size <= MAX_BLOCK, f"the block has {size} bytes")
    need(header.height == (last.height + 1 if last else 0), f"height {header.height} is not next")
    if last:
        need(header.previous == last.hash(), '"previous" is not the hash of the block before')
        need(header.term >= last.term and header.time >= last.time, "term or time is below that of the block before")
        need(header.difficulty == last.difficulty, "the difficulty is not that of block 0")
        need(int.from_bytes(header.hash(), "big") >> 256 - header.difficulty == 0, "the hash lacks the proof-of-work")
    tree = Tree()
    for entry in entries:
        tree.append(leaf(entry.encoded))
        need(entry.id not in ids, f"the id {entry.id} is in the chain twice")
        ids.add(entry.id)
    need(tree.root() == header.transactions, "the transaction root is not that of the requests")
    need(bank.root_after(entries) == header.state, "the state root is not that of the state after the block")


# ---- Commands

def read(path):
    with (sys.stdin.buffer if path == "-" else open(path, "rb")) as file:
        return file.read(MAX_FILE + 1)


def run(args):
    keys = check_keys(read(args.keys)) if args.keys else None
    if args.command == "export":
        checkpoint = checkpoint_file(read(args.checkpoint), keys) if args.checkpoint else None
        with (sys.stdin.buffer if args.file == "-" else open(args.file, "rb")) as stream:
            return check_export(stream, args.cluster, keys, checkpoint)
    if args.command == "receipt":
        return check_receipt(read(args.file), keys, read(args.request) if args.request else None)
    if args.command == "balance":
        return check_balance(read(args.file), keys)
    if args.command == "consistency":
        return check_consistency(read(args.old), read(args.proof), keys)
    checkpoint = checkpoint_file(read(args.file), keys)
    return f"ok: {checkpoint.origin} has a {checkpoint.says()}; log root {checkpoint.root.hex()}"


def arguments():
    parser = argparse.ArgumentParser(description="Checks what a raftbank gives away.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("export", "receipt", "balance", "checkpoint", "consistency"):
        sub = commands.add_parser(command, allow_abbrev=False)
        for file in ("old", "proof") if command == "consistency" else ("file",):
            sub.add_argument(file, metavar=file.upper())
        sub.add_argument("--keys", metavar="FILE", required=command != "export")
        if command == "receipt":
            sub.add_argument("--request", metavar="FILE")
        if command == "export":
            sub.add_argument("--checkpoint", metavar="FILE")
            sub.add_argument("--cluster", metavar="HEX")
    args = parser.parse_args()
    if args.command == "export":
        if args.checkpoint and not args.keys:
            parser.error("--checkpoint needs --keys")
        if args.cluster is not None and not re.fullmatch("[0-9a-f]{64}", args.cluster):
            parser.error("--cluster takes 64 lower-case hexadecimal digits")
    return args


def main():
    args = arguments()
    try:
        print(run(args), flush=True)
        return 0
    except (Usage, OSError) as error:
        print(f"verify.py: {error}", file=sys.stderr)
        return 2
    except Invalid as error:
        print(f"verify.py: not valid: {error}", file=sys.stderr)
    except Exception as error:  # no file should lead here; if one does, it is not accepted
        print(f"verify.py: not valid: it cannot be checked ({type(error).__name__})", file=sys.stderr)
    return 6


if __name__ == "__main__":
    sys.exit(main())
