//! Four processes, few keys, leases that lapse all the time: no token twice, nothing granted after a result, and all replays
//! agree.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::Read,
    process::Child,
    time::Duration,
};

use idempotent_runtime::{
    Store,
    record::{Record, RecordedBytes},
    store::{ClaimReply, Settled},
};

use crate::{
    common::{done, key, request},
    process,
};

const PROCESSES: usize = 4;
/// Each is worked on until it has a result, by all.
const KEYS: usize = 60;
/// Tasks of a process, each with another key at first.
const TASKS: usize = 3;
const LEASE: Duration = Duration::from_millis(30);

/// Works on every key until it sees its result, and says what it saw.
pub(crate) async fn work(store: impl Store + Clone) {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            for number in 0..KEYS {
                until_done(&store, (number + task * KEYS / TASKS) % KEYS).await;
            }
        });
    }
    tasks.join_all().await;
}

async fn until_done(store: &impl Store, number: usize) {
    let key = key(&number.to_string());
    loop {
        let mut claim = request();
        claim.lease = LEASE;
        match store.claim(&key, &claim).await.expect("claim") {
            ClaimReply::Granted { record, takeover } => {
                process::say(&format!("granted {number} {} {takeover}", record.token));
                run(store, &key, &record, number).await;
            }
            ClaimReply::Held { record, .. } => {
                if let Some(RecordedBytes::Ok(result)) = &record.outcome {
                    let result = String::from_utf8_lossy(result);
                    process::say(&format!("replayed {number} {result} {}", record.token));
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Most owners are slower than their lease, some renew it, a few release it.
async fn run(
    store: &impl Store,
    key: &idempotent_runtime::key::Key,
    owned: &Record,
    number: usize,
) {
    let choice = owned.nonce.as_bytes()[0];
    let pause = if choice < 64 { 5 } else { 40 };
    tokio::time::sleep(Duration::from_millis(pause)).await;
    if choice % 8 == 1 {
        store.renew(key, owned).await.expect("renew");
    }
    let mut target = done(owned, owned.token.to_string().as_bytes());
    if choice % 8 == 2 {
        target = owned.clone();
        target.state = idempotent_runtime::record::State::Failed;
    }
    let is_done = target.outcome.is_some();
    let settled = store.finish(key, &target).await.expect("finish");
    let settled = match settled {
        Settled::Applied if is_done => "applied",
        Settled::Applied => "released",
        Settled::Stale { .. } => "stale",
        other => panic!("{other:?}"),
    };
    process::say(&format!("{settled} {number} {} x", owned.token));
}

/// Has processes work that `start` starts, and judges what they said.
pub(crate) fn processes_keep_the_promises(start: impl Fn() -> Child) {
    let children: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    let mut lines = Vec::new();
    for mut child in children {
        let mut text = String::new();
        let mut output = child.stdout.take().expect("its output");
        output.read_to_string(&mut text).expect("its output");
        assert!(child.wait().expect("it has ended").success(), "{text}");
        let said = text.lines().filter_map(process::said);
        lines.extend(said.map(str::to_owned));
    }
    let mut tokens = HashSet::new();
    let mut results: HashMap<String, String> = HashMap::new();
    let mut grants: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let (mut takeovers, mut stale, mut replays) = (0, 0, 0);
    for line in &lines {
        let words: Vec<_> = line.split(' ').collect();
        let [what, key, token, more] = words[..] else {
            panic!("what is this? {line}");
        };
        match what {
            "granted" => {
                assert!(
                    tokens.insert((key.to_owned(), token.to_owned())),
                    "twice: {line}"
                );
                let token = token.parse().expect("a token");
                grants.entry(key.to_owned()).or_default().push(token);
                takeovers += usize::from(more == "true");
            }
            "applied" => {
                let earlier = results.insert(key.to_owned(), token.to_owned());
                assert_eq!(earlier, None, "two results: {line}");
            }
            "stale" => stale += 1,
            "replayed" => assert_eq!(token, more, "the record's own result: {line}"),
            _ => assert_eq!(what, "released"),
        }
    }
    for line in &lines {
        if let Some(rest) = line.strip_prefix("replayed ") {
            let words: Vec<_> = rest.split(' ').collect();
            assert_eq!(
                results.get(words[0]).map(String::as_str),
                Some(words[1]),
                "{line}"
            );
            replays += 1;
        }
    }
    assert_eq!(results.len(), KEYS);
    assert_eq!(replays, KEYS * PROCESSES * TASKS);
    for (key, granted) in &grants {
        let result: u64 = results[key].parse().expect("a token");
        let last = granted.iter().max().expect("a grant");
        assert_eq!(*last, result, "key {key} was granted after its result");
    }
    assert!(takeovers > KEYS / 2, "{takeovers} takeovers");
    assert!(stale > 0, "nobody was overtaken before it finished");
}
