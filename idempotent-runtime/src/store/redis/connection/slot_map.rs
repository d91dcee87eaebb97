//! Which node has which key of a cluster.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Instant,
};

use redis::{Arg, Cmd, Value};

use super::transport::Address;
use crate::store::redis::scripts::text;

const SLOTS: usize = 16_384;
/// Marks a slot that no node serves.
const NOBODY: u16 = u16::MAX;

/// The cluster as one of its nodes saw it.
#[derive(Clone)]
pub(crate) struct Slots {
    primaries: Vec<Arc<Address>>,
    /// Each slot's owner, as an index into the primaries.
    owners: Vec<u16>,
    pub(crate) read: Instant,
}

impl Slots {
    /// Parses the answer to `CLUSTER SLOTS`. A node that does not know its own name has the address
    /// it was `asked` at.
    pub(crate) fn parse(answer: Value, asked: &Address) -> Option<Self> {
        let Value::Array(ranges) = answer else {
            return None;
        };
        let mut slots = Self {
            primaries: Vec::new(),
            owners: vec![NOBODY; SLOTS],
            read: Instant::now(),
        };
        for range in ranges {
            let Value::Array(range) = range else {
                return None;
            };
            let mut parts = range.into_iter();
            let (Value::Int(from), Value::Int(to), Value::Array(primary)) =
                (parts.next()?, parts.next()?, parts.next()?)
            else {
                return None;
            };
            let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
            let owner = slots.place_of(&address(primary, asked)?)?;
            slots.owners.get_mut(from..=to)?.fill(owner);
        }
        (!slots.primaries.is_empty()).then_some(slots)
    }

    pub(crate) fn owner(&self, slot: u16) -> Option<&Arc<Address>> {
        self.primaries
            .get(usize::from(self.owners[usize::from(slot)]))
    }

    pub(crate) fn primaries(&self) -> &[Arc<Address>] {
        &self.primaries
    }

