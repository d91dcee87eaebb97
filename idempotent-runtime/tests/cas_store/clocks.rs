//! Clocks that differ, and the effect of the bound.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use idempotent_runtime::{
    Store, StoreError,
    key::Key,
    record::State,
    store::{
        ClaimReply, Settled,
        cas::{CasStore, CasTable, Loaded, Put, Swapped, Time},
    },
};

use crate::{
    database::Database,
    faults::{LEASE, TTL, done, granted, key, request},
    table::Table,
};

const BOUND: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(2);
/// The time at the beginning.
const START: Duration = Duration::from_secs(1_000_000);

/// A machine that uses the table by its own clock.
struct Machine {
    table: Table,
    /// How far it is ahead of the slowest machine.
    ahead: Duration,
    bound: Duration,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("a time of these tests")
}

impl CasTable for Machine {
    type Version = u64;

    async fn load(&self, key: &Key) -> Result<Loaded<u64>, StoreError> {
        let mut loaded = self.table.load(key).await?;
        let here = loaded.time.micros() + micros(self.ahead);
        loaded.time = Time::of_database(here).within(self.bound);
        Ok(loaded)
    }

    async fn swap(
        &self,
        key: &Key,
        expected: Option<&u64>,
        put: &Put,
    ) -> Result<Swapped, StoreError> {
        self.table.swap(key, expected, put).await
    }
}

struct World {
    database: Database,
}

impl World {
    fn new() -> Self {
        let database = Database::default();
        database.clock().store(micros(START), Ordering::SeqCst);
        Self { database }
    }

    fn machine(&self, ahead: Duration, bound: Duration) -> CasStore<Machine> {
        let database = Arc::new(self.database.clone());
        CasStore::new(Machine {
            table: Table { database },
            ahead,
            bound,
        })
    }

    fn pass(&self, time: Duration) {
        self.database
            .clock()
            .fetch_add(micros(time), Ordering::SeqCst);
    }
}

/// The two machines that differ most, both ways round: who writes, and who reads.
fn pairs() -> [(Duration, Duration); 2] {
    [(Duration::ZERO, BOUND), (BOUND, Duration::ZERO)]
}

#[tokio::test]
async fn a_lease_holds_by_every_clock_and_ends_by_every_clock() {
    for (writer, reader) in pairs() {
        let world = World::new();
        let (writer, reader) = (world.machine(writer, BOUND), world.machine(reader, BOUND));
        let owned = granted(writer.claim(&key(), &request(1)).await.expect("a claim"));
        world.pass(LEASE.saturating_sub(TICK));
        match reader.claim(&key(), &request(2)).await.expect("a claim") {
            ClaimReply::Held { record, lease_left } => {
                assert_eq!(record, owned);
                assert!(!lease_left.is_zero());
            }
            granted => panic!("overtaken before its lease was over: {granted:?}"),
        }
        world.pass(2 * BOUND + 2 * TICK);
        granted(reader.claim(&key(), &request(2)).await.expect("a claim"));
    }
}

/// So the test above shows what the bound does, not what would have been so anyway.
#[tokio::test]
async fn without_a_bound_a_clock_ahead_overtakes_early() {
    let world = World::new();
    let writer = world.machine(Duration::ZERO, Duration::ZERO);
    let reader = world.machine(BOUND, Duration::ZERO);
    granted(writer.claim(&key(), &request(1)).await.expect("a claim"));
    world.pass(LEASE.saturating_sub(TICK));
    granted(reader.claim(&key(), &request(2)).await.expect("a claim"));
}

#[tokio::test]
async fn a_result_is_replayed_for_its_ttl_by_every_clock() {
    for (writer, reader) in pairs() {
        let world = World::new();
        let (writer, reader) = (world.machine(writer, BOUND), world.machine(reader, BOUND));
        let owned = granted(writer.claim(&key(), &request(1)).await.expect("a claim"));
        let settled = writer
            .finish(&key(), &done(&owned))
            .await
            .expect("a finish");
        assert_eq!(settled, Settled::Applied);
        world.pass(TTL.saturating_sub(TICK));
        let read = reader.read(&key()).await.expect("a read");
        let (record, _) = read.expect("it is within its ttl");
        assert_eq!(record.state, State::Done);
        world.pass(2 * BOUND + 2 * TICK);
        assert_eq!(reader.read(&key()).await.expect("a read"), None);
    }
}

