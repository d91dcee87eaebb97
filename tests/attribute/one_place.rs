//! One place in the code can be many operations: a generic function, a default method, a macro.
//! None of them ever gets another's result.

use std::{future::Future, pin::Pin};

use idempotent_fn::{Error, SharedStore, idempotent, operation, store::MemoryStore, with_store};

trait Kind: Send + 'static {
    const SCOPE: &'static str;
    const NAME: &'static str;
}

struct Card;

struct Bank;

impl Kind for Card {
    const SCOPE: &'static str = "one_place.card";
    const NAME: &'static str = "card";
}

impl Kind for Bank {
    const SCOPE: &'static str = "one_place.bank";
    const NAME: &'static str = "bank";
}

type Answer = Result<String, Error>;

/// The first operation answers `first`, twice; the second is refused, in words that help, and does
/// not disturb the first.
async fn assert_second_refused<F: Future<Output = Answer>, S: Future<Output = Answer>>(
    first: impl Fn() -> F,
    second: impl Fn() -> S,
    names: [&str; 2],
) {
    let store = SharedStore::new(MemoryStore::new());
    with_store(store, async {
        let answer = first().await.unwrap();
        let refused = second().await.unwrap_err();
        assert!(matches!(refused, Error::Config { .. }), "{refused}");
        let text = refused.to_string();
        for name in names {
            assert!(text.contains(name), "{text}");
        }
        assert!(text.contains("`scope = K::SCOPE`"), "{text}");
        assert!(text.contains("a part of its key"), "{text}");
        assert_eq!(first().await.unwrap(), answer);
        assert!(second().await.is_err());
    })
    .await;
}

/// Both run, each once, and each replays its own result.
async fn assert_both_run<F: Future<Output = Answer>, S: Future<Output = Answer>>(
    first: impl Fn() -> F,
    second: impl Fn() -> S,
) {
    let store = SharedStore::new(MemoryStore::new());
    with_store(store, async {
        for _ in 0..2 {
            assert_eq!(first().await.unwrap(), "card");
            assert_eq!(second().await.unwrap(), "bank");
        }
    })
    .await;
}

#[tokio::test]
async fn the_second_type_of_a_generic_impl_is_refused() {
    struct Payments<K>(std::marker::PhantomData<K>);

    impl<K: Kind> Payments<K> {
        #[idempotent(key = order)]
        async fn charge(order: u64) -> Answer {
            Ok(format!("{} {order}", K::NAME))
        }
    }

    assert_second_refused(
        || Payments::<Card>::charge(1),
        || Payments::<Bank>::charge(1),
        [
            "Payments<attribute::one_place::Card>",
            "Payments<attribute::one_place::Bank>",
        ],
    )
    .await;
}

#[tokio::test]
async fn the_second_type_of_a_generic_function_is_refused() {
    #[idempotent(scope = "one_place.generic", key = order)]
    async fn charge<K: Kind>(order: u64) -> Answer {
        Ok(format!("{} {order}", K::NAME))
    }

    assert_second_refused(
        || charge::<Card>(1),
        || charge::<Bank>(1),
        [
            "charge<attribute::one_place::Card>",
            "charge<attribute::one_place::Bank>",
        ],
    )
    .await;
}

#[tokio::test]
async fn the_second_value_of_a_const_parameter_is_refused() {
    #[idempotent(scope = "one_place.const", key = order)]
    async fn charge<const N: usize>(order: u64) -> Answer {
        Ok(format!("{N} {order}"))
    }

    assert_second_refused(
        || charge::<1>(1),
        || charge::<2>(1),
        ["charge<1>", "charge<2>"],
    )
    .await;
}

#[tokio::test]
async fn the_second_type_of_an_unnamed_parameter_is_refused() {
    #[idempotent(scope = "one_place.impl_trait", key = order)]
    async fn charge(order: impl std::fmt::Display + Send + 'static) -> Answer {
        Ok(order.to_string())
    }

    assert_second_refused(
        || charge(1_u64),
        || charge("1"),
        ["charge<u64>", "charge<&str>"],
    )
    .await;
}

#[tokio::test]
async fn the_second_type_with_a_default_method_is_refused() {
    trait Payments: Kind {
        #[idempotent(scope = "one_place.default", key = order)]
        async fn charge(order: u64) -> Answer {
            Ok(format!("{} {order}", Self::NAME))
        }
    }

    impl Payments for Card {}
    impl Payments for Bank {}

    assert_second_refused(
        || <Card as Payments>::charge(1),
        || <Bank as Payments>::charge(1),
        [
            "attribute::one_place::Card as",
            "attribute::one_place::Bank as",
        ],
    )
    .await;
}

#[tokio::test]
async fn the_second_type_of_a_macro_is_refused() {
    struct CardPayments;
    struct BankPayments;

    macro_rules! payments {
        ($($ty:ident => $name:literal),*) => {$(
            impl $ty {
                #[idempotent(scope = "one_place.types", key = order)]
                async fn charge(order: u64) -> Answer {
                    Ok(format!("{} {order}", $name))
                }
            }
        )*};
    }

    payments!(CardPayments => "card", BankPayments => "bank");

    assert_second_refused(
        || CardPayments::charge(1),
        || BankPayments::charge(1),
        ["CardPayments", "BankPayments"],
    )
    .await;
}

