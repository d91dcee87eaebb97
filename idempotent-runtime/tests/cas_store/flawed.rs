//! Tables with one flaw each, as real ones have had. The suite must notice each.

use std::{sync::Arc, time::Duration};

use idempotent_runtime::{
    StoreError, StoreErrorKind,
    key::Key,
    store::{
        cas::{CasStore, CasTable, Loaded, Put, Swapped},
        conformance::{Loss, Subject, rules},
    },
};

use crate::{OverCas, database::Faults, table::Table};

/// What is wrong with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Nothing,
    /// It writes over a row whatever its version.
    SwapsWithoutAVersion,
    /// It writes a first row over one that came first: an "upsert".
    InsertsOverARow,
    /// Its load is eventually consistent.
    LoadsFromAReplica,
    /// No answer is taken for "not written".
    TakesNoAnswerForARefusal,
    /// No answer is taken for "written".
    TakesNoAnswerForStored,
    /// It compares keys as texts of a language.
    FoldsTheCaseOfKeys,
    /// Its column has a length, and cuts what is longer.
    CutsValues,
    /// It calls what will always be too large refused, as if that could pass.
    RefusesWhatIsTooLarge,
}

/// The largest value that the table takes.
const LIMIT: usize = 100_000;

struct Flawed {
    subject: OverCas,
    flaw: Flaw,
}

struct FlawedTable {
    table: Table,
    flaw: Flaw,
}

impl FlawedTable {
    fn named(&self, key: &Key) -> Key {
        match self.flaw {
            Flaw::FoldsTheCaseOfKeys => Key::stored(&key.as_str().to_lowercase()),
            _ => None,
        }
        .unwrap_or_else(|| key.clone())
    }
}

impl CasTable for FlawedTable {
    type Version = u64;

    async fn load(&self, key: &Key) -> Result<Loaded<u64>, StoreError> {
        self.table.load(&self.named(key)).await
    }

    async fn swap(
        &self,
        key: &Key,
        expected: Option<&u64>,
        put: &Put,
    ) -> Result<Swapped, StoreError> {
        let key = self.named(key);
        let mut put = put.clone();
        match self.flaw {
            Flaw::CutsValues => put.value.truncate(LIMIT),
            _ if put.value.len() <= LIMIT => {}
            Flaw::RefusesWhatIsTooLarge => {
                return Err(StoreError::new(StoreErrorKind::Refused, "too large"));
            }
            _ => return Err(StoreError::new(StoreErrorKind::TooLarge, "too large")),
        }
        let swapped = self.table.swap(&key, expected, &put).await;
        match (self.flaw, swapped) {
            (Flaw::TakesNoAnswerForARefusal, Err(error)) if error.is_ambiguous() => {
                Err(StoreError::new(StoreErrorKind::Refused, "not written"))
            }
            (Flaw::TakesNoAnswerForStored, Err(error)) if error.is_ambiguous() => {
                Ok(Swapped::Stored)
            }
            (_, swapped) => swapped,
        }
    }
}

impl Subject for Flawed {
    type Store = CasStore<FlawedTable>;

    async fn store(&self) -> CasStore<FlawedTable> {
        let database = self.subject.database.clone();
        *database.faults() = Faults {
            ignores_revisions: self.flaw == Flaw::SwapsWithoutAVersion,
            ignores_rows: self.flaw == Flaw::InsertsOverARow,
            replica: self.flaw == Flaw::LoadsFromAReplica,
            ..Faults::default()
        };
        let table = Table {
            database: Arc::new(database),
        };
        let flaw = self.flaw;
        CasStore::new(FlawedTable { table, flaw })
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        self.subject.elapse(key, time).await;
    }

    fn max_result(&self) -> usize {
        LIMIT - 1_000
    }

    async fn lose(&self, store: &CasStore<FlawedTable>, loss: Loss) -> bool {
        store.table().table.database.faults().loss = Some(loss);
        true
    }
}

/// Whether this rule fails on a new table with the flaw.
async fn fails(name: &str, flaw: Flaw) -> bool {
    let rule = rules().into_iter().find(|rule| rule.name() == name);
    let rule = rule.expect("a rule of the suite");
    let subject = OverCas::default();
    let run = tokio::spawn(async move { rule.check(&Flawed { subject, flaw }).await });
    run.await.is_err_and(|error| error.is_panic())
}

macro_rules! caught {
    ($($flaw:ident => $($rule:ident)+;)*) => {
        #[allow(non_snake_case, reason = "each test is named after its flaw")]
        mod flaw {
            $(
                #[tokio::test]
                async fn $flaw() {
                    for name in [$(stringify!($rule)),+] {
                        let flaw = super::Flaw::$flaw;
                        assert!(super::fails(name, flaw).await, "`{name}` does not see it");
                        let none = super::Flaw::Nothing;
                        assert!(!super::fails(name, none).await, "`{name}` sees what is not");
                    }
                }
            )*
        }
    };
}

caught! {
    SwapsWithoutAVersion => of_many_takers_one_is_granted a_finish_and_a_takeover_never_both_succeed;
    InsertsOverARow => of_many_claimers_one_is_granted;
    LoadsFromAReplica => a_first_claim_is_granted a_held_record_is_shown_as_it_stands;
    TakesNoAnswerForARefusal => a_lost_answer_is_not_guessed;
    TakesNoAnswerForStored => a_lost_answer_is_not_guessed;
    FoldsTheCaseOfKeys => keys_of_every_kind_stay_apart;
    CutsValues => results_come_back_byte_for_byte;
    RefusesWhatIsTooLarge => results_come_back_byte_for_byte;
}
