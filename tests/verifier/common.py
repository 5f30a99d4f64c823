"""What the tests of docs/verify.py share: the verifier itself, the example bank, and files with one bit turned over."""
import functools
import importlib.util
import io
import pathlib
import unittest

import bank as made

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
