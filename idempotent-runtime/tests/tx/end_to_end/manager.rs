//! Starts the clerks, kills some of them, ends connections, and collects what was answered.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::Child,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{CLERKS, Plan, clerk};
use crate::postgres::{SERVER, Shop};

pub(super) struct Manager<'a> {
    shop: &'a Shop,
    plan: Plan,
    answers: Mutex<Vec<(u32, i64)>>,
    killed: AtomicUsize,
    ended: AtomicUsize,
}

/// What was done, and answered.
pub(super) struct Done {
    pub(super) answers: Vec<(u32, i64)>,
    /// Clerks that were killed at work.
    pub(super) killed: usize,
    /// Connections that were ended.
    pub(super) ended: usize,
}

impl<'a> Manager<'a> {
    pub(super) fn new(shop: &'a Shop, plan: Plan) -> Self {
        Self {
            shop,
            plan,
            answers: Mutex::default(),
            killed: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        }
    }

    pub(super) fn run(self) -> Done {
        thread::scope(|scope| {
            for number in 0..CLERKS {
                let manager = &self;
                scope.spawn(move || manager.employ(number));
            }
        });
        Done {
            answers: self.answers.into_inner().expect("no panic"),
            killed: self.killed.into_inner(),
            ended: self.ended.into_inner(),
        }
    }

    /// Has one clerk do its work: if it is killed, another does all of it again.
    fn employ(&self, number: u32) {
        let mut dies = (number as usize) < self.plan.kills;
        loop {
            let mut clerk = clerk::start(number, self.shop, self.plan, dies);
            let heard = self.listen(&mut clerk);
            let status = clerk.wait().expect("it has ended");
            if !dies {
                assert!(status.success(), "clerk {number}: {status}\n{heard}");
                return;
            }
            assert_eq!(
                status.signal(),
                Some(9),
                "clerk {number}: {status}\n{heard}"
            );
            self.killed.fetch_add(1, Ordering::Relaxed);
            dies = false;
        }
    }

    /// Reads what the clerk says, to its end. Answers with whatever else it has written.
    fn listen(&self, clerk: &mut Child) -> String {
        let output = BufReader::new(clerk.stdout.take().expect("its output"));
        let own = (self.plan.orders / CLERKS) as usize;
        // All of them together end connections as often as planned.
        let between = own / (self.plan.ends.div_ceil(CLERKS as usize) + 1);
        let (mut seen, mut heard) = (0, String::new());
        for line in output.lines() {
            let line = line.expect("its output");
            let Some(answer) = clerk::said(&line).and_then(pair) else {
                heard += &line;
                heard.push('\n');
                continue;
            };
            self.answers.lock().expect("no panic").push(answer);
            seen += 1;
            if seen % between == between / 2 {
                self.end_connections();
            }
        }
        heard
    }

    fn end_connections(&self) {
        let ended = SERVER.sql(&format!(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
             WHERE application_name = 'clerk of {}' ORDER BY random() LIMIT 5) clerks",
            self.shop.schema
        ));
        let ended = ended.parse::<usize>().expect("a count");
        self.ended.fetch_add(ended, Ordering::Relaxed);
    }
}

/// An order and its token.
pub(super) fn pair(text: &str) -> Option<(u32, i64)> {
    let (order, token) = text.split_once('|')?;
    Some((order.parse().ok()?, token.parse().ok()?))
}
