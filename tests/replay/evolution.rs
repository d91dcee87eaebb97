//! A result outlives the code that wrote it: after a deploy it decodes to the same value, or is a
//! clear error.

use std::{collections::BTreeMap, fmt::Debug};

use idempotent_fn::{Error, SharedStore, operation, store::MemoryStore};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Records `old`, and replays it to a function that returns `New` by now.
async fn replayed<Old, New>(old: Old) -> Result<New, Error>
where
    Old: Serialize + DeserializeOwned + Send + 'static,
    New: Serialize + DeserializeOwned + Send + 'static,
{
    let store = SharedStore::new(MemoryStore::new());
    let before = operation::<Result<Old, Error>, _>("evolution", &[&"k"]);
    before
        .store(&store)
        .run(async { Ok(old) })
        .await
        .map(drop)?;
    let after = operation::<Result<New, Error>, _>("evolution", &[&"k"]);
    after
        .store(&store)
        .run(async { panic!("the body ran") })
        .await
}

async fn is<Old, New>(old: Old, new: New)
where
    Old: Serialize + DeserializeOwned + Send + 'static,
    New: Serialize + DeserializeOwned + PartialEq + Debug + Send + 'static,
{
    assert_eq!(replayed::<Old, New>(old).await.expect("it reads"), new);
}

async fn is_incompatible<Old, New>(old: Old)
where
    Old: Serialize + DeserializeOwned + Send + 'static,
    New: Serialize + DeserializeOwned + Debug + Send + 'static,
{
    let error = replayed::<Old, New>(old)
        .await
        .expect_err("it does not read");
    assert!(matches!(error, Error::Incompatible { .. }), "{error:?}");
}

macro_rules! types {
    ($($(#[$meta:meta])* $kind:ident $name:ident { $($body:tt)* })*) => {
        $(#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)] $(#[$meta])* $kind $name { $($body)* })*
    };
}

types! {
    struct Receipt { id: String, net: u64, tax: u64, note: Option<String> }
    struct Reordered { tax: u64, note: Option<String>, net: u64, id: String }
    struct Grown { id: String, #[serde(default)] currency: String, net: u64, tax: u64 }
    struct GrownOption { id: String, currency: Option<String> }
    struct GrownHard { id: String, currency: String }
    struct Renamed { id: String, #[serde(alias = "net")] amount: u64 }
    struct Skipping { #[serde(skip_serializing_if = "Option::is_none")] first: Option<u64>, second: u64, third: u64 }
    struct Skipped { #[serde(skip, default)] cache: u64, second: u64, third: u64 }
    struct Flat { #[serde(flatten)] rest: BTreeMap<String, u64>, kept: u64 }
    struct Wide { net: u64, tax: i128 }
    struct Narrow { net: u8 }
    enum Event { Paid { by: String }, Refused(u8), Open }
    enum MoreEvents { New, Open, Refused(u8), Paid { by: String } }
    enum FewerEvents { Open }
    #[serde(tag = "kind")]
    enum Tagged { Paid { by: String }, Open }
    #[serde(untagged)]
    enum Untagged { Number(u64), Text(String), Struct { by: String } }
}

fn receipt() -> Receipt {
    Receipt {
        id: "r".to_owned(),
        net: 100,
        tax: 19,
        note: None,
    }
}

/// What positional formats read as something else, without a word.
#[tokio::test]
async fn fields_are_found_by_their_names() {
    let Receipt { id, net, tax, note } = receipt();
    is(
        receipt(),
        Reordered {
            tax,
            note,
            net,
            id: id.clone(),
        },
    )
    .await;
    is(
        receipt(),
        Grown {
            id: id.clone(),
            currency: String::new(),
            net,
            tax,
        },
    )
    .await;
    is(
        receipt(),
        GrownOption {
            id: id.clone(),
            currency: None,
        },
    )
    .await;
    is(receipt(), Renamed { id, amount: net }).await;
    is(
        receipt(),
        Wide {
            net,
            tax: tax.into(),
        },
    )
    .await;
}

#[tokio::test]
async fn what_is_left_out_shifts_nothing() {
    let skipping = Skipping {
        first: None,
        second: 2,
        third: 3,
    };
    is(skipping.clone(), skipping.clone()).await;
    is(
        skipping,
        Skipped {
            cache: 0,
            second: 2,
            third: 3,
        },
    )
    .await;
    let flat = Flat {
        rest: BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]),
        kept: 3,
    };
    is(flat.clone(), flat).await;
}

#[tokio::test]
async fn variants_are_found_by_their_names() {
    let by = "ada".to_owned();
    is(
        Event::Paid { by: by.clone() },
        MoreEvents::Paid { by: by.clone() },
    )
    .await;
    is(Event::Refused(3), MoreEvents::Refused(3)).await;
    is(Event::Open, MoreEvents::Open).await;
    for tagged in [Tagged::Open, Tagged::Paid { by: by.clone() }] {
        is(tagged.clone(), tagged).await;
    }
    for untagged in [
        Untagged::Number(1),
        Untagged::Text(by.clone()),
        Untagged::Struct { by: by.clone() },
    ] {
        is(untagged.clone(), untagged).await;
    }
    is_incompatible::<_, FewerEvents>(Event::Paid { by }).await;
}

#[tokio::test]
async fn what_does_not_fit_is_an_error() {
    is_incompatible::<_, GrownHard>(receipt()).await;
    is_incompatible::<_, Narrow>(Wide { net: 256, tax: 0 }).await;
    is_incompatible::<_, u64>(receipt()).await;
    is_incompatible::<_, Vec<u64>>(receipt()).await;
    is_incompatible::<u64, Receipt>(1).await;
}
