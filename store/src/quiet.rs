//! Panics of sled on damaged files, turned into values.
//!
//! sled panics on many kinds of damage. The caller catches that and answers with a sentence, so the usual backtrace on
//! stderr would only frighten. The hook is installed once, stays silent for the thread that asked for it while it
//! asks, and passes everything else on to the hook before it.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

static INSTALL: Once = Once::new();

/// Runs `work` and turns a panic into its message, without a word on stderr.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    INSTALL.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !SILENT.with(Cell::get) {
                before(info);
            }
        }));
    });
    let outer = SILENT.with(|silent| silent.replace(true));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    SILENT.with(|silent| silent.set(outer));
    result.map_err(|payload| message(payload.as_ref()))
}

/// The first line of a panic's message, bounded.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_first_line_and_the_thread_is_loud_again() {
        assert_eq!(catch(|| 3), Ok(3));
        let number = 7;
        assert_eq!(catch(|| -> u8 { panic!("bad {number}\nsecond line") }), Err("bad 7".to_owned()));
        assert!(!SILENT.with(Cell::get));
    }
}
