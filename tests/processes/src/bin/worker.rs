//! A process of a service under test: `worker calls|serve STORE…`.

use idempotent_fn::install;
use idempotent_processes::{calls, say, serve, store};
use tokio::runtime::Builder;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (job, place) = arguments.split_first().expect("a job and a store");
    // A body may block one of the threads: the others go on.
    let runtime = Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .expect("a runtime");
    let store = store(place).expect("the store's arguments are right");
    install(store.clone()).expect("nothing is installed yet");
    say("ready");
    match &**job {
        "calls" => calls::obey(runtime.handle(), &store),
        "serve" => runtime.block_on(serve::serve()).expect("it can listen"),
        other => panic!("no such job: {other}"),
    }
}
