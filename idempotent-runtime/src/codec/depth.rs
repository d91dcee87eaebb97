//! Measures how deeply bytes are nested, without recursion: a reader recurses, and could overflow
//! its stack.

use super::writer::MAX_DEPTH;

/// Whether `MessagePack` bytes are nested at most [`MAX_DEPTH`] levels. Bytes that are not
/// `MessagePack`, or end early, are left to the reader.
pub(super) fn is_bounded(bytes: &[u8]) -> bool {
    // A level takes at least one byte.
    bytes.len() <= MAX_DEPTH || is_within_depth(bytes)
}

fn is_within_depth(bytes: &[u8]) -> bool {
    // The number of values still to come on each level.
    let mut left = [0_u64; MAX_DEPTH + 1];
    let (mut depth, mut rest) = (0, bytes);
    left[0] = 1;
    loop {
        while left[depth] == 0 {
            if depth == 0 {
                return true;
            }
            depth -= 1;
        }
        left[depth] -= 1;
        let Some((inside, behind)) = step(rest) else {
            return true;
        };
        rest = behind;
        if inside > 0 {
            depth += 1;
            if depth > MAX_DEPTH {
                return false;
            }
            left[depth] = inside;
        }
    }
}

/// Skips the marker and the own bytes of one value. Returns how many values are inside, and the
/// bytes after it.
fn step(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&marker, rest) = bytes.split_first()?;
    let number = |size: usize| {
        let (digits, rest) = rest.split_at_checked(size)?;
        let number = digits
            .iter()
            .fold(0_u64, |n, &byte| n << 8 | u64::from(byte));
        Some((number, rest))
    };
    let skip = |rest: &'_ [u8], count: u64| -> Option<usize> {
        let count = usize::try_from(count).ok()?;
        (count <= rest.len()).then_some(count)
    };
    // A value with its length in `size` bytes before it, and `more` bytes.
    let sized = |size: usize, more: u64| {
        let (len, rest) = number(size)?;
        Some((0, &rest[skip(rest, len + more)?..]))
    };
    let fixed = |count: usize| Some((0, rest.get(count..)?));
    match marker {
        0x80..=0x8f => Some((2 * u64::from(marker & 0x0f), rest)),
        0x90..=0x9f => Some((u64::from(marker & 0x0f), rest)),
        0xa0..=0xbf => fixed(usize::from(marker & 0x1f)),
        0xc4 | 0xd9 => sized(1, 0),
        0xc5 | 0xda => sized(2, 0),
        0xc6 | 0xdb => sized(4, 0),
        0xc7 => sized(1, 1),
        0xc8 => sized(2, 1),
        0xc9 => sized(4, 1),
        0xcc | 0xd0 => fixed(1),
        0xcd | 0xd1 | 0xd4 => fixed(2),
        0xd5 => fixed(3),
        0xca | 0xce | 0xd2 => fixed(4),
        0xd6 => fixed(5),
        0xcb | 0xcf | 0xd3 => fixed(8),
        0xd7 => fixed(9),
        0xd8 => fixed(17),
        0xdc => number(2),
        0xdd => number(4),
        0xde => number(2).map(|(len, rest)| (2 * len, rest)),
        0xdf => number(4).map(|(len, rest)| (2 * len, rest)),
        0x00..=0x7f | 0xc0..=0xc3 | 0xe0..=0xff => Some((0, rest)),
    }
}
