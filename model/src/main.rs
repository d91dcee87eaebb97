//! Prints what holds: `cargo run --release -p idempotent-model [FAULTS [NAME]]`.
//!
//! `FAULTS` is the number of faults in a run, 3 by default. With the `NAME` of a variant it checks
//! only that one, and prints the shortest way to each broken guarantee.

use std::{env, process::ExitCode};

use idempotent_model::{
    catalogue,
    history::Claim,
    variant::{Broken, Variant},
    verdict::{check, trace},
};

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let faults = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let only = arguments.next();
    let mut as_stated = true;
    println!("| variant | faults in a run | states | seconds | does not hold |");
    println!("|---|---|---|---|---|");
    for row in catalogue::rows(faults) {
        let variant = &row.variant;
        if only.as_ref().is_some_and(|only| only != variant.name) {
            continue;
        }
        let verdict = check(variant);
        as_stated &= faults < 2 || verdict.fails == row.breaks();
        println!(
            "| {} | {} of {} | {} | {:.1} | {} |",
            variant.name,
            variant.budget,
            list(variant.faults.iter().map(|fault| fault.name())),
            verdict.states,
            verdict.took.as_secs_f32(),
            list(verdict.fails.iter().map(|claim| claim.name())),
        );
        if only.is_some() {
            for &claim in &verdict.fails {
                show(variant, claim);
            }
        }
    }
    if only.is_none() {
        println!(
            "\n| broken on purpose | faults in a run | states | noticed by |\n|---|---|---|---|"
        );
        for (variant, claim) in catalogue::broken() {
            let verdict = check(&variant);
            as_stated &= verdict.fails.contains(&claim);
            // In bold: the guarantee that must notice it.
            let noticed: Vec<_> = verdict
                .fails
                .iter()
                .map(|fail| {
                    if *fail == claim {
                        format!("**{}**", fail.name())
                    } else {
                        fail.name().to_owned()
                    }
                })
                .collect();
            println!(
                "| {} | {} | {} | {} |",
                variant.broken.map_or("nothing", Broken::name),
                variant.budget,
                verdict.states,
                noticed.join(", "),
            );
        }
    }
    if as_stated {
        ExitCode::SUCCESS
    } else {
        eprintln!("not as the catalogue says");
        ExitCode::FAILURE
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return "—".to_owned();
    }
    names.join(", ")
}

fn show(variant: &Variant, claim: Claim) {
    if let Some(trace) = trace(variant, claim) {
        println!("\n{}:\n{trace}", claim.name());
    }
}
