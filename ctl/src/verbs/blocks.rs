//! Verbs about the chain: block, blocks, export.

use raftbank_ledger::Block;
use raftbank_proofs::block_json;

use super::Context;
use crate::describe;
use crate::failure::Failure;
use crate::output::{line, table};
use crate::stream::{self, Blocks};

/// `block`.
///
/// # Errors
/// No such block, or no answer.
pub async fn block(context: &mut Context, height: u64) -> Result<(), Failure> {
    let block = stream::block(&mut context.node, height).await?;
    context.out.result(&block_json(&block), || block_text(&block));
    Ok(())
}

fn block_text(block: &Block) -> String {
    let header = &block.header;
    let mut lines = vec![
        format!("height      {}", header.height),
        format!("hash        {}", block.hash()),
        format!("previous    {}", header.previous),
        format!("term        {}, proposed by {}", header.term, header.proposer),
        format!("time        {}", describe::time(header.time_ms)),
        format!("work        difficulty {} bits, nonce {}", header.difficulty, header.nonce),
        format!("requests in {}", header.transaction_root),
        format!("state after {}", header.state_root),
        String::new(),
    ];
    let rows: Vec<Vec<String>> = block
        .entries
        .iter()
        .map(|entry| {
            vec![
                entry.request.id.to_string(),
                entry.request.verb().to_owned(),
                entry.outcome.code().to_owned(),
                describe::about(&entry.request.operation),
            ]
        })
        .collect();
    lines.push(table(&["ID", "VERB", "OUTCOME", "WHAT"], &rows, &[false; 4]));
    lines.join("\n")
}

/// `blocks` and `export`: one line a block.
///
/// # Errors
/// No answer, or a block that is none.
pub async fn blocks(context: &mut Context, from: u64, to: Option<u64>, export: bool) -> Result<(), Failure> {
    if to.is_some_and(|to| to < from) {
        return Err(Failure::usage("bad_range", format!("--to {} is before --from {from}", to.unwrap_or(0))));
    }
    let as_json = export || context.out.is_json();
    let mut blocks = Blocks::open(&mut context.node, from, to).await?;
    if !as_json {
        line(&format!("{:>8}  {:<16}  {:>6}  {:<8}  {:>8}", "HEIGHT", "HASH", "TERM", "PROPOSER", "REQUESTS"));
    }
    while let Some(block) = blocks.next().await? {
        if as_json {
            line(&block_json(&block).to_string());
            continue;
        }
        let header = &block.header;
        let hash: String = block.hash().to_string().chars().take(16).collect();
        let (height, term, proposer) = (header.height, header.term, header.proposer.as_str());
        line(&format!("{height:>8}  {hash:<16}  {term:>6}  {proposer:<8}  {:>8}", header.request_count));
    }
    Ok(())
}
