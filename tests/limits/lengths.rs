//! A result that claims to be huge is an error and does not end the process. It runs in a process
//! of its own with limited memory.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    env,
    fmt::Debug,
    process::Command,
};

use idempotent_fn::codec::{Codec, MessagePack};
use serde::{Serialize, de::DeserializeOwned};

const CHILD: &str = "LENGTHS_CHILD";
/// In KiB, as `ulimit -v` counts.
const LIMIT: usize = 1 << 20;

fn decode<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    <MessagePack as Codec<T>>::decode(bytes)
        .map(drop)
        .expect_err("there is no such value");
}

fn decode_all() {
    let mut room = Vec::<u8>::new();
    room.try_reserve(2 * LIMIT * 1024)
        .expect_err("the limit holds, or this shows nothing");
    // Lengths of 2^16 and 2^32 less one: text, bytes, arrays, maps, extensions; with a little
    // behind it, or nothing.
    for marker in 0xc4..=0xdf_u8 {
        for behind in [
            &[0xff; 4][..],
            &[0xff; 64],
            &[0xff, 0xff, 0xff, 0xff, 1, 1, 1, 1, 1, 1, 1, 1],
        ] {
            let bytes = [&[marker][..], behind].concat();
            decode::<Vec<u64>>(&bytes);
            decode::<Vec<Vec<[u64; 32]>>>(&bytes);
            decode::<VecDeque<String>>(&bytes);
            decode::<HashMap<String, u64>>(&bytes);
            decode::<BTreeMap<u64, Vec<u64>>>(&bytes);
            decode::<String>(&bytes);
            decode::<Box<[u128]>>(&bytes);
            decode::<Option<Vec<u8>>>(&bytes);
        }
    }
    // Each level claims to be huge.
    decode::<Vec<Vec<Vec<Vec<u64>>>>>(&b"\xdd\xff\xff\xff\xff".repeat(4));
    decode::<HashMap<String, Vec<u64>>>(b"\xdf\xff\xff\xff\xff\xa1a\xdd\xff\xff\xff\xff\x01");
}

#[test]
fn a_length_that_is_a_lie_costs_no_memory() {
    if env::var_os(CHILD).is_some() {
        return decode_all();
    }
    let this = env::current_exe().expect("this test");
    let child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {LIMIT} && exec \"$@\""), "sh"])
        .arg(this)
        .args([
            "--exact",
            "lengths::a_length_that_is_a_lie_costs_no_memory",
            "--test-threads=1",
        ])
        .env(CHILD, "1")
        .output()
        .expect("a shell");
    let shown = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && shown.contains("1 passed"),
        "{child:?}"
    );
}
