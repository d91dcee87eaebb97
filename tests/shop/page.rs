//! The page in Chromium. `scripts/test-shop` runs this; it needs Chromium, which is large.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;

use crate::{
    browser::{Browser, Tab},
    open,
    shop::Shop,
};

const BANK: Duration = Duration::from_millis(300);
/// A bank that still works when a page has been reloaded.
const SLOW_BANK: Duration = Duration::from_secs(3);

/// One customer in front of one shop.
struct Scene {
    browser: Browser,
    customer: String,
    url: String,
    shop: Shop,
}

impl Scene {
    async fn new() -> Self {
        Self::with(BANK).await
    }

    async fn with(bank: Duration) -> Self {
        let (address, shop) = open(bank).await;
        let mut browser = Browser::start();
        let customer = browser.customer();
        let url = format!("http://{address}/");
        Self {
            browser,
            customer,
            url,
            shop,
        }
    }

    fn tab(&mut self) -> Tab {
        self.browser.open(&self.customer, &self.url)
    }

    fn click_pay(&mut self, tab: &Tab, count: u32) {
        self.browser.click(tab, "#pay", count);
    }

    /// The page shows this many orders, and the bank has charged as often.
    fn has_paid(&mut self, tab: &Tab, orders: usize) {
        let ended = "!localStorage.getItem('payment') && running === 0";
        self.browser.until(tab, ended);
        let shown = format!(
            "[...document.querySelectorAll('#orders li')].filter(it => it.innerText.startsWith('Order')).length === {orders}"
        );
        self.browser.until(tab, &shown);
        assert_eq!(self.shop.moved().0, orders);
    }

    /// What went over the line, as the page shows it.
    fn attempts(&mut self, tab: &Tab) -> Vec<String> {
        let script = "[...document.querySelectorAll('#attempts span')].map(it => it.textContent)";
        let attempts = self.browser.run(tab, script);
        let texts = attempts.as_array().unwrap().iter();
        texts.map(|it| it.as_str().unwrap().to_owned()).collect()
    }

    fn message(&mut self, tab: &Tab) -> String {
        match self
            .browser
            .run(tab, "document.getElementById('message').textContent")
        {
            Value::String(text) => text,
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-shop"]
async fn a_double_click_pays_once() {
    let mut scene = Scene::new().await;
    let tab = scene.tab();
    scene.click_pay(&tab, 2);
    scene.has_paid(&tab, 1);
    let mut attempts = scene.attempts(&tab);
    attempts.sort();
    assert_eq!(attempts, ["201", "201 replayed", "sent", "sent"]);
    assert_eq!(scene.message(&tab), "Paid: order 1, 14.50 €.");
    // A new cart is a new order.
    scene
        .browser
        .click(&tab, "#goods li:nth-child(2) button:last-child", 1);
    scene.click_pay(&tab, 1);
    scene.has_paid(&tab, 2);
    assert_eq!(scene.message(&tab), "Paid: order 2, 8.90 €.");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-shop"]
async fn a_reload_while_it_pays_finds_the_receipt() {
    let mut scene = Scene::with(SLOW_BANK).await;
    let tab = scene.tab();
    scene.click_pay(&tab, 1);
    scene.browser.until(&tab, "running === 1");
    scene.browser.reload(&tab);
    scene.browser.until(
        &tab,
        "document.querySelectorAll('#attempts span').length === 2",
    );
    scene.has_paid(&tab, 1);
    assert_eq!(scene.message(&tab), "Paid: order 1, 14.50 €.");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-shop"]
async fn a_lost_answer_is_asked_for_again() {
    let mut scene = Scene::new().await;
    let tab = scene.tab();
    scene.browser.click(&tab, "#lose", 1);
    scene.click_pay(&tab, 1);
    scene.has_paid(&tab, 1);
    let attempts = scene.attempts(&tab);
    assert_eq!(attempts, ["sent", "answer lost", "sent", "201 replayed"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-shop"]
async fn two_tabs_pay_one_cart_once() {
    let mut scene = Scene::new().await;
    let (one, two) = (scene.tab(), scene.tab());
    scene.click_pay(&one, 1);
    scene.click_pay(&two, 1);
    for tab in [&one, &two] {
        scene.has_paid(tab, 1);
    }
    // Both show the empty cart: nothing is left to be paid.
    for tab in [&one, &two] {
        scene
            .browser
            .until(tab, "document.getElementById('pay').disabled");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-shop"]
async fn a_cart_that_was_changed_under_its_key_is_refused_in_words() {
    let mut scene = Scene::with(SLOW_BANK).await;
    let tab = scene.tab();
    scene.click_pay(&tab, 1);
    scene.browser.until(&tab, "running === 1");
    // Somebody tampers with the page's state, and the page is opened anew.
    let tamper =
        "(() => { const it = saved('payment'); it.cart.counts[0] = 9; save('payment', it); })()";
    scene.browser.run(&tab, tamper);
    scene.browser.reload(&tab);
    scene.browser.until(
        &tab,
        "document.getElementById('message').className === 'bad'",
    );
    assert!(
        scene
            .message(&tab)
            .contains("used before with another request")
    );
    // The first request goes on without its page.
    let seen = "fetch('/account', { headers: { 'X-Customer': customer } }).then(it => it.json())";
    while scene.browser.run(&tab, seen)["charges"] != 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.browser.run(&tab, "refresh()");
    scene.has_paid(&tab, 1);
}

/// The page of one origin pays in the shop of another.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-shop"]
async fn another_origin_pays_once_too() {
    let mut scene = Scene::new().await;
    let (elsewhere, _) = open(BANK).await;
    let shop = scene.url.trim_end_matches('/').to_owned();
    let url = format!("http://{elsewhere}/?shop={shop}");
    let tab = scene.browser.open(&scene.customer, &url);
    scene.browser.click(&tab, "#lose", 1);
    scene.click_pay(&tab, 1);
    scene.has_paid(&tab, 1);
    // The marker is shown to scripts of the other origin.
    assert!(scene.attempts(&tab).contains(&"201 replayed".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-shop"]
async fn refunds_happen_once() {
    let mut scene = Scene::new().await;
    let tab = scene.tab();
    scene.click_pay(&tab, 1);
    scene.has_paid(&tab, 1);
    scene.browser.click(&tab, "#orders button", 2);
    scene.browser.until(
        &tab,
        "document.getElementById('orders').innerText.includes('refunded')",
    );
    assert_eq!(scene.shop.moved(), (1, 1));
}

/// Pictures for people to look at, in `SHOP_PICTURES`. Nothing is wider than its screen.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: scripts/test-shop"]
async fn the_page_fits_its_screens() {
    let mut scene = Scene::new().await;
    let tab = scene.tab();
    scene
        .browser
        .click(&tab, "#goods li:nth-child(3) button:last-child", 1);
    scene.browser.click(&tab, "#lose", 1);
    scene.click_pay(&tab, 2);
    scene.has_paid(&tab, 1);
    for (name, width, is_dark) in [
        ("desktop-light", 1280, false),
        ("desktop-dark", 1280, true),
        ("phone-light", 390, false),
        ("phone-dark", 390, true),
        // That of README.
        ("shop", 820, false),
    ] {
        let picture = scene.browser.picture(&tab, width, is_dark);
        let is_wider = scene
            .browser
            .run(&tab, "document.documentElement.scrollWidth > innerWidth");
        assert_eq!(is_wider, false, "{name}");
        if let Some(directory) = std::env::var_os("SHOP_PICTURES") {
            fs::write(
                Path::new(&directory).join(name).with_extension("png"),
                picture,
            )
            .unwrap();
        }
    }
}
