//! `chaos [--seconds N] [--seed S] [--on one|cluster|sentinel|postgres|sqlite|memory]`

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use idempotent_chaos::{
    check::check,
    conduct::{Topology, conduct},
    history::{Entry, now},
    report::{Summary, around, report},
    worker,
};

/// The number of violations shown in full.
const SHOWN: usize = 3;
/// The number of violations listed for each rule.
const NAMED: usize = 8;
const USAGE: &str =
    "chaos [--seconds N] [--seed S] [--on one|cluster|sentinel|postgres|sqlite|memory]";

struct Options {
    seconds: u64,
    seed: u64,
    on: Vec<Topology>,
}

fn options(arguments: &[String]) -> Option<Options> {
    // Any seed will do: the report names it.
    let mut options = Options {
        seconds: 40,
        seed: now(),
        on: Topology::ALL
            .into_iter()
            .filter(|on| *on != Topology::Postgres)
            .collect(),
    };
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return None };
        match &**name {
            "--seconds" => options.seconds = value.parse().ok()?,
            "--seed" => options.seed = value.parse().ok()?,
            "--on" => options.on = vec![Topology::ALL.into_iter().find(|on| on.name() == value)?],
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("worker", rest)) = arguments
        .split_first()
        .map(|(first, rest)| (&**first, rest))
    {
        worker::main(rest);
        return ExitCode::SUCCESS;
    }
    let Some(options) = options(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let mut well = true;
    for topology in &options.on {
        // Most of the time goes to the topology with the most kinds of failure.
        let share = match (topology, options.on.len()) {
            (_, 1) => 1.0,
            (Topology::One, _) => 0.45,
            (Topology::Memory, _) => 0.1,
            _ => 0.15,
        };
        let duration = Duration::from_secs(options.seconds).mul_f64(share);
        println!(
            "== {} · seed {} · {:.1} s",
            topology.name(),
            options.seed,
            duration.as_secs_f64()
        );
        let history = conduct(*topology, options.seed, duration);
        well &= judge(&history, *topology, options.seed);
    }
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn judge(history: &[Entry], topology: Topology, seed: u64) -> bool {
    let verdict = check(history);
    let summary = Summary::of(history);
    println!("{}", report(&summary, &verdict));
    for violation in verdict.violations.iter().take(SHOWN) {
        println!(
            "VIOLATION {:?}, key {:?}: {}",
            violation.rule, violation.key, violation.why
        );
        println!("{}", around(history, violation));
    }
    if verdict.violations.is_empty() {
        return true;
    }
    let mut rules = BTreeMap::<_, usize>::new();
    for violation in &verdict.violations {
        let before = rules.entry(violation.rule).or_default();
        // One fault may cause many violations.
        if *before < NAMED {
            println!(
                "VIOLATION {:?}, key {:?}: {}",
                violation.rule, violation.key, violation.why
            );
        }
        *before += 1;
    }
    println!("by rule: {rules:?}");
    println!(
        "{} violations; again with: scripts/chaos --on {} --seed {seed}",
        verdict.violations.len(),
        topology.name()
    );
    match keep(history, topology, seed) {
        Ok(path) => println!("the whole history: {path}"),
        Err(error) => println!("the history cannot be kept: {error}"),
    }
    false
}

/// Writes a history to a file.
fn keep(history: &[Entry], topology: Topology, seed: u64) -> std::io::Result<String> {
    let path =
        std::env::temp_dir().join(format!("idempotent-chaos-{}-{seed}.jsonl", topology.name()));
    let lines: Result<Vec<_>, _> = history.iter().map(serde_json::to_string).collect();
    std::fs::write(&path, lines?.join("\n") + "\n")?;
    Ok(path.display().to_string())
}
