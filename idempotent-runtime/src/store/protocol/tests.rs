use super::*;
use crate::{
    fingerprint::Fingerprint,
    record::{HOLD, MAX_TTL, Nonce, Owner, RecordedBytes},
};

/// Every record × every event. A record is its state and its owner (A, or O for an operator).
/// Events come from A, the owner, and from B, another attempt. A cell says what is written (`-`:
/// nothing) and what is answered.
///
/// over: past its end, but seen by an operator before · live: within its lease · mute: silent for
/// longer, under `rerun` · mute!: the same under `fail` · B': B with another payload
const TABLE: &str = "
event      | none       | RA live    | RA mute    | RA mute!   | DA         | FA         | LA         | DA over    | FA over
claim A    | RA granted | -  granted | -  granted | -  granted | -  held    | -  held    | RA granted | -  held    | -  held
claim B    | RB granted | -  held    | RB taken   | LA held    | -  held    | RB granted | -  held    | RB granted | RB granted
claim B'   | RB granted | -  held    | -  held    | -  held    | -  held    | RB granted | -  held    | RB granted | RB granted
renew A    | RA put     | RA applied | RA applied | RA applied | -  stale   | -  stale   | RA applied | -  stale   | -  stale
renew B    | RB put     | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale
complete A | DA put     | DA applied | DA applied | DA applied | -  applied | -  stale   | DA applied | -  applied | -  stale
complete B | DB put     | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale
release A  | FA put     | FA applied | FA applied | FA applied | -  stale   | -  applied | FA applied | -  stale   | -  applied
release B  | FB put     | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale
abandon A  | LA put     | LA applied | LA applied | LA applied | -  stale   | -  stale   | LA applied | -  stale   | -  stale
abandon B  | LB put     | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale   | -  stale
forget     | FO applied | FO applied | FO applied | FO applied | FO applied | FO applied | FO applied | -  absent  | -  absent
resolve    | DO applied | DO applied | DO applied | DO applied | DO applied | DO applied | DO applied | -  absent  | -  absent
";

const LEASE: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_secs(60 * 60);
const NOW: u64 = 1_800_000_000_000_000;

fn nonce(owner: u8) -> Nonce {
    Nonce::from_bytes([owner; 16])
}

fn request(owner: u8) -> ClaimRequest {
    ClaimRequest {
        nonce: nonce(owner),
        lease: LEASE,
        on_crash: OnCrash::Rerun,
        fingerprint: Some(Fingerprint::from_bytes([1; 16])),
        ttl: TTL,
        owner: Owner::new("host:1"),
        trace: Some([9; 16]),
    }
}

fn record(state: State, owner: u8) -> Record {
    let outcome = (state == State::Done).then(|| RecordedBytes::Ok(b"result".as_slice().into()));
    let record = Record {
        state,
        token: 9,
        outcome,
        ..request(owner).record()
    };
    Write::new(record, NOW).record
}

/// The record that a column's head describes, and its age.
fn from(head: &str) -> Option<(Record, Duration)> {
    let silent = 2 * LEASE;
    Some(match head {
        "none" => return None,
        "RA live" => (record(State::Running, b'A'), LEASE / 2),
        "RA mute" => (record(State::Running, b'A'), silent),
        "RA mute!" => (
            Record {
                on_crash: OnCrash::Fail,
                ..record(State::Running, b'A')
            },
            silent,
        ),
        "DA" => (record(State::Done, b'A'), silent),
        "FA" => (record(State::Failed, b'A'), silent),
        "DA over" | "FA over" => {
            let state = if head == "DA over" {
                State::Done
            } else {
                State::Failed
            };
            let expires = NOW / 1000;
            (
                Record {
                    expires,
                    ..record(state, b'A')
                },
                silent,
            )
        }
        "LA" => (record(State::Lost, b'A'), silent),
        other => panic!("{other}"),
    })
}

