#!/usr/bin/env python3
"""Checks what a raftbank gives away: exports of its chain, receipts, balance proofs, checkpoints, consistency proofs.

Written from docs/format.md alone and sharing no code with raftbank, so that one finds the mistakes of the other. Needs
Python 3.11 and nothing else. The sections here have the names they have there.

Exit codes: 0 what was checked holds, and is said; 6 it does not, and why; 2 wrong usage or a file that cannot be read.
"""
import argparse
import base64
import io
import json
import re
import struct
import sys
from bisect import insort
from collections import namedtuple
from contextlib import suppress
from hashlib import sha256, sha512

I63, U32, U64 = 2**63 - 1, 2**32 - 1, 2**64 - 1
MAX_TIMEOUT = 366 * 24 * 60 * 60 * 1000  # milliseconds that a pending transfer may hold its money
MAX_EXPIRED = 4_096  # pending transfers that expire at the start of a block
MAX_FILE = 1 << 20  # bytes of any file but an export
MAX_LINE = 36 << 20  # bytes of a line of an export: a block of 4 MiB can take 34 as JSON
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

def parts_of(data, what, count=1):
    """The lines of each part of a file; an empty line stands between two parts. Lines end at a line feed only."""
    need(len(data) <= MAX_FILE, f"{what} has more than {MAX_FILE} bytes")
    try:
        text = data.decode("utf-8")
    except ValueError:
        raise Invalid(f"{what} is not UTF-8") from None
    need(text.endswith("\n"), f"the last line of {what} does not end with a line feed")
    parts = text[:-1].split("\n\n") if count > 1 else [text[:-1]]
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
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    x = x if x * x % P == xx else x * pow(2, (P - 1) // 4, P) % P
    if y >= P or x * x % P != xx or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    point = eightfold = (x, y, 1, x * y % P)
    for _ in range(3):
        eightfold = point_add(eightfold, eightfold)
    return point if eightfold[0] else None  # of the multiples of 8, the identity alone has x = 0

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
    if len(signature) != 64:
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

def split(size):
    """The size of the left part: the largest power of two below."""
    return 1 << (size - 1).bit_length() - 1

def inclusion(leaf_hash, index, size, path):
    """The root that the path leads to from this leaf: RFC 6962 section 2.1.1, read backwards."""
    need(index < size and (size > 1 or not path), "a proof has too many hashes, or an index outside its tree")
    if size == 1:
        return leaf_hash
    need(path, "a proof has too few hashes")
    left = split(size)
    if index < left:
        return join(inclusion(leaf_hash, index, left, path[:-1]), path[-1])
    return join(path[-1], inclusion(leaf_hash, index - left, size - left, path[:-1]))

def consistency(old, new, path, old_root):
    """The roots of both sizes that the path leads to: RFC 6962 section 2.1.2, read backwards. old_root is None if the
    complete old tree is not one of the subtrees in question: then its root is in the path."""
    if old == new:
        need(len(path) == (old_root is None), "a proof has too many or too few hashes")
        return (old_root or path[0],) * 2
    need(path and old < new, "a proof has too few hashes, or the newer tree is the smaller one")
    left, last = split(new), path[-1]
    if old <= left:
        old_part, new_part = consistency(old, left, path[:-1], old_root)
        return old_part, join(new_part, last)
    old_part, new_part = consistency(old - left, new - left, path[:-1], None)
    return join(last, old_part), join(last, new_part)

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

VERBS = {"open": 1, "transfer": 2, "credit": 3, "debit": 4, "put": 5, "linked": 6, "pending": 7, "post": 8, "void": 9}
OUTCOMES = ["committed", "insufficient_funds", "unknown_account", "account_exists", "same_account", "balance_overflow",
            "unknown_pending", "already_posted", "already_voided", "pending_expired", "exceeds_pending"]

class Entry(namedtuple("Entry", "verb id arguments outcome encoded json")):
    """arguments: of open account; of transfer, credit, debit from, to, amount; of put key, value; of linked the number of
    transfers and these; of pending from, to, amount, timeout; of post id, amount; of void id. encoded: the entry's
    canonical bytes. json: its object, made anew from what it means."""

    def says(self):
        words = {"open": "of {}", "put": "of key {}", "linked": "of {} transfers", "post": "of {}", "void": "of {}"}
        words = words.get(self.verb, "from {} to {} {}")
        arguments = [show(a.decode("utf-8", "replace")) if isinstance(a, bytes) else a for a in self.arguments]
        return f'"{self.verb}" {self.id} {words.format(*arguments)}, {self.outcome}'

def parse_json(text):
    def no_number(text):
        raise Invalid(f"{show(text)} is no number of this format")

    try:  # What this takes too much - a key twice, spaces, other escapes - shows when the spelling is compared.
        return json.loads(text, parse_int=lambda text: decimal(text, 0, U64, "the number"), parse_float=no_number,
                          parse_constant=no_number)
    except (ValueError, RecursionError):
        raise Invalid(f"not JSON: {show(text)}") from None

def spell_json(value):
    # sort_keys: by code point, which for our keys is by byte. Without ensure_ascii, it escapes only what has to be.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

def member(container, key, kind=str):
    need(isinstance(container, dict), "an object is missing")
    value = container.get(key)
    need(type(value) is kind, f'"{key}" is missing or of the wrong kind')  # type(): a bool is an int as well
    return value

def sized(code, data):
    """Bytes or text behind its length."""
    data = data if isinstance(data, bytes) else data.encode()
    return struct.pack(">" + code, len(data)) + data

def transfer_of(source):
    """From, to and amount of a transfer; its canonical bytes before and behind what may stand between amount and memo;
    and its members, made anew."""
    accounts = [name(ACCOUNT, member(source, key), "account name") for key in ("from", "to")]
    amount, memo = decimal(member(source, "amount"), 1, I63, "the amount"), member(source, "memo")
    need(not re.search("[\ud800-\udfff]", memo), "a memo has half of a surrogate pair")
    need(len(memo.encode()) <= 256, "a memo is too long")
    front = b"".join(sized("B", account) for account in accounts) + struct.pack(">Q", amount)
    spelled = {"from": accounts[0], "to": accounts[1], "amount": str(amount), "memo": memo}
    return (*accounts, amount), front, sized("H", memo), spelled

def entry_of(source):
    """An entry from its JSON object. Members that are none of ours are not seen here: the spelling shows them."""
    verb, outcome, id_ = member(source, "verb"), member(source, "outcome"), member(source, "id")
    need(verb in VERBS and outcome in OUTCOMES, f"no verb {show(verb)} or no outcome {show(outcome)}")
    json_ = {"id": name(ACCOUNT, id_, "request id"), "outcome": outcome, "verb": verb}
    if verb == "put":
        key, value = (unb64(member(source, key), key) for key in ("key_base64", "value_base64"))
        need(1 <= len(key) <= 256 and len(value) <= 65_536, "a key or value is too long, or a key empty")
        arguments, body = (key, value), sized("H", key) + sized("I", value)
        json_ |= {"key_base64": b64(key), "value_base64": b64(value)}
        with suppress(ValueError):
            json_["key"] = key.decode("utf-8")
    elif verb in ("transfer", "pending"):
        arguments, front, behind, spelled = transfer_of(source)
        json_, body = json_ | spelled, front + behind
        if verb == "pending":
            json_["timeout_ms"] = timeout = member(source, "timeout_ms", int)
            need(1 <= timeout <= MAX_TIMEOUT, f"a timeout of {timeout} ms is not in 1 to {MAX_TIMEOUT}")
            arguments, body = (*arguments, timeout), front + struct.pack(">Q", timeout) + behind
    elif verb == "linked":
        legs = [transfer_of(leg) for leg in member(source, "transfers", list)]
        need(2 <= len(legs) <= 128, f"{len(legs)} linked transfers, not 2 to 128")
        arguments, json_["transfers"] = (len(legs), [leg[0] for leg in legs]), [leg[3] for leg in legs]
        body = struct.pack(">H", len(legs)) + b"".join(front + behind for _, front, behind, _ in legs)
    elif verb in ("post", "void"):
        json_["pending"] = pending = name(ACCOUNT, member(source, "pending"), "request id")
        arguments, body = (pending,), sized("B", pending)
        if verb == "post":
            amount = decimal(member(source, "amount"), 0, I63, "the amount")  # 0: all of it
            arguments, body, json_["amount"] = (pending, amount), body + struct.pack(">Q", amount), str(amount)
    else:
        account = json_["account"] = name(ACCOUNT, member(source, "account"), "account name")
        arguments, body = (account,), sized("B", account)
        if verb != "open":
            amount = decimal(member(source, "amount"), 1, I63, "the amount")
            arguments = (*(("world", account) if verb == "credit" else (account, "world")), amount)
            json_, body = json_ | {"amount": str(amount)}, body + struct.pack(">Q", amount)
    request = bytes([VERBS[verb]]) + sized("B", id_) + body
    return Entry(verb, id_, arguments, outcome, sized("I", request) + bytes([OUTCOMES.index(outcome)]), json_)

# ---- Header, block

FIELDS = {"version": "I", "cluster_id": "32s", "height": "Q", "previous": "32s", "term": "Q", "proposer": "text8",
          "time_ms": "Q", "request_count": "I", "transaction_root": "32s", "state_root": "32s", "difficulty": "B",
          "nonce": "Q"}

class Header(namedtuple("Header", FIELDS)):
    def encode(self):
        return b"".join(sized("B", value) if code == "text8" else struct.pack(">" + code, value)
                        for value, code in zip(self, FIELDS.values()))

    def hash(self):
        return H(b"raftbank/block/1\n" + self.encode())

    def check(self):
        """Returns itself if each field is possible by itself."""
        need(self.version == 1, f"version {self.version} of the header is unknown")
        need(1 <= self.request_count <= MAX_REQUESTS, f"{self.request_count} requests in a block")
        name(NODE, self.proposer, "node name")
        return self

def header_decode(data):
    need(len(data) > 84 and len(data) == 84 + 1 + data[84] + 85, f"{len(data)} bytes are no header")
    start, end = struct.unpack(">I32sQ32sQ", data[:84]), struct.unpack(">QI32s32sBQ", data[-85:])
    return Header(*start, data[85:-85].decode("latin-1"), *end).check()

def block_of(line):
    """Header and entries of a line of an export; the line is what they are spelled as."""
    try:
        source = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise Invalid("not UTF-8") from None
    entries = [entry_of(request) for request in member(source, "requests", list)]

    def value(key, code):
        if key == "request_count":
            return len(entries)
        if code == "32s":
            need(re.fullmatch("[0-9a-f]{64}", member(source, key)), f'"{key}" is no hash')
            return bytes.fromhex(source[key])
        need(code == "text8" or member(source, key, int) < 256 ** struct.calcsize(code), f'"{key}" is too large')
        return source[key] if code != "text8" else member(source, key)

    header = Header(*(value(key, code) for key, code in FIELDS.items())).check()
    need(value("hash", "32s") == header.hash(), '"hash" is not the hash of the block')
    spelled = {key: value.hex() if isinstance(value, bytes) else value for key, value in header._asdict().items()}
    del spelled["request_count"]
    spelled |= {"hash": header.hash().hex(), "requests": [entry.json for entry in entries], "schema": 1}
    same_spelling(spell_json(spelled) + "\n", line, "the line")
    return header, entries

# ---- What a request does

class Held:
    """A pending transfer."""
    CODES = {"pending": 0, "posted": 1, "voided": 2, "expired": 3}
    TOO_LATE = {"posted": "already_posted", "voided": "already_voided", "expired": "pending_expired"}

    def __init__(self, source, target, amount, expires):
        self.source, self.target, self.amount, self.expires = source, target, amount, expires
        self.status, self.posted = "pending", 0

    def value(self):
        return (struct.pack(">BQ", self.CODES[self.status], self.expires) + sized("B", self.source)
                + sized("B", self.target) + struct.pack(">QQ", self.amount, self.posted))

class Bank:
    def __init__(self):
        self.balances, self.tree = {}, None
        # By id; (end, id) of those whose money is held, in order; and how much that is, by account.
        self.pendings, self.due, self.held = {}, [], {}

    def available(self, account):
        return self.balances[account] - self.held.get(account, 0)

    def refusal(self, source, target, amount):
        """Why a transfer cannot be made, if it cannot."""
        if source == target:
            return "same_account"
        if any(account not in self.balances and account != "world" for account in (source, target)):
            return "unknown_account"
        if source != "world" and self.available(source) < amount:
            return "insufficient_funds"
        return "balance_overflow" if self.balances.get(target, 0) + amount > I63 else None

    def move(self, source, target, amount):
        self.balances[source] = self.balances.get(source, 0) - amount
        self.balances[target] = self.balances.get(target, 0) + amount
        return "committed", (source, target), ()

    def end(self, id_, status):
        """The pending transfer holds its money no more."""
        held = self.pendings[id_]
        self.due.remove((held.expires, id_))
        self.held[held.source] -= held.amount
        held.status = status

    def expire(self, time):
        """What a block's time alone does. Returns the ids of the transfers that it ended."""
        ended = [id_ for end, id_ in self.due[:MAX_EXPIRED] if end <= time]
        for id_ in ended:
            self.end(id_, "expired")
        return ended

    def linked(self, legs):
        before, touched = dict(self.balances), []
        for leg in legs:
            refusal = self.refusal(*leg)
            if refusal:
                self.balances = before
                return refusal, (), ()
            touched += self.move(*leg)[1]
        return "committed", touched, ()

    def settle(self, entry, time):
        """A post or a void."""
        id_, *amount = entry.arguments
        held = self.pendings.get(id_)
        if held is None:
            return "unknown_pending", (), ()
        if held.status != "pending" or held.expires <= time:
            return Held.TOO_LATE.get(held.status, "pending_expired"), (), ()
        if entry.verb == "void":
            self.end(id_, "voided")
            return "committed", (), (id_,)
        amount = amount[0] or held.amount
        if amount > held.amount:
            return "exceeds_pending", (), ()
        if self.balances.get(held.target, 0) + amount > I63:
            return "balance_overflow", (), ()
        self.end(id_, "posted")
        held.posted = amount
        return *self.move(held.source, held.target, amount)[:2], (id_,)

    def execute(self, entry, time):
        """Executes the request in a block of this time. Returns its outcome, the accounts whose balance it set, and the
        ids of the pending transfers that it made or ended."""
        if entry.verb == "put":
            key, value = entry.arguments
            self.tree = state_put(self.tree, state_leaf(H(b"raftbank/value/1\n" + key), value))
            return "committed", (), ()
        if entry.verb == "open":
            account, = entry.arguments
            if account in self.balances or account == "world":
                return "account_exists", (), ()
            self.balances[account] = 0
            return "committed", (account,), ()
        if entry.verb == "linked":
            return self.linked(entry.arguments[1])
        if entry.verb in ("post", "void"):
            return self.settle(entry, time)
        refusal = self.refusal(*entry.arguments[:3])
        if refusal:
            return refusal, (), ()
        if entry.verb == "pending":
            *transfer, timeout = entry.arguments
            self.pendings[entry.id] = held = Held(*transfer, min(time + timeout, U64))
            insort(self.due, (held.expires, entry.id))
            self.held[held.source] = self.held.get(held.source, 0) + held.amount
            return "committed", (), (entry.id,)
        return self.move(*entry.arguments)

    def root_after(self, entries, time):
        """The state root after a block of this time with these, each of which must have its outcome."""
        touched, changed = set(), set(self.expire(time))
        for index, entry in enumerate(entries):
            outcome, accounts, pendings = self.execute(entry, time)
            need(outcome == entry.outcome, f"request {index} ({entry.id}) is {outcome}, not {entry.outcome} as it says")
            touched.update(accounts)
            changed.update(pendings)
        for account in touched:
            self.tree = state_put(self.tree, state_leaf(account_key(account), account_value(self.balances[account])))
        for id_ in changed:
            leaf_ = state_leaf(H(b"raftbank/pending/1\n" + id_.encode()), self.pendings[id_].value())
            self.tree = state_put(self.tree, leaf_)
        return state_root(self.tree)

# ---- Block 0

def check_genesis(header, entries):
    """Whether it is as a genesis file makes it. Returns the members."""
    need((header.cluster_id, header.previous) == (ZEROS, ZEROS) and (header.term, header.nonce) == (0, 0)
         and header.proposer == "genesis", "cluster id, previous, term, nonce or proposer is not that of block 0")
    verbs = [entry.verb for entry in entries]
    known = ["put", "open", "credit", "transfer"]
    need(set(verbs) <= set(known) and verbs == sorted(verbs, key=known.index) and verbs.count("put") == 1,
         "the requests are not those of a block 0")
    for index, entry in enumerate(entries):
        need(entry.id == f"genesis:{index}" and entry.outcome == "committed", f"request {index} is not as in a block 0")
        need(entry.json.get("memo", "") == "", "a transfer of block 0 has a memo")
    opened = [entry.arguments[0] for entry in entries if entry.verb == "open"]
    credited = [entry.arguments[1] for entry in entries if entry.verb == "credit"]
    need(credited == [account for account in opened if account in set(credited)],
         "the credits are not one an account in the order of the accounts")
    key, value = entries[0].arguments
    need(key == b"raftbank/genesis", "the parameters have another key")
    stream = io.BytesIO(value)

    def take(size=None):
        size = take(1)[0] if size is None else size  # of a text8
        taken = stream.read(size)
        need(len(taken) == size, "the parameters are too short")
        return taken

    for text in (take(), take()):
        need(1 <= len(text) <= 128, "the name or salt of the bank has not 1 to 128 bytes")
        need(text.decode("utf-8", "ignore").encode() == text, "the name or salt of the bank is not UTF-8")
    members = [name(NODE, take().decode("latin-1"), "node name") for _ in range(take(1)[0])]
    need(1 <= len(members) <= 7 and len(set(members)) == len(members), "not 1 to 7 different members")
    difficulty, time = struct.unpack(">BQ", take(9))
    need(not stream.read() and difficulty <= 24, "the parameters are too long, or the difficulty is above 24")
    need((header.difficulty, header.time_ms) == (difficulty, time), "difficulty or time is not that of the parameters")
    return members

# ---- Keys file, checkpoints

Key = namedtuple("Key", "name id kind public")  # kind 1 is a node, 4 a witness

class Keys(namedtuple("Keys", "origin keys")):
    def nodes(self):
        return [key.name[len(self.origin) + 1:] for key in self.keys if key.kind == 1]

class Checkpoint(namedtuple("Checkpoint", "origin size root signers witnesses spelled")):
    def says(self):
        seen = f", witnessed by {', '.join(self.witnesses)}" if self.witnesses else ""
        return f"head of size {self.size} signed by {', '.join(self.signers)}{seen}"

def check_keys(data):
    origin, keys = None, []
    for line in parts_of(data, "the keys file")[0]:
        if line == "" or line.startswith("#"):
            continue
        need(line.count("+") >= 2, f"the line {show(line)} of the keys file is no verifier key")
        key_name, id_, public = line.split("+", 2)
        public = unb64(public, "a key of the keys file", 33)
        key = Key(key_name, H(key_name.encode() + b"\n" + public)[:4], public[0], public[1:])  # the type is in front
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
        message, signature = body.encode(), data[4:]
        if key.kind == 4:
            need(len(signature) == 8 + 64, "a cosignature has not 76 bytes")
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            need(time <= I63, "the time of a cosignature is above 2^63 - 1")
            message = f"cosignature/v1\ntime {time}\n".encode() + message
        need(ed25519_verify(key.public, message, signature), f"the signature of {show(key.name)} does not hold")
        (witnesses if key.kind == 4 else signers).append(show(key.name)[1:-1].removeprefix(keys.origin + "/"))
        spelled += f"\u2014 {key.name} {b64(data)}\n"
    nodes, missing = len(keys.nodes()), [key.name for key in by_name.values() if key.kind == 4]
    need(len(signers) >= nodes // 2 + 1, f"signed by {len(signers)} of {nodes} nodes: no majority")
    need(not missing, f"the cosignature of {show(missing[0] if missing else '')} is missing")
    return Checkpoint(keys.origin, size, root, signers, witnesses, spelled)

def checkpoint_file(data, keys):
    checkpoint = check_checkpoint(*parts_of(data, "the checkpoint", 2), keys)
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
    bank = header.hash() if header.height == 0 else header.cluster_id
    need(f"raftbank/{bank.hex()}" == keys.origin, "the block is of another bank than the keys")
    checkpoint = check_checkpoint(text, signatures, keys)
    root = inclusion(leaf(header.hash()), index, checkpoint.size, path)
    need(root == checkpoint.root, "the proof of the block does not lead to the root of the checkpoint")
    return f"\nc2sp.org/tlog-proof@v1\nindex {index}\n{spell_hashes(path)}\n{checkpoint.spelled}", checkpoint

def request_of(text):
    entry = entry_of(parse_json(text))
    need(spell_json(entry.json) == text, "the request is not spelled as what it means is spelled")
    return entry

def check_receipt(data, keys, request=None):
    lines, *proof = parts_of(data, "the receipt", 4)
    need(lines.pop(0) == "raftbank receipt v1", "the first line is not that of a receipt")
    given = None if request is None else request_of("\n".join(parts_of(request, "the request")[0]))
    if lines and lines[0].startswith("request-leaf "):
        entry, leaf_hash = given, unb64(field(lines, "request-leaf"), "the leaf", 32)
        spelled = f"request-leaf {b64(leaf_hash)}\n"
    else:
        entry = request_of(field(lines, "request"))
        leaf_hash, spelled = leaf(entry.encoded), f"request {spell_json(entry.json)}\n"
    need(given is None or leaf(given.encoded) == leaf_hash, "the receipt is for another request than the one given")
    if entry is not None:
        is_short = len(f"request {spell_json(entry.json)}".encode()) <= 700
        need(is_short == spelled.startswith("request "), "a request stands in its receipt up to 700 bytes, not above")
    index = decimal(field(lines, "index"), 0, U32, "the index")
    header = header_decode(unb64(field(lines, "block"), "the header"))
    path = hash_lines(lines)
    root = inclusion(leaf_hash, index, header.request_count, path)
    need(root == header.transaction_root, "the proof of the request does not lead to the transaction root of the block")
    rest, checkpoint = check_block_proof(header, *proof, keys)
    spelled = f"raftbank receipt v1\n{spelled}index {index}\nblock {b64(header.encode())}\n{spell_hashes(path)}{rest}"
    same_spelling(spelled, data, "the receipt")
    if entry is None:
        raise Usage("this receipt holds only a hash of its request: give the request with --request")
    return (f"ok: block {header.height} of {checkpoint.origin} holds {entry.says()}, as request {index}; "
            + checkpoint.says())

def check_balance(data, keys):
    lines, *proof = parts_of(data, "the balance proof", 4)
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
    need(root == header.state_root, "the proof does not lead to the state root of the block")
    rest, checkpoint = check_block_proof(header, *proof, keys)
    same_spelling(spelled + spell_hashes(path) + rest, data, "the balance proof")
    return f"ok: after block {header.height} of {checkpoint.origin} {said}; {checkpoint.says()}"

def check_consistency(old_data, data, keys):
    old = checkpoint_file(old_data, keys)
    lines, *newer = parts_of(data, "the consistency proof", 3)
    size, path = decimal(field(lines, "old"), 1, U64, "the old size"), hash_lines(lines)
    new = check_checkpoint(*newer, keys)
    same_spelling(f"old {size}\n{spell_hashes(path)}\n{new.spelled}", data, "the consistency proof")
    need(size == old.size, f"the proof is for an old size of {size}, the older checkpoint has {old.size}")
    roots = consistency(old.size, new.size, path, old.root)
    need(roots == (old.root, new.root), "the newer log does not begin with the older one")
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
                need(header.cluster_id == id_, "the cluster id is not the hash of block 0")
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
    need(all(bank.available(account) >= 0 for account in bank.held if account != "world"),
         "an account holds more than it has")
    compared = "compared with the one given" if cluster else "NOT compared with one given from outside"
    contains = f"contains the {checkpoint.says()}" if checkpoint else "NOT compared with one: a cut end would not show"
    return f"""ok: each block follows from the one before
cluster id  {id_.hex()} ({compared})
blocks      {log.size}
requests    {len(ids)} ({len(ids) - refused} committed, {refused} refused)
accounts    {len(bank.balances)}, the sum of their balances is 0
height      {last.height}
head        {last.hash().hex()}
log root    {log.root().hex()}
checkpoint  {contains}"""

def check_block(last, header, entries, bank, ids):
    """Whether a block may follow the last one; executes it."""
    size = len(header.encode()) + sum(4 + len(entry.encoded) for entry in entries)
    need(size <= MAX_BLOCK, f"the block has {size} bytes")
    need(header.height == (last.height + 1 if last else 0), f"height {header.height} is not next")
    if last:
        need(header.previous == last.hash(), '"previous" is not the hash of the block before')
        need(header.term >= last.term and header.time_ms >= last.time_ms, "term or time is below the last block's")
        need(header.difficulty == last.difficulty, "the difficulty is not that of block 0")
        need(int.from_bytes(header.hash(), "big") >> 256 - header.difficulty == 0, "the hash lacks the proof-of-work")
    tree = Tree()
    for entry in entries:
        tree.append(leaf(entry.encoded))
        need(entry.id not in ids, f"the id {entry.id} is in the chain twice")
        ids.add(entry.id)
    need(tree.root() == header.transaction_root, "the transaction root is not that of the requests")
    need(bank.root_after(entries, header.time_ms) == header.state_root, "the state root is not that of the state after the block")

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
    if args.command == "checkpoint":
        checkpoint = checkpoint_file(read(args.file), keys)
        return f"ok: {checkpoint.origin} has a {checkpoint.says()}; log root {checkpoint.root.hex()}"
    if args.command == "receipt":
        return check_receipt(read(args.file), keys, read(args.request) if args.request else None)
    if args.command == "balance":
        return check_balance(read(args.file), keys)
    return check_consistency(read(args.old), read(args.proof), keys)

def arguments():
    def cluster(text):
        return text if re.fullmatch("[0-9a-f]{64}", text) else parser.error("--cluster takes 64 lower-case digits")

    parser = argparse.ArgumentParser(description="Checks what a raftbank gives away; - is stdin.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("export", "receipt", "balance", "checkpoint", "consistency"):
        sub = commands.add_parser(command, allow_abbrev=False)
        for file in ("old", "proof") if command == "consistency" else ("file",):
            sub.add_argument(file, metavar=file.upper())
        sub.add_argument("--keys", metavar="FILE", required=command != "export")
        if command == "receipt":
            sub.add_argument("--request", metavar="FILE", help="the request as JSON, if the receipt does not hold it")
        if command == "export":
            sub.add_argument("--checkpoint", metavar="FILE", help="a head that the chain has to contain")
            sub.add_argument("--cluster", metavar="HEX", type=cluster, help="the cluster id that the chain has to have")
    args = parser.parse_args()
    if args.command == "export" and args.checkpoint and not args.keys:
        parser.error("--checkpoint needs --keys")
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
