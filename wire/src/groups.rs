//! The spelling of a partition: `n1,n2/n3` puts n1 and n2 into one group and n3 into another.

use thiserror::Error;

/// Longest spelling that is looked at, in bytes.
pub const GROUPS_BYTES_MAX: usize = 1_024;

/// Why a spelling is no partition of the members.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GroupsError {
    /// Longer than [`GROUPS_BYTES_MAX`].
    #[error("the groups are {0} bytes long: at most {GROUPS_BYTES_MAX} are read")]
    TooLong(usize),
    /// Two separators in a row, or one at an end.
    #[error("\"{0}\" has an empty place: write groups as in n1,n2/n3")]
    Empty(String),
    /// Not a member.
    #[error("there is no node \"{name}\": the members are {members}")]
    Unknown {
        /// What was written.
        name: String,
        /// Those there are.
        members: String,
    },
    /// Named more than once.
    #[error("node {0} is named twice: name every node exactly once")]
    Twice(String),
    /// Not named.
    #[error("{0} is missing: name every node exactly once, as in n1,n2/n3")]
    Missing(String),
}

/// Reads `text` as groups of `members`. Every member has to be named exactly once; spaces around names are ignored.
///
/// # Errors
/// Anything else, with a sentence for whoever typed it.
pub fn parse(text: &str, members: &[String]) -> Result<Vec<Vec<String>>, GroupsError> {
    if text.len() > GROUPS_BYTES_MAX {
        return Err(GroupsError::TooLong(text.len()));
    }
    let mut groups = Vec::new();
    let mut named: Vec<&str> = Vec::new();
    for group in text.split('/') {
        let mut names = Vec::new();
        for name in group.split(',').map(str::trim) {
            if name.is_empty() {
                return Err(GroupsError::Empty(text.to_owned()));
            }
            if !members.iter().any(|member| member == name) {
                return Err(GroupsError::Unknown { name: name.to_owned(), members: members.join(", ") });
            }
            if named.contains(&name) {
                return Err(GroupsError::Twice(name.to_owned()));
            }
            named.push(name);
            names.push(name.to_owned());
        }
        groups.push(names);
    }
    let missing: Vec<&str> = members.iter().map(String::as_str).filter(|member| !named.contains(member)).collect();
    if missing.is_empty() { Ok(groups) } else { Err(GroupsError::Missing(missing.join(", "))) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{GroupsError, parse};

    fn members() -> Vec<String> {
        ["n1", "n2", "n3"].map(String::from).to_vec()
    }

    #[test]
    fn every_member_once_in_any_order() {
        assert_eq!(parse("n1,n2/n3", &members()).unwrap(), [vec!["n1", "n2"], vec!["n3"]]);
        assert_eq!(parse("n3/n1/n2", &members()).unwrap(), [["n3"], ["n1"], ["n2"]]);
        assert_eq!(parse(" n1 , n3/ n2", &members()).unwrap(), [vec!["n1", "n3"], vec!["n2"]]);
        assert_eq!(parse("n2,n1,n3", &members()).unwrap(), [["n2", "n1", "n3"]]);
    }

    #[test]
    fn everything_else_is_an_error_with_a_reason() {
        let error = |text: &str| parse(text, &members()).unwrap_err();
        assert_eq!(error("n1,n2"), GroupsError::Missing("n3".into()));
        assert_eq!(error("n1"), GroupsError::Missing("n2, n3".into()));
        assert_eq!(error("n1,n2/n3,n1"), GroupsError::Twice("n1".into()));
        assert_eq!(error("n1,n1/n2/n3"), GroupsError::Twice("n1".into()));
        for text in ["n1,n2/n4", "n1;n2/n3", "0;1-2", "n1-n2/n3", "N1,n2/n3", "n1,n2\\n3"] {
            assert!(matches!(error(text), GroupsError::Unknown { .. }), "{text}");
        }
        for text in ["", "/", "n1,n2/", "n1,,n2/n3", "n1,n2//n3", ",n1,n2/n3"] {
            assert!(matches!(error(text), GroupsError::Empty(_)), "{text}");
        }
        assert_eq!(error(&"n1,".repeat(1_000)), GroupsError::TooLong(3_000));
        assert!(error("n1,n2/n4").to_string().contains("the members are n1, n2, n3"));
    }
}
