//! Requests and blocks as JSON lines that contain all that is hashed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use raftbank_ledger::{
    Account, Amount, Block, Entry, Hash, Header, Leg, NodeName, Operation, Outcome, Request, RequestId,
};
use serde_json::{Map, Value, json};

use crate::error::ProofError;
use crate::text;

/// A request with its outcome.
pub fn entry_json(entry: &Entry) -> Value {
    let mut object = json!({
        "id": entry.request.id.as_str(), "verb": entry.request.verb(), "outcome": entry.outcome.code(),
    });
    let transfer = |object: &mut Value, from: &Account, to: &Account, amount: Amount, memo: &str| {
        object["from"] = json!(from.as_str());
        object["to"] = json!(to.as_str());
        object["amount"] = json!(amount.to_string());
        object["memo"] = json!(memo);
    };
    match &entry.request.operation {
        Operation::Open { account } => object["account"] = json!(account.as_str()),
        Operation::Transfer { from, to, amount, memo } => transfer(&mut object, from, to, *amount, memo),
        Operation::Credit { account, amount } | Operation::Debit { account, amount } => {
            object["account"] = json!(account.as_str());
            object["amount"] = json!(amount.to_string());
        }
        Operation::Put { key, value } => {
            object["key_base64"] = json!(STANDARD.encode(key));
            object["value_base64"] = json!(STANDARD.encode(value));
            if let Ok(key) = std::str::from_utf8(key) {
                object["key"] = json!(key);
            }
        }
        Operation::Linked { legs } => {
            let leg = |leg: &Leg| {
                let mut object = json!({});
                transfer(&mut object, &leg.from, &leg.to, leg.amount, &leg.memo);
                object
            };
            object["transfers"] = legs.iter().map(leg).collect();
        }
        Operation::Pending { from, to, amount, timeout_ms, memo } => {
            transfer(&mut object, from, to, *amount, memo);
            object["timeout_ms"] = json!(timeout_ms);
        }
        Operation::Post { pending, amount } => {
            object["pending"] = json!(pending.as_str());
            object["amount"] = json!(amount.map_or(0, Amount::get).to_string());
        }
        Operation::Void { pending } => object["pending"] = json!(pending.as_str()),
    }
    object
}

/// A block: its bytes can be made from it.
pub fn block_json(block: &Block) -> Value {
    let header = &block.header;
    json!({
        "schema": 1, "height": header.height, "hash": block.hash().to_string(),
        "previous": header.previous.to_string(), "term": header.term, "proposer": header.proposer.as_str(),
        "time_ms": header.time_ms, "nonce": header.nonce, "difficulty": header.difficulty,
        "transaction_root": header.transaction_root.to_string(), "state_root": header.state_root.to_string(),
        "version": header.version, "cluster_id": header.cluster_id.to_string(),
        "requests": block.entries.iter().map(entry_json).collect::<Vec<Value>>(),
    })
}

/// Reads one line of [`entry_json`], without its line feed.
///
/// # Errors
/// Any other spelling.
pub fn parse_entry(line: &str) -> Result<Entry, ProofError> {
    let fields = Fields::parse("the request", line)?;
    let entry = fields.entry()?;
    text::same("the request", line, &entry_json(&entry).to_string())?;
    Ok(entry)
}

/// Reads one line of [`block_json`], without its line feed. The block's hash is compared; nothing else is checked here.
///
/// # Errors
/// Any other spelling.
pub fn parse_block(line: &str) -> Result<Block, ProofError> {
    let fields = Fields::parse("the block", line)?;
    let Some(Value::Array(requests)) = fields.object.get("requests") else {
        return Err(fields.wrong("requests"));
    };
    let entries: Vec<Entry> = requests
        .iter()
        .map(|request| match request {
            Value::Object(object) => Fields { what: "the request", object: object.clone() }.entry(),
            _ => Err(fields.wrong("requests")),
        })
        .collect::<Result<_, _>>()?;
    let header = Header {
        version: u32::try_from(fields.number("version")?).map_err(|_| fields.wrong("version"))?,
        cluster_id: fields.hash("cluster_id")?,
        height: fields.number("height")?,
        previous: fields.hash("previous")?,
        term: fields.number("term")?,
        proposer: NodeName::parse(fields.text("proposer")?).map_err(|_| fields.wrong("proposer"))?,
        time_ms: fields.number("time_ms")?,
        request_count: u32::try_from(entries.len()).map_err(|_| fields.wrong("requests"))?,
        transaction_root: fields.hash("transaction_root")?,
        state_root: fields.hash("state_root")?,
        difficulty: u8::try_from(fields.number("difficulty")?).map_err(|_| fields.wrong("difficulty"))?,
        nonce: fields.number("nonce")?,
    };
    let block = Block { header, entries };
    text::same("the block", line, &block_json(&block).to_string())?;
    Ok(block)
}

