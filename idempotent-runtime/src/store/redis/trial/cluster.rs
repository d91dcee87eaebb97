//! The trial on every primary of a cluster, each on a key of a slot of its own.

use redis::{
    Value,
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};

use super::Trial;
use crate::StoreError;

const SLOTS: u16 = 16_384;

/// Tries each primary that can be reached.
pub(in crate::store::redis) async fn run(
    connection: &mut ClusterConnection,
    place: &str,
) -> Result<(), StoreError> {
    for slot in first_slots(connection).await {
        let route = || SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
        let mut next = Some(Trial::new(b"SPUBLISH", Some(tag_of(slot))));
        while let Some(trial) = next.take() {
            let mut questions = redis::pipe();
            trial.ask(&mut questions);
            // Who cannot be reached is tried by the connection that reaches it.
            let answers = connection.route_pipeline(questions, 0, trial.len(), route());
            if let Ok(answers) = answers.await {
                trial.judge(&answers, place)?;
                next = trial.again(&answers);
            }
        }
    }
    Ok(())
}

/// One slot of each primary. A user who may not ask gets one of anybody's.
async fn first_slots(connection: &mut ClusterConnection) -> Vec<u16> {
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    let anybody = RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary);
    let answer = connection.route_command(question, anybody).await;
    let found = answer.map(parse).unwrap_or_default();
    if found.is_empty() { vec![0] } else { found }
}

/// `[[from, to, [address, port, id, …], replicas …], …]`
fn parse(answer: Value) -> Vec<u16> {
    let Value::Array(ranges) = answer else {
        return Vec::new();
    };
    let mut primaries = Vec::new();
    let mut slots = Vec::new();
    for range in ranges {
        let Value::Array(range) = range else { continue };
        let (Some(Value::Int(from)), Some(primary)) = (range.first(), range.get(2)) else {
            continue;
        };
        let Ok(from) = u16::try_from(*from) else {
            continue;
        };
        if from < SLOTS && !primaries.contains(primary) {
            primaries.push(primary.clone());
            slots.push(from);
        }
    }
    slots
}

/// The first number whose text lies in this slot.
fn tag_of(slot: u16) -> u32 {
    (0..=u32::MAX)
        .find(|tag| slot_of(&tag.to_string()) == slot)
        .unwrap_or(0)
}

/// A key's slot: CRC-16 of its tag, as XMODEM has it.
fn slot_of(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_tag() {
        assert_eq!(slot_of("123456789"), 0x31c3 % SLOTS);
        for slot in [0, 1, 5_460, 16_383] {
            assert_eq!(slot_of(&tag_of(slot).to_string()), slot);
        }
    }
}