    /// A digest that differs between maps with different owners, within this process.
    pub(crate) fn owners_digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for slot in 0..u16::try_from(SLOTS).unwrap_or(u16::MAX) {
            self.owner(slot).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The same, but for one slot that has moved.
    pub(crate) fn moved(&self, slot: u16, to: &Address) -> Option<Self> {
        let mut slots = self.clone();
        let owner = slots.place_of(to)?;
        slots.owners[usize::from(slot)] = owner;
        Some(slots)
    }

    /// A number which, as a key's tag, places it in one of this node's slots; `None` if it has no
    /// slots.
    pub(crate) fn tag(&self, address: &Address) -> Option<u32> {
        let index = self
            .primaries
            .iter()
            .position(|known| **known == *address)?;
        let is_own = |slot: u16| usize::from(self.owners[usize::from(slot)]) == index;
        if !(0..16_384).any(is_own) {
            return None;
        }
        // A node with a single slot takes some ten thousand tries.
        (0..1 << 18).find(|tag: &u32| is_own(of_key(tag.to_string().as_bytes())))
    }

    fn place_of(&mut self, address: &Address) -> Option<u16> {
        let index = self.primaries.iter().position(|known| **known == *address);
        let index = index.unwrap_or_else(|| {
            self.primaries.push(Arc::new(address.clone()));
            self.primaries.len() - 1
        });
        u16::try_from(index).ok().filter(|index| *index != NOBODY)
    }
}

/// `[host, port, id, …]`
fn address(node: Vec<Value>, asked: &Address) -> Option<Address> {
    let mut node = node.into_iter();
    let host = node.next()?;
    let Value::Int(port) = node.next()? else {
        return None;
    };
    let host = text(host).and_then(|host| String::from_utf8(host).ok());
    named(&host.unwrap_or_default(), &port.to_string(), asked)
}

/// The address in `MOVED 3999 127.0.0.1:6381` and `ASK …`, with its slot.
pub(crate) fn redirected(details: &str, asked: &Address) -> Option<(u16, Address)> {
    let (slot, address) = details.trim().split_once(' ')?;
    let (host, port) = address.trim().rsplit_once(':')?;
    let slot = slot
        .parse()
        .ok()
        .filter(|slot| usize::from(*slot) < SLOTS)?;
    Some((slot, named(host, port, asked)?))
}

fn named(host: &str, port: &str, asked: &Address) -> Option<Address> {
    let port = port.parse().ok().filter(|port| *port != 0)?;
    // Both mean unknown: the node is at the address that was asked.
    if matches!(host, "" | "?") {
        let Address::Tcp(host, _) = asked else {
            return None;
        };
        return Some(Address::Tcp(host.clone(), port));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Address::Tcp(host.to_owned(), port))
}

/// The slot of a command's key; `None` if it has no key.
pub(crate) fn of_command(command: &Cmd) -> Option<u16> {
    let mut arguments = command.args_iter();
    let Some(Arg::Simple(name)) = arguments.next() else {
        return None;
    };
    let key = match name {
        // After the script and the number of keys.
        b"EVALSHA" | b"EVAL" => arguments.nth(2),
        b"TIME" | b"INFO" | b"CLUSTER" | b"SCRIPT" | b"SCAN" => None,
        _ => arguments.next(),
    };
    match key? {
        Arg::Simple(key) => Some(of_key(key)),
        _ => None,
    }
}

/// A key's slot. It is the hash of the part between the first `{` and the next `}`, if that is not
/// empty.
pub(crate) fn of_key(key: &[u8]) -> u16 {
    let find = |of: u8, from: usize| key[from..].iter().position(|byte| *byte == of);
    let tag = find(b'{', 0).and_then(|open| {
        let length = find(b'}', open + 1).filter(|length| *length > 0)?;
        Some(&key[open + 1..open + 1 + length])
    });
    crc16(tag.unwrap_or(key)) % 16_384
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_sum_is_the_published_one() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn a_slot_is_the_one_of_the_keys_tag() {
        for (key, tag) in [
            ("{user1000}.following", "user1000"),
            ("foo{bar}{zap}", "bar"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo}bar{", "foo}bar{"),
            ("foo{bar", "foo{bar"),
        ] {
            assert_eq!(
                of_key(key.as_bytes()),
                crc16(tag.as_bytes()) % 16_384,
                "{key}"
            );
        }
        // As Redis documents them.
        assert_eq!(of_key(b"somekey"), 11_058);
    }

    #[test]
    fn commands_name_their_key_where_redis_has_it() {
        let slot = Some(of_key(b"k"));
        let mut set = redis::cmd("SET");
        set.arg("k").arg("v").arg("NX");
        assert_eq!(of_command(&set), slot);
        let mut script = redis::cmd("EVALSHA");
        script.arg("hash").arg(1).arg("k").arg("more");
        assert_eq!(of_command(&script), slot);
        assert_eq!(of_command(&redis::cmd("TIME")), None);
        assert_eq!(of_command(&redis::cmd("SET")), None);
    }

    fn slots() -> Slots {
        let range = |from, to, host: &str, port| {
            let node = Value::Array(vec![
                Value::BulkString(host.as_bytes().to_vec()),
                Value::Int(port),
                Value::BulkString(b"id".to_vec()),
            ]);
            Value::Array(vec![Value::Int(from), Value::Int(to), node.clone(), node])
        };
        let answer = Value::Array(vec![range(0, 99, "10.0.0.1", 1), range(100, 16_000, "", 2)]);
        Slots::parse(answer, &Address::Tcp("asked".to_owned(), 7)).expect("slots")
    }

    #[test]
    fn slots_have_the_owners_that_the_answer_names() {
        let slots = slots();
        let owner = |slot| slots.owner(slot).map(ToString::to_string);
        assert_eq!(owner(99).as_deref(), Some("10.0.0.1:1"));
        assert_eq!(owner(100).as_deref(), Some("asked:2"));
        assert_eq!(owner(16_001), None);
        let asked = Address::Tcp("asked".to_owned(), 7);
        let (slot, to) = redirected("99 [::1]:3", &asked).expect("a redirection");
        let moved = slots.moved(slot, &to).expect("room");
        for owner in slots.primaries() {
            let tag = slots.tag(owner).expect("it has slots").to_string();
            assert_eq!(slots.owner(of_key(tag.as_bytes())), Some(owner));
        }
        assert_eq!(slots.tag(&to), None);
        let tag = moved.tag(&to).expect("one slot is enough").to_string();
        assert_eq!(of_key(tag.as_bytes()), slot);
        let back = moved.moved(slot, slots.owner(slot).expect("owned"));
        assert_eq!(back.expect("room").tag(&to), None);
        assert_eq!(moved.owner(99).expect("owned").to_string(), "[::1]:3");
        assert_eq!(moved.owner(98), slots.owner(98));
    }

    #[test]
    fn what_is_no_map_or_no_redirection_is_none() {
        let asked = Address::Tcp("asked".to_owned(), 7);
        let odd = [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![Value::Int(-1), Value::Int(20_000)])]),
        ];
        for answer in odd {
            assert!(Slots::parse(answer, &asked).is_none());
        }
        for details in [
            "",
            "1",
            "x y:1",
            "1 host",
            "1 host:0",
            "99999 host:1",
            "1 host:99999",
        ] {
            assert!(redirected(details, &asked).is_none(), "{details}");
        }
    }
}
