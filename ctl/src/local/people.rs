//! Users and groups by name, from `/etc/passwd` and `/etc/group`. Those of a directory service have numbers only.

use std::path::Path;

use super::files;

/// Who runs this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's name, or number.
    pub name: String,
    /// It is root.
    pub root: bool,
}

impl Caller {
    /// The user of this process.
    pub fn now() -> Self {
        let uid = rustix::process::geteuid();
        Self { name: user(uid.as_raw()), root: uid.is_root() }
    }
}

/// A user's name, or its number as text.
pub fn user(uid: u32) -> String {
    name_of(Path::new("/etc/passwd"), uid).unwrap_or_else(|| uid.to_string())
}

/// A group's name, or its number as text.
pub fn group(gid: u32) -> String {
    name_of(Path::new("/etc/group"), gid).unwrap_or_else(|| gid.to_string())
}

/// `/etc/group` names this user as a member of the group: it takes effect with the next login.
pub fn is_listed(group: &str, user: &str) -> bool {
    let Ok(text) = files::text(Path::new("/etc/group")) else { return false };
    listed(&text, group, user)
}

fn listed(text: &str, group: &str, user: &str) -> bool {
    let members = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(2)).flatten()
    });
    members.is_some_and(|members| members.split(',').any(|member| member.trim() == user))
}

fn name_of(path: &Path, number: u32) -> Option<String> {
    let text = files::text(path).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::{listed, user};

    #[test]
    fn names_are_found() {
        assert_eq!(user(0), "root");
        assert_eq!(user(3_999_999_999), "3999999999");
        let text = "adm:x:4:syslog\nraftbank:x:990:alice,bob\n";
        assert!(listed(text, "raftbank", "bob"));
        assert!(!listed(text, "raftbank", "bo"));
        assert!(!listed(text, "adm", "bob"));
    }
}