/// An operator's result, too, which is dated while others' is judged.
#[tokio::test]
async fn a_decision_is_kept_for_its_ttl_by_every_clock() {
    for (writer, reader) in pairs() {
        let world = World::new();
        let (writer, reader) = (world.machine(writer, BOUND), world.machine(reader, BOUND));
        let decided = done(&request(1).record());
        let settled = writer
            .overrule(&key(), None, &decided)
            .await
            .expect("a decision");
        assert_eq!(settled, Settled::Applied);
        world.pass(TTL.saturating_sub(TICK));
        assert!(reader.read(&key()).await.expect("a read").is_some());
    }
}

/// The row is there for as long as any machine may look at it: when the clock that is furthest
/// ahead may delete it, all take it for absent. Tokens grow across that.
#[tokio::test]
async fn rows_outlive_every_clock_and_tokens_grow() {
    for (first, second) in pairs() {
        for is_finished in [true, false] {
            let world = World::new();
            let (first, second) = (world.machine(first, BOUND), world.machine(second, BOUND));
            let mut brief = request(1);
            brief.ttl = Duration::from_millis(1);
            let owned = granted(first.claim(&key(), &brief).await.expect("a claim"));
            if is_finished {
                first.finish(&key(), &done(&owned)).await.expect("a finish");
            }
            let item = world.database.item(key().as_str()).expect("a row");

            let by_the_fastest = Duration::from_micros(item.delete_at).saturating_sub(BOUND);
            world.pass(by_the_fastest.saturating_sub(START));
            for machine in [&first, &second] {
                let read = machine.read(&key()).await.expect("a read");
                assert_eq!(read, None, "it may be deleted, and is still shown");
            }
            world.database.delete(key().as_str());
            let next = granted(second.claim(&key(), &request(2)).await.expect("a claim"));
            assert!(next.token > owned.token, "{owned:?} → {next:?}");
        }
    }
}

/// While the row is there, a token grows whatever the clocks say.
#[tokio::test]
async fn tokens_grow_however_far_clocks_are_apart() {
    let world = World::new();
    let far = Duration::from_secs(100_000);
    let (ahead, behind) = (
        world.machine(far, BOUND),
        world.machine(Duration::ZERO, BOUND),
    );
    let first = granted(ahead.claim(&key(), &request(1)).await.expect("a claim"));
    let released = idempotent_runtime::store::protocol::released(&first);
    ahead.finish(&key(), &released).await.expect("a finish");
    let second = granted(behind.claim(&key(), &request(2)).await.expect("a claim"));
    assert!(second.token > first.token, "{first:?} → {second:?}");
    // Its own time has not come yet by this clock: an age of nothing.
    let (_, left) = behind
        .read(&key())
        .await
        .expect("a read")
        .expect("a record");
    assert_eq!(left, LEASE);
}

/// A row that is dated ahead: the clock was set back, or somebody has changed the row.
#[tokio::test]
async fn a_row_dated_far_ahead_blocks_nobody_for_ever() {
    let world = World::new();
    let far = world.machine(Duration::from_secs(100_000), BOUND);
    let here = world.machine(Duration::ZERO, BOUND);
    let owned = granted(far.claim(&key(), &request(1)).await.expect("a claim"));
    match here.claim(&key(), &request(2)).await.expect("a claim") {
        ClaimReply::Held { record, lease_left } => {
            assert_eq!((record, lease_left), (owned.clone(), LEASE));
        }
        granted => panic!("it counts as just renewed: {granted:?}"),
    }
    world.pass(LEASE + 2 * BOUND + TICK);
    granted(here.claim(&key(), &request(2)).await.expect("a claim"));
}

/// What clocks within the bound can differ by changes nothing.
#[tokio::test]
async fn a_row_dated_a_little_ahead_is_left_as_it_is() {
    let world = World::new();
    let (ahead, here) = (
        world.machine(BOUND, BOUND),
        world.machine(Duration::ZERO, BOUND),
    );
    granted(ahead.claim(&key(), &request(1)).await.expect("a claim"));
    let revision = || world.database.item(key().as_str()).expect("a row").revision;
    let before = revision();
    here.claim(&key(), &request(2)).await.expect("a claim");
    assert_eq!(revision(), before);
}
