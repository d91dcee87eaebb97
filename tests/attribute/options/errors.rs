//! `on_err`, `on_crash` and `map_err`.

use super::*;

#[tokio::test]
async fn an_err_means_what_on_err_says() {
    #[idempotent(key = ONE)]
    async fn by_default() -> Result<u64, Declined> {
        Err(Declined::Card(fresh()))
    }

    #[idempotent(key = ONE, on_err = record)]
    async fn record() -> Result<u64, Declined> {
        Err(Declined::Card(fresh()))
    }

    #[idempotent(key = ONE, on_err = fail)]
    async fn fail() -> Result<u64, Declined> {
        Err(Declined::Card(fresh()))
    }

    on_memory();
    assert_ne!(by_default().await, by_default().await);
    assert_eq!(record().await, record().await);
    assert!(matches!(fail().await, Err(Declined::Card(_))));
    assert_eq!(fail().await, Err(Declined::Library("indeterminate".into())));
}

#[tokio::test]
async fn an_err_can_be_looked_at() {
    #[idempotent(key = card, on_err = |error| match error {
        Declined::Card(_) => OnErr::Record,
        _ => OnErr::Rerun,
    })]
    async fn closure(card: bool) -> Result<u64, Declined> {
        Err(if card {
            Declined::Card(fresh())
        } else {
            Declined::Network(fresh())
        })
    }

    #[idempotent(key = card, on_err = policy)]
    async fn function(card: bool) -> Result<u64, Declined> {
        Err(if card {
            Declined::Card(fresh())
        } else {
            Declined::Network(fresh())
        })
    }

    fn policy(error: &Declined) -> OnErr {
        match error {
            Declined::Card(_) => OnErr::Fail,
            _ => OnErr::Rerun,
        }
    }

    on_memory();
    assert_eq!(closure(true).await, closure(true).await);
    assert_ne!(closure(false).await, closure(false).await);
    assert!(matches!(function(true).await, Err(Declined::Card(_))));
    assert_eq!(
        function(true).await,
        Err(Declined::Library("indeterminate".into()))
    );
    assert_ne!(function(false).await, function(false).await);
}

#[tokio::test]
async fn a_closure_that_never_records_asks_nothing_of_the_error() {
    /// Has no serde.
    #[derive(Debug)]
    struct Opaque(u64);

    impl From<Error> for Opaque {
        fn from(_: Error) -> Self {
            Self(0)
        }
    }

    #[idempotent(key = ONE, on_err = |_| RerunOrFail::Rerun)]
    async fn opaque() -> Result<u64, Opaque> {
        Err(Opaque(fresh()))
    }

    #[idempotent(key = ONE, on_err = in_doubt)]
    async fn by_function() -> Result<u64, Opaque> {
        Err(Opaque(fresh()))
    }

    fn in_doubt(error: &Opaque) -> RerunOrFail {
        let _: u64 = error.0;
        RerunOrFail::Fail
    }

    on_memory();
    let first = opaque().await.unwrap_err();
    assert_ne!(opaque().await.unwrap_err().0, first.0, "it runs again");
    assert_ne!(by_function().await.unwrap_err().0, 0);
    assert_eq!(by_function().await.unwrap_err().0, 0, "it is in doubt");
}

#[tokio::test]
async fn what_a_closure_answers_decides_and_not_the_words_in_it() {
    fn classify(error: &Declined, otherwise: OnErr) -> OnErr {
        match error {
            Declined::Card(_) => OnErr::Record,
            _ => otherwise,
        }
    }

    #[idempotent(key = card, on_err = |error| classify(error, OnErr::Rerun))]
    async fn elsewhere(card: bool) -> Result<u64, Declined> {
        Err(if card {
            Declined::Card(fresh())
        } else {
            Declined::Network(fresh())
        })
    }

    #[idempotent(key = ONE, on_err = |error| {
        // Record: not here.
        let is_network = matches!(error, Declined::Network(_));
        if is_network { RerunOrFail::Rerun } else { RerunOrFail::Fail }
    })]
    async fn never_records() -> Result<u64, Declined> {
        Err(Declined::Network(fresh()))
    }

    on_memory();
    assert_eq!(elsewhere(true).await, elsewhere(true).await);
    assert_ne!(elsewhere(false).await, elsewhere(false).await);
    assert_ne!(never_records().await, never_records().await);
}

#[tokio::test]
async fn under_on_crash_fail_an_err_is_in_doubt_unless_it_is_said_otherwise() {
    #[idempotent(key = ONE, on_crash = fail)]
    async fn in_doubt() -> Result<u64, Declined> {
        Err(Declined::Network(fresh()))
    }

    #[idempotent(key = ONE, on_crash = fail, on_err = rerun)]
    async fn nothing_happened() -> Result<u64, Declined> {
        Err(Declined::Network(fresh()))
    }

    on_memory();
    assert!(matches!(in_doubt().await, Err(Declined::Network(_))));
    assert_eq!(
        in_doubt().await,
        Err(Declined::Library("indeterminate".into()))
    );
    assert_ne!(nothing_happened().await, nothing_happened().await);
}

#[tokio::test]
async fn our_error_becomes_the_functions() {
    #[idempotent(key = id, map_err = |error| format!("{prefix}: {error}"))]
    async fn closure(id: &'static str, prefix: &'static str) -> Result<u64, String> {
        Ok(fresh())
    }

    #[idempotent(key = id, map_err = Some)]
    async fn function(id: &'static str) -> Result<u64, Option<Error>> {
        Ok(fresh())
    }

    #[idempotent(key = id)]
    async fn boxed(id: &'static str) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        Ok(fresh())
    }

    on_memory();
    let text = closure("", "refused").await.unwrap_err();
    assert!(text.starts_with("refused: "), "{text}");
    let ours = function("").await.unwrap_err();
    assert!(matches!(ours, Some(Error::InvalidKey { .. })));
    assert!(boxed("").await.unwrap_err().is::<Error>());
}
