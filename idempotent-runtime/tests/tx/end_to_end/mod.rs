//! A shop: eight processes place two thousand orders, a tenth of them twice, while processes are killed and connections are
//! ended under them. Each order is there once, and whoever was answered has its answer.
//!
//! The same shop with the record outside of the order's transaction has duplicates, or the test would show nothing.

mod clerk;
mod manager;

use self::manager::Manager;

use crate::postgres::Shop;

/// How an order and its record are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    InTx,
    /// The record in a transaction of its own, which is committed after the order's.
    Outside,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) isolation: &'static str,
    pub(crate) orders: u32,
    /// How many clerks are killed once, and how often connections are ended.
    pub(crate) kills: usize,
    pub(crate) ends: usize,
}

pub(crate) const CLERKS: u32 = 8;

const ORDERS: &str =
    "DROP TABLE orders; CREATE TABLE orders (number integer NOT NULL, token bigint NOT NULL)";

/// Orders that were placed more than once, and answers that are not those of the order that is there.
fn faults(shop: &Shop, plan: Plan, answers: &[(u32, i64)]) -> Vec<String> {
    let mut faults = Vec::new();
    let rows = shop.sql("SELECT number, token FROM orders ORDER BY number, token");
    let placed: Vec<(u32, i64)> = rows.lines().filter_map(manager::pair).collect();
    for number in 0..plan.orders {
        let of_it: Vec<_> = placed.iter().filter(|(n, _)| *n == number).collect();
        if of_it.len() != 1 {
            faults.push(format!("order {number} is there {} times", of_it.len()));
        }
    }
    for answer in answers {
        if placed.binary_search(answer).is_err() {
            faults.push(format!("{answer:?} was answered and is not there"));
        }
    }
    faults
}

fn check_in_tx(isolation: &'static str, orders: u32) {
    let plan = Plan {
        mode: Mode::InTx,
        isolation,
        orders,
        kills: 4,
        ends: 6,
    };
    let shop = Shop::new();
    shop.sql(ORDERS);
    let done = Manager::new(&shop, plan).run();
    let faults = faults(&shop, plan, &done.answers);
    assert!(faults.is_empty(), "{isolation}: {faults:?}");
    assert_eq!(done.killed, plan.kills);
    assert!(done.ended > 0);
    assert!(
        done.answers.len() > orders as usize + orders as usize / 10,
        "{}",
        done.answers.len()
    );
}

#[test]
fn read_committed_places_each_order_once() {
    check_in_tx("read committed", 2000);
}

#[test]
fn repeatable_read_places_each_order_once() {
    check_in_tx("repeatable read", 500);
}

#[test]
fn serializable_places_each_order_once() {
    check_in_tx("serializable", 500);
}

#[test]
fn with_the_record_outside_orders_are_placed_twice() {
    let plan = Plan {
        mode: Mode::Outside,
        isolation: "read committed",
        orders: 500,
        kills: 8,
        ends: 12,
    };
    let shop = Shop::new();
    shop.sql(ORDERS);
    let done = Manager::new(&shop, plan).run();
    let faults = faults(&shop, plan, &done.answers);
    assert!(
        !faults.is_empty(),
        "nothing was hit: {} killed, {} ended",
        done.killed,
        done.ended
    );
}
