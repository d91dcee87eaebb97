//! `examples/shop`: its server, and its page in a browser.

#[allow(dead_code, reason = "its `main` is not the test's")]
#[path = "../../examples/shop/main.rs"]
mod shop;

mod browser;
mod page;

use std::{net::SocketAddr, sync::Once, time::Duration};

use idempotent_fn::{SharedStore, install, store::MemoryStore};
use reqwest::{Response, StatusCode};
use serde_json::json;
use shop::{Receipt, Shop, app};

/// A shop on a port of its own, and its books. All keep their records in one memory, as the
/// customers' names differ.
async fn open(bank: Duration) -> (SocketAddr, Shop) {
    static DEFAULT: Once = Once::new();
    let memory = || SharedStore::new(MemoryStore::new());
    DEFAULT.call_once(|| install(memory()).expect("no default store yet"));
    let shop = Shop::new(bank);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app(shop.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, shop)
}

fn post(address: SocketAddr, path: &str, customer: &str, key: &str) -> reqwest::RequestBuilder {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://{address}{path}"));
    request
        .header("X-Customer", customer.to_owned())
        .header("Idempotency-Key", key.to_owned())
}

fn is_replay(response: &Response) -> bool {
    response.headers().contains_key("idempotent-replayed")
}

#[tokio::test]
async fn a_double_click_is_one_order() {
    let (address, shop) = open(Duration::from_millis(20)).await;
    let pay = || {
        let cart = json!({ "counts": [2, 0, 1] });
        post(address, "/pay", "double", "k").json(&cart).send()
    };
    let (one, two) = tokio::join!(pay(), pay());
    let mut receipts = Vec::new();
    let mut replays = 0;
    for response in [one.unwrap(), two.unwrap()] {
        assert_eq!(response.status(), StatusCode::CREATED);
        replays += usize::from(is_replay(&response));
        receipts.push(response.json::<Receipt>().await.unwrap());
    }
    assert_eq!(replays, 1);
    assert_eq!((receipts[0].number, receipts[0].cents), (1, 4100));
    assert_eq!(receipts[0].number, receipts[1].number);
    assert_eq!(shop.moved(), (1, 0));
}

#[tokio::test]
async fn a_lost_answer_is_given_again() {
    let (address, shop) = open(Duration::ZERO).await;
    let pay = || {
        let cart = json!({ "counts": [1, 0, 0] });
        post(address, "/pay", "lost", "k").json(&cart)
    };
    let lost = pay().header("X-Lose-Answer", "1").send().await;
    if let Ok(lost) = lost {
        assert!(lost.bytes().await.is_err(), "it is lost");
    }
    let again = pay().send().await.unwrap();
    assert_eq!(
        (again.status(), is_replay(&again)),
        (StatusCode::CREATED, true)
    );
    assert_eq!(shop.moved(), (1, 0));
    let other = json!({ "counts": [1, 1, 0] });
    let other = post(address, "/pay", "lost", "k").json(&other);
    let refused = other.send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(shop.moved(), (1, 0));
}

#[tokio::test]
async fn a_refund_happens_once_and_to_its_customer() {
    let (address, shop) = open(Duration::ZERO).await;
    let cart = json!({ "counts": [1, 0, 0] });
    let paid = post(address, "/pay", "refunded", "k").json(&cart).send();
    assert_eq!(paid.await.unwrap().status(), StatusCode::CREATED);
    let refund = |customer| post(address, "/orders/1/refund", customer, "r").send();
    let status = async |customer| refund(customer).await.unwrap().status();
    assert_eq!(status("somebody").await, StatusCode::NOT_FOUND);
    for _ in 0..3 {
        assert_eq!(status("refunded").await, StatusCode::OK);
    }
    assert_eq!(shop.moved(), (1, 1));
    // Without a key nothing is refunded, without a name nothing is asked.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let bare = client.post(format!("http://{address}/orders/1/refund"));
    assert_eq!(bare.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(status("").await, StatusCode::UNAUTHORIZED);
}

/// What a browser asks before it lets a page of another origin pay.
#[tokio::test]
async fn another_origin_may_send_a_key_and_see_a_replay() {
    let (address, shop) = open(Duration::ZERO).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(reqwest::Method::OPTIONS, format!("http://{address}/pay"));
    let answer = request.send().await.unwrap();
    let allowed = answer.headers()["access-control-allow-headers"]
        .to_str()
        .unwrap();
    for name in ["idempotency-key", "content-type", "x-customer"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    let shown = answer.headers()["access-control-expose-headers"]
        .to_str()
        .unwrap();
    assert!(
        shown.contains("idempotent-replayed") && shown.contains("retry-after"),
        "{shown}"
    );
    assert_eq!(shop.moved(), (0, 0));
}
