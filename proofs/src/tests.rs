//! Keys and notes against known answers from outside, and the bounds that docs/format.md promises.

use raftbank_ledger::{Account, Amount, Entry, Hash, Header, NodeName, Operation, Outcome, Request, RequestId, merkle};

use crate::{
    Checkpoint, Head, KeyKind, Keys, LogProof, Receipt, ReceiptRequest, SignerKey, VerifierKey, node_key_name,
};

/// The example of Go's `golang.org/x/mod/sumdb/note`.
const GO_SIGNER: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n";
const GO_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_SIGNATURE: &str =
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";

#[test]
fn keys_and_signatures_are_those_of_signed_notes_elsewhere() {
    let signer = SignerKey::parse(GO_SIGNER).expect("a key");
    assert_eq!(signer.secret(), GO_SIGNER);
    assert_eq!(signer.verifier().to_string(), GO_VERIFIER);
    assert_eq!(VerifierKey::parse(GO_VERIFIER).expect("a key"), signer.verifier());
    let signature = signer.sign(GO_TEXT, 0);
    assert_eq!(crate::text::base64(&[&signer.verifier().id()[..], &signature].concat()), GO_SIGNATURE);
    assert!(signer.verifier().verify(GO_TEXT, &signature));
    assert!(!signer.verifier().verify(&GO_TEXT.replace("don't", "do"), &signature));
}

#[test]
fn an_altered_private_key_is_none() {
    for bit in 0..GO_SIGNER.len() * 8 {
        let mut bytes = GO_SIGNER.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(bytes) {
            assert!(SignerKey::parse(&text).is_err(), "bit {bit}");
        }
    }
    assert!(!format!("{:?}", SignerKey::parse(GO_SIGNER)).contains("AYEKFALV"));
}

#[test]
fn a_cosignature_covers_the_time() {
    let witness = SignerKey::new("witness.example/w1", KeyKind::Witness, &[7; 32]).expect("a key");
    let mut signature = witness.sign("text\n", 1_700_000_000);
    assert_eq!(signature.len(), 72);
    assert!(witness.verifier().verify("text\n", &signature));
    signature[7] ^= 1;
    assert!(!witness.verifier().verify("text\n", &signature));
    assert!(!witness.verifier().verify("text\n", &[]));
}

#[test]
fn a_key_of_small_order_is_none() {
    // The neutral element: any signature would hold.
    let mut weak = [0; 32];
    weak[0] = 1;
    assert!(VerifierKey::new("n", KeyKind::Node, &weak).is_err());
}

fn signers(names: &[&str], cluster: &Hash) -> Vec<SignerKey> {
    let signer = |(name, seed): (&&str, u8)| {
        let name = node_key_name(cluster, &NodeName::parse(name).expect("a name"));
        SignerKey::new(&name, KeyKind::Node, &[seed; 32]).expect("a key")
    };
    names.iter().zip(1..).map(signer).collect()
}

#[test]
fn a_keys_file_is_of_one_bank_and_has_each_key_once() {
    let (bank, other) = (Hash([1; 32]), Hash([2; 32]));
    let keys = |signers: &[SignerKey]| Keys::new(signers.iter().map(SignerKey::verifier).collect());
    let good = keys(&signers(&["n1", "n2", "n3"], &bank)).expect("keys");
    assert_eq!((good.majority(), good.cluster_id()), (2, bank));
    assert_eq!(Keys::parse(&good.to_string()).expect("what was printed"), good);
    assert!(Keys::parse(good.to_string().trim_end()).is_err(), "the last line has no end");
    assert!(Keys::parse("# nothing\n").is_err());
    assert!(keys(&[signers(&["n1", "n2"], &bank), signers(&["n3"], &other)].concat()).is_err());
    assert!(keys(&[signers(&["n1"], &bank), signers(&["n2"], &bank)].concat()).is_err(), "one key under two names");
    let witness = SignerKey::new("w", KeyKind::Witness, &[9; 32]).expect("a key");
    assert!(keys(&[witness]).is_err(), "nobody but a witness");
    for size in 1..=7 {
        let names: Vec<String> = (0..size).map(|number| format!("n{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(keys(&signers(&names, &bank)).expect("keys").majority(), size / 2 + 1);
    }
}

fn transfer(memo: &str) -> Entry {
    let account = |byte: &str| Account::parse(&byte.repeat(64)).expect("a name");
    let operation = Operation::Transfer {
        from: account("a"),
        to: account("b"),
        amount: Amount::new((1 << 63) - 1).expect("an amount"),
        memo: memo.to_owned(),
    };
    let id = RequestId::parse(&"i".repeat(64)).expect("an id");
    Entry { request: Request::new(id, operation).expect("a request"), outcome: Outcome::Committed }
}

#[test]
fn no_receipt_is_longer_than_promised() {
    let cluster = Hash([0xfe; 32]);
    let names: Vec<String> = ["t", "u", "v", "w", "x", "y", "z"].iter().map(|letter| letter.repeat(32)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let signers = signers(&names, &cluster);
    let hashes = |count: u8| (0..count).map(|number| Hash([number; 32])).collect::<Vec<_>>();
    let header = Header {
        version: 1,
        cluster_id: cluster,
        height: u64::from(u32::MAX),
        previous: cluster,
        term: u64::MAX,
        proposer: NodeName::parse(names[0]).expect("a name"),
        time_ms: u64::MAX,
        request_count: 16_384,
        transaction_root: cluster,
        state_root: cluster,
        difficulty: 24,
        nonce: u64::MAX,
    };
    for memo in ["", &"m".repeat(256), &"\"".repeat(256), &"\u{1}".repeat(256), &"\u{20ac}".repeat(85)] {
        let mut checkpoint = Checkpoint::new(Head { cluster_id: cluster, size: 1 << 32, root: cluster });
        signers.iter().take(4).for_each(|signer| checkpoint.sign(signer, 0));
        let log = LogProof { height: header.height, hashes: hashes(32), checkpoint };
        let entry = transfer(memo);
        let receipt = Receipt::new(entry.clone(), 16_383, header.clone(), hashes(14), log);
        let text = receipt.to_string();
        println!("{} bytes", text.len());
        assert!(text.len() <= crate::RECEIPT_BYTES_MAX, "{} bytes with the memo {memo:?}", text.len());
        assert_eq!(Receipt::parse(&text).expect("what was printed"), receipt);
        match &receipt.request {
            ReceiptRequest::Whole(whole) => assert_eq!(*whole, entry),
            ReceiptRequest::Leaf(leaf) => assert_eq!(*leaf, merkle::leaf_hash(&entry.encode())),
        }
    }
}
