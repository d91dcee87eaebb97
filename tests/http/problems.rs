//! What is answered instead of a handler's response.

use axum::response::IntoResponse;
use idempotent_fn::{
    Error, OnCrash, OnErr,
    http::{KeySyntaxError, Problem},
    operation,
};
use std::time::Duration;

use crate::support::memory;

fn status(error: Error) -> (u16, &'static str, bool, Option<String>) {
    let problem = Problem::from(&error);
    let response = error.into_response();
    let after = response.headers().get("retry-after");
    let after = after.map(|after| after.to_str().unwrap().to_owned());
    assert_eq!(problem.status(), response.status());
    let status = response.status().as_u16();
    (status, problem.name(), problem.is_retryable(), after)
}

#[tokio::test]
async fn each_error_is_a_problem() {
    let store = memory();
    let charge = |scope| operation::<Result<u64, Error>, _>(scope, &[&"k"]).store(&store);
    let one = Some("1".to_owned());

    let holder = tokio::spawn(charge("running").run(std::future::pending()));
    while charge("running").inspect().await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    let error = charge("running").wait(Duration::ZERO).run(async { Ok(1) });
    let error = error.await.unwrap_err();
    assert_eq!(status(error), (409, "in-flight", true, one.clone()));
    holder.abort();

    charge("reused")
        .fingerprint(&1)
        .run(async { Ok(1) })
        .await
        .unwrap();
    let error = charge("reused").fingerprint(&2).run(async { Ok(1) });
    let error = error.await.unwrap_err();
    assert_eq!(status(error), (422, "key-reused", false, None));

    let doubtful = || charge("doubt").on_crash(OnCrash::Fail).on_err(OnErr::Fail);
    let stopped = || {
        doubtful()
            .timeout(Duration::from_millis(1))
            .run(std::future::pending())
    };
    let error = stopped().await.unwrap_err();
    assert_eq!(status(error), (409, "indeterminate", false, None));
    let error = stopped().await.unwrap_err();
    assert_eq!(status(error), (409, "indeterminate", false, None));

    let stopped = charge("late")
        .timeout(Duration::from_millis(1))
        .run(std::future::pending());
    let error = stopped.await.unwrap_err();
    assert_eq!(status(error), (504, "timed-out", true, one));

    let error = charge("lease").lease(Duration::ZERO).run(async { Ok(1) });
    let error = error.await.unwrap_err();
    assert_eq!(status(error), (500, "internal", false, None));

    let text = operation::<Result<String, Error>, _>("codec", &[&"k"]).store(&store);
    text.run(async { Ok("text".to_owned()) }).await.unwrap();
    let error = charge("codec").run(async { Ok(1) }).await.unwrap_err();
    assert_eq!(status(error), (500, "internal", false, None));
}

#[test]
fn a_problem_leads_to_its_documentation() {
    let problem = Problem::from(KeySyntaxError::Repeated);
    let json =
        |problem: &Problem| serde_json::from_slice::<serde_json::Value>(&problem.body()).unwrap();
    let ours = json(&problem);
    let ours = ours["type"].as_str().unwrap();
    assert!(ours.ends_with("/docs/HTTP.md#malformed-key"), "{ours}");
    let theirs = problem.with_docs("https://shop.example/api");
    assert_eq!(
        json(&theirs)["type"],
        "https://shop.example/api#malformed-key"
    );
    let link = "<https://shop.example/api#malformed-key>; rel=\"describedby\"";
    assert_eq!(theirs.headers()["link"], link);
    // What cannot stand in a header is left out there.
    let odd = Problem::from(KeySyntaxError::Empty).with_docs("https://shop.example/\n");
    assert!(!odd.headers().contains_key("link"));
}
