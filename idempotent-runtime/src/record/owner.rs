//! The owner of an attempt, by name.

use std::{
    fmt, fs, process,
    sync::{Arc, OnceLock},
};

/// The name of the process that runs an attempt. It is for people who look at a record that is
/// running or in doubt.
///
/// By default it is `host:pid`; see [`SharedStore::with_owner`](crate::SharedStore::with_owner).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Owner(Arc<str>);

impl Owner {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// The owner called `name`, which is cut after the last whole character within
    /// [`MAX`](Self::MAX) bytes. `None` if it is empty.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let name = cut(name, Self::MAX);
        (!name.is_empty()).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This process: `host:pid`. It is computed once, so after a fork a process may have its
    /// parent's name.
    pub(crate) fn here() -> Option<Self> {
        static HERE: OnceLock<Option<Owner>> = OnceLock::new();
        HERE.get_or_init(|| Self::of(&host(), process::id()))
            .clone()
    }

    /// If the name is too long, the host is cut, and not the process' number.
    fn of(host: &str, pid: u32) -> Option<Self> {
        let pid = format!(":{pid}");
        let host = cut(host, Self::MAX - pid.len());
        Self::new(&format!("{host}{pid}"))
    }
}

/// The beginning of `text`, of at most `bytes` bytes, in whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The host's name, from a file of the system, or else from the environment.
fn host() -> String {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let names = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let variables = ["HOSTNAME", "COMPUTERNAME", "HOST"];
    names
        .chain(variables.iter().filter_map(|name| std::env::var(name).ok()))
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown-host".to_owned())
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let name = |text: &str| Owner::new(text).map(|owner| owner.as_str().to_owned());
        assert_eq!(name(""), None);
        assert_eq!(name("a"), Some("a".into()));
        assert_eq!(name(&"a".repeat(65)), Some("a".repeat(64)));
        assert_eq!(name(&"ä".repeat(40)), Some("ä".repeat(32)));
        assert_eq!(
            name(&format!("a{}", "ä".repeat(40))),
            Some(format!("a{}", "ä".repeat(31)))
        );
    }

    #[test]
    fn this_process_is_its_host_and_number() {
        let here = Owner::here().expect("a name");
        let (host, pid) = here.as_str().rsplit_once(':').expect("host:pid");
        assert!(!host.is_empty());
        assert_eq!(pid, process::id().to_string());
        let long = Owner::of(&"h".repeat(253), u32::MAX).expect("a name");
        assert_eq!(long.as_str().len(), Owner::MAX);
        assert!(long.as_str().ends_with(":4294967295"));
    }
}
