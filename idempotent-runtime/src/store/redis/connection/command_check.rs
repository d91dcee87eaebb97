//! Tries every command of the flow at connect, on a key of its own. Otherwise a server that allows
//! a claim but not a finish would show only after the effect.

use std::{fmt::Write, time::Duration};

use redis::{Cmd, Pipeline, Value};

use crate::{
    OnCrash, StoreError, StoreErrorKind,
    record::{MAX_LEASE, Nonce, Record},
    store::{
        ClaimRequest,
        protocol::{self, MAX_LEASE_GROWTH},
        redis::{
            error::server_text::{self, Meaning, Right},
            scripts::{self, Argument, PREFIX, Script},
        },
    },
};

/// The beginning of a trial's key. No record's key begins like this: a scope is never empty, and
/// `|` is escaped in it.
const KEY_PREFIX: &str = "|trial";

/// How long a trial's key lives if the trial is cut short.
const TRIAL_TTL: Duration = Duration::from_secs(60);

/// What one command of the trial tests.
#[derive(Clone, Copy)]
enum Tried {
    Command(&'static str),
    Script(&'static Script),
    /// Waiters poll without it.
    Publish,
}

/// One connection's trial, or one node's.
pub(crate) struct Trial {
    key: String,
    commands: Vec<(Tried, Cmd)>,
}

/// The findings in the answers.
#[derive(Debug, Default)]
struct Findings {
    forbidden: Vec<Right>,
    unknown: Vec<&'static str>,
    /// Rights that are missing only within a script.
    within: Vec<Right>,
    fails: bool,
    mute: bool,
    unloaded: Vec<usize>,
}

impl Trial {
    /// `tag` places the key in a slot of the tried cluster node.
    pub(crate) fn new(publish: &'static [u8], tag: Option<u32>) -> Self {
        let mut key = format!("{PREFIX}{KEY_PREFIX}");
        // Writing into a string cannot fail. Without randomness two trials may share a key, and
        // both still work.
        if let Some(tag) = tag {
            let _ = write!(key, "{{{tag}}}");
        }
        if let Ok(nonce) = Nonce::random() {
            let _ = write!(key, "|{:032x}", u128::from_be_bytes(*nonce.as_bytes()));
        }
        let mut trial = Self {
            key,
            commands: Vec::new(),
        };
        trial.native();
        trial.scripts(publish);
        // This deletes the key.
        trial.command("PEXPIRE", &[b"0"]);
        let publish = if publish == b"SPUBLISH" {
            "SPUBLISH"
        } else {
            "PUBLISH"
        };
        let mut told = redis::cmd(publish);
        told.arg(&trial.key).arg("");
        trial.commands.push((Tried::Publish, told));
        trial
    }

    fn command(&mut self, name: &'static str, arguments: &[&[u8]]) {
        let mut command = redis::cmd(name);
        command.arg(&self.key).arg(arguments);
        self.commands.push((Tried::Command(name), command));
    }

    fn native(&mut self) {
        let brief = TRIAL_TTL.as_millis().to_string();
        let record = trial_record(b"idempotent-trial").encode();
        let set: [&[u8]; 5] = [&record, b"NX", b"GET", b"PX", brief.as_bytes()];
        self.command("SET", &set);
        self.command("GET", &[]);
        self.command("PTTL", &[]);
        self.commands
            .push((Tried::Command("TIME"), redis::cmd("TIME")));
    }

    /// Runs each script so that it uses every command it can. The last one deletes the key, in case
    /// the rest is cut off.
    fn scripts(&mut self, publish: &'static [u8]) {
        let (first, second) = (
            trial_record(b"idempotent-trial"),
            trial_record(b"IDEMPOTENT-TRIAL"),
        );
        let replacement = protocol::released(&trial_record(b"idempotent-decid"));
        let overrule = [
            Argument::Bytes(&scripts::seen_argument(&first)),
            Argument::Bytes(&replacement.encode()),
            Argument::Millis(TRIAL_TTL),
            Argument::Bytes(publish),
            Argument::Millis(TRIAL_TTL),
        ];
        self.script(&scripts::OVERRULE, &overrule);
        let taken = second.encode();
        let takeover = [
            Argument::Bytes(&scripts::seen_argument(&replacement)),
            Argument::Bytes(&taken),
            Argument::Millis(MAX_LEASE),
            Argument::Number(MAX_LEASE_GROWTH),
            Argument::Number(1),
        ];
        self.script(&scripts::TAKEOVER, &takeover);
        self.script(&scripts::RENEW, &[Argument::Bytes(&taken)]);
        self.script(&scripts::READ, &[]);
        let by_code = scripts::READ.by_code(&self.key, &[]);
        self.commands.push((Tried::Command("EVAL"), by_code));
        let finish = [
            Argument::Bytes(&protocol::released(&second).encode()),
            Argument::Millis(Duration::from_millis(1)),
            Argument::Bytes(publish),
            Argument::Bytes(&taken),
            Argument::Number(1),
        ];
        self.script(&scripts::FINISH, &finish);
    }

    fn script(&mut self, script: &'static Script, arguments: &[Argument<'_>]) {
        let by_hash = script.by_hash(&self.key, arguments);
        self.commands.push((Tried::Script(script), by_hash));
    }

    /// Appends the trial's commands to the other questions.
    pub(crate) fn ask(&self, questions: &mut Pipeline) {
        for (_, command) in &self.commands {
            questions.add_command(command.clone());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.commands.len()
    }

    /// The same trial with the texts of scripts whose hash the server did not know: a user who may
    /// not load scripts sends each text at its first use. `None` if the trial is complete.
    pub(crate) fn with_script_texts(&self, answers: &[Value]) -> Option<Self> {
        let unloaded = self.findings(answers).unloaded;
        if unloaded.is_empty() {
            return None;
        }
        let mut commands = self.commands.clone();
        for index in unloaded {
            let (tried, command) = &mut commands[index];
            if let Tried::Script(script) = tried {
                *command = script.instead_of_hash(command);
            }
        }
        Some(Self {
            key: self.key.clone(),
            commands,
        })
    }

    fn findings(&self, answers: &[Value]) -> Findings {
        let mut found = Findings::default();
        for (index, ((tried, _), answer)) in self.commands.iter().zip(answers).enumerate() {
            let Value::ServerError(error) = answer else {
                continue;
            };
            match (*tried, server_text::meaning(error)) {
                (Tried::Publish, Meaning::Forbidden(_) | Meaning::UnknownCommand) => {
                    found.mute = true;
                }
                (Tried::Command(name), Meaning::Forbidden(Right::Command(_))) => {
                    found.forbidden.push(Right::Command(Some(name)));
                }
                (Tried::Command(_), Meaning::Forbidden(right)) => found.forbidden.push(right),
                (Tried::Script(_), Meaning::Forbidden(right)) => {
                    // `NOPERM` outside of a script refuses `EVALSHA` itself, not a command within.
                    let outside = error.code() == "NOPERM";
                    let right = if outside && matches!(right, Right::Command(_)) {
                        Right::Command(Some("EVALSHA"))
                    } else {
                        right
                    };
                    let list = if outside {
                        &mut found.forbidden
                    } else {
                        &mut found.within
                    };
                    list.push(right);
                }
                (Tried::Command(name), Meaning::UnknownCommand) => found.unknown.push(name),
                (Tried::Script(_), Meaning::UnknownCommand) => {
                    let within = error
                        .details()
                        .is_some_and(|text| text.contains("from script"));
                    if within {
                        found.fails = true;
                    } else {
                        found.unknown.push("EVALSHA");
                    }
                }
                (Tried::Script(_) | Tried::Command("EVAL"), Meaning::ScriptFailed) => {
                    found.fails = true;
                }
                (Tried::Script(_), _) if error.code() == "NOSCRIPT" => found.unloaded.push(index),
                // A temporary refusal means that the right exists: servers check rights first.
                _ => {}
            }
        }
        found
    }

    /// Fails if the setup would keep a call from finishing.
    pub(crate) fn judge(&self, answers: &[Value], server_name: &str) -> Result<(), StoreError> {
        let found = self.findings(answers);
        let problem = if !found.forbidden.is_empty() {
            Some(forbidden(&found.forbidden))
        } else if !found.unknown.is_empty() {
            Some(unknown(&found.unknown))
        } else if !found.within.is_empty() {
            Some(forbidden(&found.within))
        } else if found.fails {
            Some(
                "it does not run the store's scripts as Redis 7 and Valkey do; is it another server, or a proxy?"
                    .to_owned(),
            )
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(StoreError::new(
                StoreErrorKind::Config,
                format!("{server_name} cannot keep records: {problem}"),
            ));
        }
        if found.mute {
            crate::store::warning::warn(&format!(
                "{server_name} does not let this user publish (ACL without `+publish`, or `+spublish` in a cluster, or \
                 `&idempotent:*`); waiters poll"
            ));
        }
        Ok(())
    }
}

fn forbidden(rights: &[Right]) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut grants: Vec<String> = Vec::new();
    for right in rights {
        let name = match right {
            Right::Command(Some(command)) => (*command).to_owned(),
            Right::Command(None) => "a command within scripts".to_owned(),
            Right::Key => "keys under `idempotent:`".to_owned(),
            Right::Channel => "channels under `idempotent:`".to_owned(),
        };
        let grant = server_text::grant(*right);
        if !names.contains(&name) {
            names.push(name);
            grants.push(grant);
        }
    }
    format!(
        "its ACL user may not use {}; grant {} (`RedisStore` documents all rules)",
        names.join(", "),
        grants.join(" ")
    )
}

fn unknown(commands: &[&'static str]) -> String {
    let mut commands = commands.to_vec();
    commands.dedup();
    format!(
        "it does not know {}, which the store needs; take it out of `rename-command`, or use a service that has it",
        commands.join(", ")
    )
}

/// A running record whose bytes are all ASCII: a server repeats the arguments of an unknown
/// command, and its error must be readable UTF-8.
fn trial_record(name: &[u8; 16]) -> Record {
    let request = ClaimRequest {
        nonce: Nonce::from_bytes(*name),
        lease: Duration::from_millis(1),
        on_crash: OnCrash::Rerun,
        fingerprint: None,
        ttl: Duration::from_millis(1),
        owner: None,
        trace: None,
    };
    Record {
        token: 1,
        ..request.record()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes of an unknown command's arguments a server repeats.
    const REPEATED: usize = 128;

    #[test]
    fn a_server_repeats_nothing_of_a_trial_that_is_not_utf8() {
        for tag in [None, Some(7)] {
            let trial = Trial::new(b"PUBLISH", tag);
            assert!(trial.key.starts_with("idempotent:|trial"));
            for (_, command) in &trial.commands {
                for argument in command.args_iter() {
                    let redis::Arg::Simple(bytes) = argument else {
                        panic!("a cursor")
                    };
                    let repeated = &bytes[..bytes.len().min(REPEATED)];
                    assert!(std::str::from_utf8(repeated).is_ok(), "{repeated:?}");
                }
            }
        }
    }
}
