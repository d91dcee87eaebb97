//! What is checked: the variants that hold, those that do not, and the broken ones.

use idempotent_runtime::OnCrash;

use crate::{
    history::Claim,
    variant::{Broken, Fault, Variant},
};

use Fault::{
    Crash, Drop, Err, ErrFail, Evict, Expire, Failover, Lapse, Late, Operator, Panic, Refused,
    Twice,
};

/// A variant, and the guarantees that it does not give. All others it gives.
#[derive(Clone, Debug)]
pub struct Row {
    /// The variant.
    pub variant: Variant,
    /// What does not hold. That it really does not is asserted too.
    pub fails: Vec<Claim>,
}

/// What happens to the messages of a network.
const MESSAGES: &[Fault] = &[Late, Twice, Refused];
/// What happens to callers, bodies and processes.
const MISHAPS: &[Fault] = &[Drop, Panic, Crash, Lapse, Err];
/// All of that.
const USUAL: &[Fault] = &[Late, Twice, Refused, Drop, Panic, Crash, Lapse, Err];

/// A claim that arrives once its caller has been answered and has gone is granted to nobody. It costs a lease.
const STRAY: &[Claim] = &[Claim::GrantedToSomebody, Claim::StoppedForSuccessor];

fn row(variant: Variant, fails: &[Claim]) -> Row {
    let mut fails = fails.to_vec();
    fails.sort_unstable();
    Row { variant, fails }
}

fn rerun(name: &'static str) -> Variant {
    Variant::new(name, OnCrash::Rerun)
}

fn fail(name: &'static str) -> Variant {
    Variant::new(name, OnCrash::Fail)
}

/// Two deploys: one `fail` with a long lease, the other `rerun`. Their retentions differ as well.
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

/// One of the callers has another payload.
fn payloads(variant: Variant) -> Variant {
    (0..3).fold(variant, |variant, caller| {
        variant.caller(caller, |terms| {
            terms.payload = if caller == 2 { 2 } else { 1 }
        })
    })
}

fn with(more: Fault) -> Vec<Fault> {
    [USUAL, &[more]].concat()
}

/// Fewer faults, where one more makes the states many.
fn few(more: Fault) -> Vec<Fault> {
    vec![Late, Drop, Crash, Lapse, Err, more]
}

/// What the table has, with `faults` in a run.
#[must_use]
pub fn rows(faults: u8) -> Vec<Row> {
    let mut rows = holding(faults);
    rows.extend(forgetting(faults));
    rows
}

fn holding(faults: u8) -> Vec<Row> {
    vec![
        row(rerun("rerun").faults(faults, USUAL), STRAY),
        row(fail("fail").faults(faults, USUAL), &[]),
        row(
            rerun("rerun, attached").faults(faults, USUAL).attached(),
            STRAY,
        ),
        row(fail("fail, attached").faults(faults, USUAL).attached(), &[]),
        row(rerun("rerun, messages only").faults(faults, MESSAGES), &[]),
        row(
            rerun("rerun, in memory").faults(faults, MISHAPS).one_step(),
            &[],
        ),
        row(
            fail("fail, in memory").faults(faults, MISHAPS).one_step(),
            &[],
        ),
        row(
            flights(rerun("rerun, flights")).faults(faults, USUAL),
            STRAY,
        ),
        row(flights(fail("fail, flights")).faults(faults, USUAL), &[]),
        row(
            payloads(rerun("rerun, two payloads")).faults(faults, USUAL),
            STRAY,
        ),
        row(
            payloads(fail("fail, two payloads")).faults(faults, USUAL),
            &[],
        ),
        row(
            versions("two versions").faults(faults, USUAL),
            &[STRAY, &[Claim::LostStarted]].concat(),
        ),
        row(
            rerun("rerun, on_err = fail").faults(faults, &with(ErrFail)),
            STRAY,
        ),
        row(
            rerun("rerun, operator").faults(faults, &few(Operator)),
            STRAY,
        ),
        row(fail("fail, operator").faults(faults, &few(Operator)), &[]),
    ]
}

/// Where the store forgets, or a claim does not name what it saw.
fn forgetting(faults: u8) -> Vec<Row> {
    let forgets = &[STRAY, &[Claim::StaleRefused, Claim::Agree]].concat();
    let again = &[Claim::OneOwner, Claim::TokensGrow, Claim::Fenced];
    vec![
        row(
            rerun("rerun, end of retention").faults(faults, &few(Expire)),
            &[STRAY, &[Claim::StaleRefused]].concat(),
        ),
        row(
            fail("fail, end of retention").faults(faults, &few(Expire)),
            &[Claim::GrantedToSomebody],
        ),
        row(
            rerun("rerun, eviction").faults(faults, &few(Evict)),
            forgets,
        ),
        row(
            fail("fail, eviction").faults(faults, &few(Evict)),
            &[forgets, &[Claim::AtMostOnce][..]].concat(),
        ),
        row(
            rerun("rerun, failover").faults(faults, &few(Failover)),
            &[&forgets[..], again].concat(),
        ),
        row(
            fail("fail, failover").faults(faults, &few(Failover)),
            &[&forgets[..], again, &[Claim::AtMostOnce]].concat(),
        ),
        row(
            fail("fail, claims name nothing")
                .faults(faults, USUAL)
                .one_step(),
            &[Claim::LostStarted, Claim::GrantedToSomebody],
        ),
    ]
}

/// A broken protocol, and the guarantee that notices.
#[must_use]
pub fn broken() -> Vec<(Variant, Claim)> {
    let rerun = |faults, kinds: &[Fault]| rerun("broken").faults(faults, kinds);
    let fail = |faults, kinds: &[Fault]| fail("broken").faults(faults, kinds);
    let versions = |faults| versions("broken").faults(faults, USUAL);
    vec![
        (
            rerun(1, &with(Evict)).broken(Broken::TokenInRecord),
            Claim::TokensGrow,
        ),
        (
            rerun(2, USUAL).broken(Broken::DeleteOnRelease),
            Claim::StaleRefused,
        ),
        (rerun(0, USUAL).broken(Broken::NoNonce), Claim::OneOwner),
        (
            rerun(2, USUAL).broken(Broken::TakeoverByState),
            Claim::NoRepeat,
        ),
        (
            rerun(1, USUAL).broken(Broken::AbandonTouchesDone),
            Claim::DoneStays,
        ),
        (
            fail(1, USUAL).broken(Broken::NotSeenThrough),
            Claim::LostStarted,
        ),
        (
            rerun(1, USUAL).broken(Broken::NotHandedOver),
            Claim::NoRepeat,
        ),
        (versions(0).broken(Broken::AgeFromTtl), Claim::NoRepeat),
        (versions(1).broken(Broken::TakersPolicy), Claim::AtMostOnce),
        (
            fail(1, USUAL).broken(Broken::LostIsFinal),
            Claim::StoppedForSuccessor,
        ),
        (rerun(0, USUAL).broken(Broken::SleepsAtOnce), Claim::Woken),
        (
            fail(1, &with(Expire)).broken(Broken::NoHold),
            Claim::AtMostOnce,
        ),
        (
            fail(1, USUAL).broken(Broken::GrantForgotten),
            Claim::LostStarted,
        ),
        (
            rerun(2, &with(ErrFail)).broken(Broken::UnknownIsRerun),
            Claim::AtMostOnce,
        ),
    ]
}