/// Sends the event to this record, by an operator who has `seen` that one: what is written, and the
/// answer as a word.
fn send(
    event: &str,
    current: Option<Current<'_>>,
    seen: Option<&Record>,
) -> (Option<Record>, &'static str) {
    let (kind, owner) = event.split_once(' ').unwrap_or((event, "O"));
    let by = owner.as_bytes()[0];
    let target = |state| record(state, by);
    let step = match kind {
        "claim" => {
            let mut request = request(by);
            if owner == "B'" {
                request.fingerprint = Some(Fingerprint::from_bytes([2; 16]));
            }
            let step = claim(current, &request, NOW);
            let reply = match step.reply {
                ClaimReply::Granted {
                    takeover: false, ..
                } => "granted",
                ClaimReply::Granted { takeover: true, .. } => "taken",
                ClaimReply::Held { .. } => "held",
            };
            return (step.write.map(|write| write.record), reply);
        }
        "renew" => renew(current, &target(State::Running), NOW),
        "complete" => finish(current, &target(State::Done), NOW),
        "release" => finish(current, &target(State::Failed), NOW),
        "abandon" => finish(current, &target(State::Lost), NOW),
        "forget" => overrule(current, seen, &target(State::Failed), NOW),
        "resolve" => overrule(current, seen, &target(State::Done), NOW),
        other => panic!("{other}"),
    };
    let reply = match step.reply {
        Settled::Applied => "applied",
        Settled::PutBack => "put",
        Settled::Stale { .. } => "stale",
        Settled::Absent => "absent",
    };
    (step.write.map(|write| write.record), reply)
}

fn current(from: Option<&(Record, Duration)>) -> Option<Current<'_>> {
    from.map(|(record, age)| Current { record, age: *age })
}

