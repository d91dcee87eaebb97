//! A cluster of one node and of three: the same commands, spread over the nodes.
//!
//! All nodes share the one core that the servers have here, so the measured rate cannot grow with
//! their number. What is measured is what a call costs each node. From that, the rate is computed
//! that the busiest node would allow if each node had a core of its own.

use idempotent_fn::SharedStore;
use idempotent_test_support::{RedisCluster, RedisServer};
use tokio::runtime::Runtime;

use super::{
    Pace,
    load::{KINDS, Reading, calls, connected, options, prepare, runtime, watched},
    series::{Line, Panel, Series, Unit, measured, rounds},
};
use crate::cores::Apart;

const POINTS: [&str; 3] = ["1, no cluster", "1", "3"];
const TASKS: usize = 256;

struct Place<'a> {
    servers: Vec<&'a RedisServer>,
    store: &'static SharedStore,
}

pub fn measure(pace: Pace) -> Series {
    let server = RedisServer::start();
    let clusters = [1, 3].map(RedisCluster::with_masters);
    let mut servers = vec![&server];
    servers.extend(clusters.iter().flat_map(RedisCluster::nodes));
    let _apart = Apart::from(&servers);
    let runtime = runtime();
    let mut places = vec![Place {
        servers: vec![&server],
        store: connected(&runtime, &server),
    }];
    places.extend(clusters.iter().map(|cluster| Place {
        servers: cluster.nodes().iter().collect(),
        store: connected_to_all(&runtime, cluster),
    }));
    for place in &places {
        prepare(&runtime, place.store, TASKS);
    }
    let readings = rounds(pace.rounds, KINDS.len(), POINTS.len(), |line, point| {
        let Place { servers, store } = &places[point];
        let (kind, _) = KINDS[line];
        watched(servers, || calls(&runtime, store, kind, TASKS, pace.window))
    });
    let mut lines = measured(&KINDS.map(|(_, name)| name));
    lines.extend(KINDS.map(|(_, name)| Line {
        name: format!("{name}, a core for each node"),
        computed: true,
    }));
    Series {
        id: "growth-cluster",
        title: "Nodes of a cluster that share one core, 256 tasks on one connection".to_owned(),
        along: "nodes",
        points: POINTS.map(str::to_owned).to_vec(),
        lines,
        panels: panels(&readings),
    }
}

fn panels(readings: &[Vec<Vec<Reading>>]) -> Vec<Panel> {
    let mut panels = Panel::on_redis(readings);
    let allowed = Panel::of("", Unit::CallsPerSecond, readings, |reading| {
        Some(reading.calls as f64 / reading.busiest)
    });
    panels[0].values.extend(allowed.values);
    for panel in &mut panels[1..] {
        panel
            .values
            .resize(2 * KINDS.len(), vec![None; POINTS.len()]);
    }
    panels
}

fn connected_to_all(runtime: &Runtime, cluster: &RedisCluster) -> &'static SharedStore {
    let store = options().open_cluster(cluster.urls()).expect("valid URLs");
    runtime.block_on(store.check()).expect("a fit cluster");
    Box::leak(Box::new(store.into()))
}
