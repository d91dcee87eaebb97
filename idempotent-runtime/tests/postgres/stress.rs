//! Four processes on one table: see `common/stress.rs`.

use crate::{
    common::{Place, named},
    process, promises,
};

pub(crate) async fn work(place: &str) {
    promises::work(named(place)).await;
}

#[test]
fn four_processes_on_few_keys_keep_the_promises() {
    let place = Place::new();
    promises::processes_keep_the_promises(|| process::start("stress", place.name()));
}
