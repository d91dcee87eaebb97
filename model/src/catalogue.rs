//! What is checked: variants of the protocol that hold, variants that do not, and broken protocols.

use idempotent_runtime::OnCrash;

use crate::{
    history::Claim,
    variant::{Broken, Fault, Variant},
};

use Fault::{
    Crash, Drop, End, Err, ErrFail, Evict, Expire, Failover, Lapse, Late, Operator, Panic, Refused,
    Skew, Twice,
};

/// A variant, and the guarantees that it does not give. It gives all others.
#[derive(Clone, Debug)]
pub struct Row {
    /// The variant.
    pub variant: Variant,
    /// The guarantees that two faults can break. The check also asserts that they do.
    pub two_break: Vec<Claim>,
    /// The further guarantees that three faults can break.
    pub three_break: Vec<Claim>,
}

impl Row {
    /// The guarantees that this many faults break, in a fixed order.
    #[must_use]
    pub fn breaks(&self) -> Vec<Claim> {
        let mut claims = Vec::new();
        if self.variant.budget >= 2 {
            claims.extend(&self.two_break);
        }
        if self.variant.budget >= 3 {
            claims.extend(&self.three_break);
        }
        claims.sort_unstable();
        claims
    }

    fn two_break(mut self, claims: &[Claim]) -> Self {
        self.two_break.extend(claims);
        self
    }

    fn three_break(mut self, claims: &[Claim]) -> Self {
        self.three_break.extend(claims);
        self
    }
}

fn row(variant: Variant) -> Row {
    Row {
        variant,
        two_break: Vec::new(),
        three_break: Vec::new(),
    }
}

/// Faults of messages.
const MESSAGES: &[Fault] = &[Late, Twice, Refused];
/// Faults of callers, bodies and processes.
const MISHAPS: &[Fault] = &[Drop, Panic, Crash, Lapse, Err];
/// Both.
const USUAL: &[Fault] = &[Late, Twice, Refused, Drop, Panic, Crash, Lapse, Err];

/// A smaller set of faults.
const FEW: &[Fault] = &[Late, Drop, Crash, Lapse, Err];
/// The end of `ttl`, later messages, and a clock that is behind.
const ENDS: &[Fault] = &[Late, Twice, Crash, Lapse, Err, End, Skew];
/// Faults that could make a near cache wrong.
const NEAR: &[Fault] = &[Late, Crash, Lapse, Operator, End];

/// A takeover may arrive after its caller was answered and has gone. It is granted to nobody, and
/// the key waits for its lease.
const STRAY: &[Claim] = &[Claim::GrantedToSomebody, Claim::StoppedForSuccessor];

fn rerun(name: &'static str) -> Variant {
    Variant::new(name, OnCrash::Rerun)
}

fn fail(name: &'static str) -> Variant {
    Variant::new(name, OnCrash::Fail)
}

/// Callers of two deploys: one with `fail` and a long lease, the other with `rerun`. Their
/// retentions differ as well.
fn versions(name: &'static str) -> Variant {
    rerun(name)
        .caller(0, |terms| {
            terms.on_crash = OnCrash::Fail;
            terms.lease = 2;
            terms.ttl = 2;
        })
        .caller(2, |terms| terms.ttl = 3)
}

/// Two duplicates in one process, and one in another.
fn flights(variant: Variant) -> Variant {
    variant.caller(1, |terms| terms.process = 0)
}

/// The second of the two duplicates in one process has another payload than the others.
fn second_payload(variant: Variant) -> Variant {
    (0..3).fold(variant, |variant, caller| {
        variant.caller(caller, |terms| {
            terms.payload = if caller == 1 { 2 } else { 1 }
        })
    })
}