/// An object that is being read.
struct Fields {
    what: &'static str,
    object: Map<String, Value>,
}

impl Fields {
    fn parse(what: &'static str, line: &str) -> Result<Self, ProofError> {
        match serde_json::from_str(line) {
            Ok(Value::Object(object)) => Ok(Self { what, object }),
            Ok(_) => Err(ProofError::malformed(what, "it is not a JSON object")),
            Err(error) => Err(ProofError::malformed(what, error)),
        }
    }

    fn wrong(&self, field: &str) -> ProofError {
        ProofError::malformed(self.what, format!("its {field:?} is missing or cannot be"))
    }

    fn text(&self, field: &str) -> Result<&str, ProofError> {
        self.object.get(field).and_then(Value::as_str).ok_or_else(|| self.wrong(field))
    }

    fn number(&self, field: &str) -> Result<u64, ProofError> {
        self.object.get(field).and_then(Value::as_u64).ok_or_else(|| self.wrong(field))
    }

    fn hash(&self, field: &str) -> Result<Hash, ProofError> {
        self.text(field)?.parse().map_err(|_| self.wrong(field))
    }

    fn account(&self, field: &str) -> Result<Account, ProofError> {
        Account::parse(self.text(field)?).map_err(|_| self.wrong(field))
    }

    fn amount(&self) -> Result<Amount, ProofError> {
        Amount::parse(self.text("amount")?).map_err(|_| self.wrong("amount"))
    }

    /// 0 stands for all.
    fn amount_or_all(&self) -> Result<Option<Amount>, ProofError> {
        if self.text("amount")? == "0" { Ok(None) } else { self.amount().map(Some) }
    }

    fn id(&self, field: &str) -> Result<RequestId, ProofError> {
        RequestId::parse(self.text(field)?).map_err(|_| self.wrong(field))
    }

    fn leg(&self) -> Result<Leg, ProofError> {
        let (from, to, amount) = (self.account("from")?, self.account("to")?, self.amount()?);
        Ok(Leg { from, to, amount, memo: self.text("memo")?.to_owned() })
    }

    fn legs(&self) -> Result<Vec<Leg>, ProofError> {
        let Some(Value::Array(legs)) = self.object.get("transfers") else { return Err(self.wrong("transfers")) };
        let leg = |leg: &Value| match leg {
            Value::Object(object) => Self { what: self.what, object: object.clone() }.leg(),
            _ => Err(self.wrong("transfers")),
        };
        legs.iter().map(leg).collect()
    }

    fn bytes(&self, field: &str) -> Result<Vec<u8>, ProofError> {
        STANDARD.decode(self.text(field)?).map_err(|_| self.wrong(field))
    }

    fn entry(&self) -> Result<Entry, ProofError> {
        let id = self.id("id")?;
        let operation = match self.text("verb")? {
            "open" => Operation::Open { account: self.account("account")? },
            "transfer" => {
                let Leg { from, to, amount, memo } = self.leg()?;
                Operation::Transfer { from, to, amount, memo }
            }
            "credit" => Operation::Credit { account: self.account("account")?, amount: self.amount()? },
            "debit" => Operation::Debit { account: self.account("account")?, amount: self.amount()? },
            "put" => Operation::Put { key: self.bytes("key_base64")?, value: self.bytes("value_base64")? },
            "linked" => Operation::Linked { legs: self.legs()? },
            "pending" => {
                let Leg { from, to, amount, memo } = self.leg()?;
                Operation::Pending { from, to, amount, timeout_ms: self.number("timeout_ms")?, memo }
            }
            "post" => Operation::Post { pending: self.id("pending")?, amount: self.amount_or_all()? },
            "void" => Operation::Void { pending: self.id("pending")? },
            _ => return Err(self.wrong("verb")),
        };
        let code = self.text("outcome")?;
        let outcome =
            (0..=u8::MAX).map_while(|byte| Outcome::from_byte(byte).ok()).find(|outcome| outcome.code() == code);
        let request = Request::new(id, operation).map_err(|error| ProofError::malformed(self.what, error))?;
        Ok(Entry { request, outcome: outcome.ok_or_else(|| self.wrong("outcome"))? })
    }
}
