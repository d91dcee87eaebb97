//! What is checked: the variants that hold, those that do not, and the broken ones.

use idempotent_runtime::OnCrash;

use crate::{
    history::Claim,
    variant::{Broken, Fault, Variant},
};

use Fault::{
    Crash, Drop, Err, ErrFail, Evict, Expire, Failover, Lapse, Late, Operator, Panic, Twice,
};

/// A variant, and the guarantees that it does not give. All others it gives.
#[derive(Clone, Debug)]
pub struct Row {
    /// The variant.
    pub variant: Variant,
    /// What does not hold. That it really does not is asserted too.
    pub fails: &'static [Claim],
}

const MESSAGES: &[Fault] = &[Late, Twice];
const USUAL: &[Fault] = &[Late, Twice, Drop, Panic, Crash, Lapse, Err];

fn row(variant: Variant, fails: &'static [Claim]) -> Row {
    Row { variant, fails }
}

fn rerun(name: &'static str) -> Variant {
    Variant::new(name, OnCrash::Rerun)
}

fn fail(name: &'static str) -> Variant {
    Variant::new(name, OnCrash::Fail)
}

/// Two deploys: one at most once with a long lease, the other not.
fn versions(name: &'static str) -> Variant {
    rerun(name)
        .caller(0, |terms| {
            terms.on_crash = OnCrash::Fail;
            terms.lease = 2;
            terms.ttl = 2;
        })
        .caller(2, |terms| terms.ttl = 3)
}

/// Two duplicates in one process, one in another.
fn flights(variant: Variant) -> Variant {
    variant.caller(1, |terms| terms.process = 0)
}

/// What the table has, with `budget` faults in a run.
#[must_use]
pub fn rows(budget: u8) -> Vec<Row> {
    let stray = &[Claim::GrantedToSomebody, Claim::StoppedForSuccessor];
    let mut rows = vec![
        row(rerun("rerun").faults(budget, USUAL), stray),
        row(fail("fail").faults(budget, USUAL), &[]),
        row(
            rerun("rerun, one step").faults(budget, USUAL).one_step(),
            stray,
        ),
        row(fail("fail, one step").faults(budget, USUAL).one_step(), &[]),
        row(
            rerun("rerun, attached").faults(budget, USUAL).attached(),
            stray,
        ),
        row(fail("fail, attached").faults(budget, USUAL).attached(), &[]),
        row(rerun("messages only").faults(budget + 1, MESSAGES), &[]),
        row(versions("two versions").faults(budget, USUAL), stray),
    ];
    let with = |more: &[Fault]| [USUAL, more].concat();
    rows.extend([
        row(
            rerun("rerun, Err of effects unknown")
                .faults(budget, &with(&[ErrFail]))
                .attached(),
            stray,
        ),
        row(
            rerun("rerun, operator").faults(budget, &with(&[Operator])),
            stray,
        ),
        row(
            fail("fail, operator").faults(budget, &with(&[Operator])),
            &[],
        ),
        row(
            flights(rerun("rerun, flights")).faults(budget, USUAL),
            stray,
        ),
        row(flights(fail("fail, flights")).faults(budget, USUAL), &[]),
        row(
            rerun("rerun, end of retention").faults(budget, &with(&[Expire])),
            stray,
        ),
        row(
            fail("fail, end of retention").faults(budget, &with(&[Expire])),
            &[],
        ),
        row(
            rerun("rerun, eviction").faults(budget, &with(&[Evict])),
            stray,
        ),
        row(fail("fail, eviction").faults(budget, &with(&[Evict])), &[]),
        row(
            rerun("rerun, failover").faults(budget, &with(&[Failover])),
            stray,
        ),
        row(
            fail("fail, failover").faults(budget, &with(&[Failover])),
            &[],
        ),
    ]);
    rows
}

/// A broken protocol, and the guarantee that notices.
#[must_use]
pub fn broken() -> Vec<(Variant, Claim)> {
    let with = |more: &[Fault]| [USUAL, more].concat();
    vec![
        (
            rerun("")
                .faults(1, &with(&[Evict]))
                .broken(Broken::TokenInRecord),
            Claim::TokensGrow,
        ),
        (
            rerun("").faults(2, USUAL).broken(Broken::DeleteOnRelease),
            Claim::StaleRefused,
        ),
        (
            rerun("").faults(0, USUAL).broken(Broken::NoNonce),
            Claim::OneOwner,
        ),
        (
            rerun("").faults(2, USUAL).broken(Broken::TakeoverByState),
            Claim::NoRepeat,
        ),
        (
            rerun("")
                .faults(1, USUAL)
                .broken(Broken::AbandonTouchesDone),
            Claim::DoneStays,
        ),
        (
            fail("").faults(1, USUAL).broken(Broken::NotSeenThrough),
            Claim::LostStarted,
        ),
        (
            rerun("").faults(1, USUAL).broken(Broken::NotHandedOver),
            Claim::NoRepeat,
        ),
        (
            versions("").faults(0, USUAL).broken(Broken::AgeFromTtl),
            Claim::NoRepeat,
        ),
        (
            versions("").faults(1, USUAL).broken(Broken::TakersPolicy),
            Claim::AtMostOnce,
        ),
        (
            fail("").faults(1, USUAL).broken(Broken::LostIsFinal),
            Claim::StoppedForSuccessor,
        ),
        (
            rerun("").faults(0, USUAL).broken(Broken::SleepsAtOnce),
            Claim::Woken,
        ),
        (
            fail("").faults(1, &with(&[Expire])).broken(Broken::NoHold),
            Claim::AtMostOnce,
        ),
        (
            fail("")
                .faults(1, &with(&[Evict]))
                .broken(Broken::AbsentIsStale),
            Claim::Agree,
        ),
    ]
}
