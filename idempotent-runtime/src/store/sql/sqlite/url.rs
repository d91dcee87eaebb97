//! The path in `sqlite:path` and `sqlite://path`.

use crate::{StoreError, StoreErrorKind};

/// The path, whose `%XX` are characters.
pub(super) fn path(url: &str) -> Result<String, StoreError> {
    let config = |reason: &str| StoreError::new(StoreErrorKind::Config, reason);
    let path = url.split_once(':').map_or("", |(_, path)| path);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(config(
            "the URL of an SQLite store needs a path: `sqlite:records.db` or `sqlite:///var/lib/app/records.db`",
        ));
    }
    if path.contains('?') {
        return Err(config(
            "the URL of an SQLite store takes no options after `?`: use `SqliteOptions` and `install`",
        ));
    }
    decoded(path).ok_or_else(|| {
        config("the path of an SQLite store has a `%` that is not followed by two hex digits; write `%25` for it")
    })
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        if first == b'%' {
            let hex = str::from_utf8(more.get(..2)?).ok()?;
            let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(hex, 16).ok().filter(|_| is_hex)?);
            rest = &more[2..];
        } else {
            bytes.push(first);
            rest = more;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_a_path() {
        for (url, expected) in [
            ("sqlite:a.db", "a.db"),
            ("sqlite://a.db", "a.db"),
            ("sqlite:///var/a.db", "/var/a.db"),
            ("sqlite:/var/a.db", "/var/a.db"),
            ("sqlite:a%20b%25.db", "a b%.db"),
        ] {
            assert_eq!(path(url).expect(url), expected);
        }
        for url in [
            "sqlite:",
            "sqlite://",
            "sqlite:a.db?mode=ro",
            "sqlite:a%2",
            "sqlite:a%+1",
            "sqlite:%ff",
        ] {
            assert_eq!(path(url).expect_err(url).kind(), StoreErrorKind::Config);
        }
    }
}