#[tokio::test]
async fn the_second_function_of_a_macro_is_refused() {
    macro_rules! functions {
        ($($name:ident),*) => {$(
            #[idempotent(scope = "one_place.macro", key = order)]
            async fn $name(order: u64) -> Answer {
                Ok(format!("{} {order}", stringify!($name)))
            }
        )*};
    }

    functions!(charge_card, charge_bank);

    assert_second_refused(
        || charge_card(1),
        || charge_bank(1),
        ["charge_card", "charge_bank"],
    )
    .await;
}

#[tokio::test]
async fn the_second_type_is_refused_where_the_body_is_attached_or_boxed() {
    #[idempotent(scope = "one_place.attached", key = order, detach = false)]
    async fn attached<K: Kind>(order: &u64) -> Answer {
        Ok(format!("{} {order}", K::NAME))
    }

    #[idempotent(scope = "one_place.boxed", key = order)]
    fn boxed<K: Kind>(order: u64) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        Box::pin(async move { Ok(format!("{} {order}", K::NAME)) })
    }

    assert_second_refused(
        || attached::<Card>(&1),
        || attached::<Bank>(&1),
        ["Card", "Bank"],
    )
    .await;
    assert_second_refused(|| boxed::<Card>(1), || boxed::<Bank>(1), ["Card", "Bank"]).await;
}

#[tokio::test]
async fn each_type_may_bring_a_scope_of_its_own() {
    #[idempotent(scope = K::SCOPE, key = order)]
    async fn charge<K: Kind>(order: u64) -> Answer {
        let _ = order;
        Ok(K::NAME.to_owned())
    }

    assert_both_run(|| charge::<Card>(1), || charge::<Bank>(1)).await;
}

#[tokio::test]
async fn what_differs_may_be_a_part_of_the_key_of_a_function_without_type_parameters() {
    async fn charge<K: Kind>(order: u64) -> Answer {
        charge_kind(K::NAME, order).await
    }

    #[idempotent(key = (kind, order))]
    async fn charge_kind(kind: &'static str, order: u64) -> Answer {
        let _ = order;
        Ok(kind.to_owned())
    }

    assert_both_run(|| charge::<Card>(1), || charge::<Bank>(1)).await;
}

#[tokio::test]
async fn one_type_is_one_operation_wherever_it_is_called() {
    #[idempotent(scope = "one_place.two_callers", key = order)]
    async fn charge<K: Kind>(order: u64) -> Answer {
        Ok(format!("{} {order}", K::NAME))
    }

    async fn here() -> Answer {
        charge::<Card>(1).await
    }

    let store = SharedStore::new(MemoryStore::new());
    let there = with_store(store.clone(), async { charge::<Card>(1).await });
    assert_eq!(there.await.unwrap(), "card 1");
    assert_eq!(with_store(store.clone(), here()).await.unwrap(), "card 1");
    let spawned = tokio::spawn(with_store(store, charge::<Card>(1)));
    assert_eq!(spawned.await.unwrap().unwrap(), "card 1");
}

#[tokio::test]
async fn calls_by_hand_may_share_a_scope() {
    let store = SharedStore::new(MemoryStore::new());
    let call = |answer: &'static str| {
        let operation = operation::<Answer, _>("one_place.by_hand", &[&1]).store(&store);
        operation.run(async move { Ok(answer.to_owned()) })
    };
    assert_eq!(call("first").await.unwrap(), "first");
    let operation = operation::<Answer, _>("one_place.by_hand", &[&1]).store(&store);
    let second = operation.run(async { Ok("second".to_owned()) });
    assert_eq!(second.await.unwrap(), "first");
}

#[tokio::test]
async fn a_call_by_hand_may_keep_its_scope_for_itself() {
    async fn call<K: Kind>(store: &SharedStore) -> Answer {
        let operation = operation::<Answer, _>("one_place.by_hand_unique", &[&1])
            .store(store)
            .unique_scope();
        operation.run(async { Ok(K::NAME.to_owned()) }).await
    }

    let store = SharedStore::new(MemoryStore::new());
    assert_eq!(call::<Card>(&store).await.unwrap(), "card");
    assert!(matches!(
        call::<Bank>(&store).await,
        Err(Error::Config { .. })
    ));
    assert_eq!(call::<Card>(&store).await.unwrap(), "card");
}

/// Closures of one function have one name, and so have types that are declared in its blocks: names
/// are no identity.
#[tokio::test]
async fn types_of_one_name_are_told_apart() {
    #[idempotent(scope = "one_place.one_name", key = order)]
    async fn charge<M: Fn() -> &'static str + Send + 'static>(order: u64, method: M) -> Answer {
        Ok(method().to_owned())
    }

    #[idempotent(scope = "one_place.one_name_attached", key = order, detach = false)]
    async fn attached<M: Fn() -> &'static str>(order: u64, method: &M) -> Answer {
        Ok(method().to_owned())
    }

    #[idempotent(scope = "one_place.local_type", key = order)]
    async fn local<K: Kind>(order: u64, _kind: K) -> Answer {
        Ok(K::NAME.to_owned())
    }

    macro_rules! local {
        ($name:literal) => {{
            struct Local;
            impl Kind for Local {
                const SCOPE: &'static str = "unused";
                const NAME: &'static str = $name;
            }
            local(1, Local)
        }};
    }
    let names = ["charge", "charge"];
    assert_second_refused(|| charge(1, || "card"), || charge(1, || "bank"), names).await;
    let (card, bank) = (|| "card", || "bank");
    let names = ["attached", "attached"];
    assert_second_refused(|| attached(1, &card), || attached(1, &bank), names).await;

    assert_second_refused(|| local!("card"), || local!("bank"), ["local", "local"]).await;
}