/// Each cell of the table: the event, the column's head, and the cell's text.
fn cells() -> Vec<(&'static str, &'static str, &'static str)> {
    let mut rows = TABLE
        .trim()
        .lines()
        .map(|row| row.split('|').map(str::trim));
    let heads: Vec<_> = rows.next().expect("a head").skip(1).collect();
    let cells: Vec<_> = rows
        .flat_map(|mut row| {
            let event = row.next().expect("an event");
            heads
                .iter()
                .zip(row)
                .map(move |(head, cell)| (event, *head, cell))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(cells.len(), 13 * 9, "every cell is looked at");
    cells
}

#[test]
fn every_record_times_every_event() {
    for (event, head, expected) in cells() {
        let from = from(head);
        let seen = from.as_ref().map(|(record, _)| record);
        let (written, reply) = send(event, current(from.as_ref()), seen);
        let written = written.map_or("- ".to_owned(), |record| {
            let owner = char::from(record.nonce.as_bytes()[0]);
            format!("{}{owner}", char::from(record.state.letter()))
        });
        assert_eq!(format!("{written} {reply}"), expected, "{event} on {head}");
    }
}

/// Contract 5: the same message sent again changes nothing and gets the same answer.
#[test]
fn every_event_may_be_sent_twice() {
    for (event, head, _) in cells() {
        let from = from(head);
        let seen = from.as_ref().map(|(record, _)| record);
        let (written, first) = send(event, current(from.as_ref()), seen);
        let after = written.or_else(|| seen.cloned());
        let young = after.clone().map(|record| (record, Duration::ZERO));
        // A silent owner whose record has not changed is still silent.
        let left = if after.as_ref() == seen {
            from.as_ref()
        } else {
            young.as_ref()
        };
        let (again, second) = send(event, current(left), seen);
        assert!(
            again.is_none() || again == after,
            "{event} on {head}, twice: {again:?}"
        );
        let same = first == second
            || [("put", "applied"), ("taken", "granted")].contains(&(first, second));
        assert!(
            same || first == "granted" && second == "taken",
            "{event} on {head}: {first}, then {second}"
        );
    }
}

#[test]
fn what_was_not_seen_is_not_overruled() {
    for head in ["RA live", "RA mute", "DA", "FA", "LA"] {
        let from = from(head);
        let mut other = from.clone().expect("a record").0;
        other.nonce = nonce(b'X');
        for seen in [None, Some(&other)] {
            let answer = send("forget", current(from.as_ref()), seen);
            assert_eq!(answer, (None, "stale"), "{head}");
        }
        assert_eq!(send("forget", None, Some(&other)), (None, "absent"));
    }
}

#[test]
fn tokens_grow_and_stay_exact_in_a_double() {
    assert_eq!(next_token(0, 0), 1);
    assert_eq!(next_token(7, 0), 8, "a clock that went back");
    assert_eq!(next_token(7, NOW), NOW);
    assert_eq!(next_token(NOW, NOW), NOW + 1, "twice in a microsecond");
    assert_eq!(
        next_token(u64::MAX, u64::MAX),
        MAX_TOKEN,
        "never over the limit, whatever was stored"
    );
    for (head, last) in [("none", 0), ("FA", 9), ("RA mute", 9), ("DA over", 9)] {
        let (written, _) = send("claim B", current(from(head).as_ref()), None);
        assert!(written.expect("a grant").token > last, "{head}");
    }
}

#[test]
fn a_taken_lease_doubles_between_the_option_and_a_day() {
    let hour = Duration::from_secs(3600);
    //    lapsed, option → granted
    for (lapsed, option, granted) in [
        (LEASE, LEASE, 2 * LEASE),
        (4 * LEASE, LEASE, 8 * LEASE),
        (8 * LEASE, LEASE, 8 * LEASE),
        (LEASE, 10 * LEASE, 10 * LEASE),
        (hour, LEASE, 8 * LEASE),
        (20 * hour, 20 * hour, MAX_LEASE),
        (MAX_LEASE, MAX_LEASE, MAX_LEASE),
    ] {
        let lapsed = Record {
            lease: lapsed,
            ..record(State::Running, b'A')
        };
        let current = Current {
            record: &lapsed,
            age: lapsed.lease,
        };
        let step = claim(
            Some(current),
            &ClaimRequest {
                lease: option,
                ..request(b'B')
            },
            NOW,
        );
        assert_eq!(
            step.write.expect("a takeover").record.lease,
            granted,
            "{lapsed:?}, {option:?}"
        );
    }
}

/// For how long each state is shown and kept. Every store follows this table.
#[test]
fn each_state_is_kept_for_its_time() {
    let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
    //    state, ttl → shown, and kept
    for (state, ttl, shown, grace) in [
        (State::Done, second, second, 60 * second),
        (State::Done, 30 * day, 30 * day, 60 * second),
        (
            State::Done,
            Duration::ZERO,
            Duration::from_millis(1),
            60 * second,
        ),
        (State::Done, Duration::MAX, MAX_TTL, 60 * second),
        (State::Failed, second, second, 60 * second),
        (State::Failed, 30 * day, HOLD, 60 * second),
        (State::Running, second, HOLD, Duration::ZERO),
        (State::Lost, second, HOLD, Duration::ZERO),
    ] {
        assert_eq!(retention(state, ttl), shown, "{state:?} {ttl:?}");
        let ended = Record {
            state,
            ttl,
            ..record(State::Running, b'A')
        };
        let write = Write::new(ended, NOW);
        assert_eq!(write.shown(), shown, "{state:?} {ttl:?}");
        assert_eq!(write.keep, shown + grace, "{state:?} {ttl:?}");
        let kept = u64::try_from(write.keep.as_micros()).expect("short");
        assert_eq!(write.delete_at(NOW), NOW + kept, "{state:?} {ttl:?}");
        let undated = Record {
            expires: 0,
            ..write.record.clone()
        };
        assert_eq!(Write::undated(write.record).record, undated);
    }
    assert_eq!(grace(second), 30 * second, "30 s at least");
    assert_eq!(grace(day), 2 * day, "or twice the lease");
}
