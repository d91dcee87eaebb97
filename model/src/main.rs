//! Prints what holds: `cargo run --release -p idempotent-model [budget [name]]`.

use std::{env, time::Instant};

use idempotent_model::{catalogue, history::Claim, variant::Variant};
use stateright::{Checker, HasDiscoveries, Model};

fn main() {
    let mut arguments = env::args().skip(1);
    let budget = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2);
    let only = arguments.next();
    for row in catalogue::rows(budget) {
        if only.as_ref().is_some_and(|only| only != row.variant.name) {
            continue;
        }
        let start = Instant::now();
        let checker = row.variant.clone().checker().threads(2).spawn_bfs().join();
        let failed: Vec<_> = Claim::ALL
            .into_iter()
            .filter(|claim| checker.discovery(claim.name()).is_some())
            .collect();
        println!(
            "{:35} {:>9} states  depth {:3} {:6.1?}  {failed:?}",
            row.variant.name,
            checker.unique_state_count(),
            checker.max_depth(),
            start.elapsed()
        );
        if only.is_some() {
            for claim in failed {
                trace(&row.variant, claim);
            }
        }
    }
    if only.is_none() || only.as_deref() == Some("broken") {
        for (variant, claim) in catalogue::broken() {
            let start = Instant::now();
            let checker = variant.clone().checker().threads(2).spawn_bfs().join();
            let failed: Vec<_> = Claim::ALL
                .into_iter()
                .filter(|claim| checker.discovery(claim.name()).is_some())
                .collect();
            println!(
                "{:?} {} states {:?}: {claim:?} {} {failed:?}",
                variant.broken,
                checker.unique_state_count(),
                start.elapsed(),
                failed.contains(&claim)
            );
        }
    }
}

fn trace(variant: &Variant, claim: Claim) {
    println!("  {}:", claim.name());
    let stop = HasDiscoveries::AnyOf([claim.name()].into_iter().collect());
    let checker = variant
        .clone()
        .checker()
        .finish_when(stop)
        .spawn_bfs()
        .join();
    for (world, action) in checker
        .discovery(claim.name())
        .into_iter()
        .flat_map(|path| path.into_vec())
    {
        if let Some(action) = action {
            println!(
                "    {:?}{:?} -> {action:?}",
                world.cell.kept.map(|kept| kept.rec),
                if world.cell.kept.is_some_and(|k| k.lapsed) {
                    " lapsed"
                } else {
                    ""
                }
            );
        } else {
            println!(
                "    {:?} {:?}",
                world.cell.kept,
                world.callers.map(|c| c.phase)
            );
        }
    }
}