/// Each of the two processes has a near cache.
fn near(variant: Variant) -> Variant {
    flights(variant).near()
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

/// A smaller set of faults and this one, where more faults make too many states.
fn few(more: Fault) -> Vec<Fault> {
    [FEW, &[more]].concat()
}

/// The rows of the table, with `faults` in a run.
#[must_use]
pub fn rows(faults: u8) -> Vec<Row> {
    let mut rows = holding(faults);
    rows.extend(nearby(faults));
    rows.extend(forgetting(faults));
    rows
}

fn holding(faults: u8) -> Vec<Row> {
    let usual = |variant: Variant| row(variant.faults(faults, USUAL));
    vec![
        usual(rerun("rerun")).three_break(STRAY),
        usual(fail("fail")),
        usual(rerun("rerun, attached").attached()).three_break(STRAY),
        usual(fail("fail, attached").attached()),
        row(rerun("rerun, messages only").faults(faults, MESSAGES)),
        row(rerun("rerun, in memory").faults(faults, MISHAPS).one_step()),
        row(fail("fail, in memory").faults(faults, MISHAPS).one_step()),
        usual(flights(rerun("rerun, flights"))).three_break(STRAY),
        usual(flights(fail("fail, flights"))),
        usual(payloads(rerun("rerun, two payloads"))).three_break(STRAY),
        usual(payloads(fail("fail, two payloads"))),
        usual(versions("two versions"))
            .three_break(STRAY)
            .three_break(&[Claim::LostStarted]),
        row(rerun("rerun, on_err = fail").faults(faults, &with(ErrFail))).three_break(STRAY),
        row(rerun("rerun, operator").faults(faults, &few(Operator))).three_break(STRAY),
        row(fail("fail, operator").faults(faults, &few(Operator))),
    ]
}

/// The owner that an operator overruled is told the operator's result, also past that result's end.
const OVERRULED: &[Claim] = &[Claim::Agree];

/// Variants with near caches. What does not hold here does not hold without them either.
fn nearby(faults: u8) -> Vec<Row> {
    vec![
        row(near(rerun("rerun, near cache")).faults(faults, NEAR))
            .three_break(STRAY)
            .three_break(OVERRULED),
        row(near(fail("fail, near cache")).faults(faults, NEAR)).three_break(OVERRULED),
        row(near(second_payload(rerun("rerun, near cache, two payloads"))).faults(faults, FEW))
            .three_break(STRAY),
    ]
}

/// Variants in which the store forgets, or a claim does not name what it saw.
fn forgetting(faults: u8) -> Vec<Row> {
    use Claim::{
        Agree, AtMostOnce, Fenced, GrantedToSomebody, LostStarted, OneOwner, StaleRefused,
        StaysFinished, StoppedForSuccessor, TokensGrow,
    };
    let few = |variant: Variant, more| row(variant.faults(faults, &few(more)));
    vec![
        row(rerun("rerun, end of ttl").faults(faults, ENDS)).three_break(STRAY),
        row(fail("fail, end of ttl").faults(faults, ENDS)),
        few(rerun("rerun, end of grace"), Expire)
            .two_break(&[StaleRefused, GrantedToSomebody, StaysFinished])
            .three_break(&[StoppedForSuccessor, Fenced]),
        few(fail("fail, end of grace"), Expire)
            .two_break(&[GrantedToSomebody, StaysFinished])
            .three_break(&[StaleRefused]),
        few(rerun("rerun, eviction"), Evict)
            .two_break(&[StaleRefused, Agree, StaysFinished])
            .two_break(STRAY)
            .three_break(&[Fenced]),
        few(fail("fail, eviction"), Evict)
            .two_break(&[StaleRefused, Agree, AtMostOnce, StaysFinished])
            .two_break(STRAY)
            .three_break(&[Fenced]),
        few(rerun("rerun, failover"), Failover)
            .two_break(&[
                OneOwner,
                TokensGrow,
                StaleRefused,
                Fenced,
                Agree,
                StaysFinished,
            ])
            .two_break(STRAY),
        few(fail("fail, failover"), Failover)
            .two_break(&[
                OneOwner,
                TokensGrow,
                StaleRefused,
                Fenced,
                Agree,
                AtMostOnce,
                StaysFinished,
            ])
            .two_break(STRAY),
        row(fail("fail, claims name nothing")
            .faults(faults, USUAL)
            .one_step())
        .two_break(&[LostStarted, GrantedToSomebody])
        .three_break(&[StaysFinished]),
    ]
}

/// Broken protocols, each with the guarantee that notices it.
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
        (
            near(rerun(2, USUAL)).broken(Broken::NearUnrecorded),
            Claim::Agree,
        ),
        (
            near(second_payload(rerun(0, USUAL))).broken(Broken::NearWithoutPayload),
            Claim::OwnPayload,
        ),
        (
            near(rerun(1, NEAR)).broken(Broken::NearNotForgotten),
            Claim::Agree,
        ),
        (
            near(rerun(1, NEAR)).broken(Broken::NearOutlives),
            Claim::Agree,
        ),
        (rerun(2, ENDS).broken(Broken::NoGrace), Claim::StaysFinished),
        (
            rerun(2, ENDS).broken(Broken::TokenByTime),
            Claim::TokensGrow,
        ),
        (
            fail(2, ENDS).broken(Broken::RenewRevives),
            Claim::StaysFinished,
        ),
    ]
}
