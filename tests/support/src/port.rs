//! Ports that no other test uses, in this process or another.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// A TCP port kept for one server, also while that server is down between a kill and a restart.
///
/// The reservation is the UDP socket of the same number: only one process can hold it, none of the
/// servers here uses UDP, and the system gives it back however its owner ends.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _reservation: UdpSocket,
}

// Below the ports that Linux, macOS and Windows hand out for outgoing connections.
const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;
const TRIES: u64 = 1_000;

impl Port {
    pub(crate) fn reserve() -> Self {
        let random = RandomState::new();
        for attempt in 0..TRIES {
            let offset = random.hash_one(attempt) % u64::from(COUNT);
            let number = FIRST + u16::try_from(offset).expect("COUNT is a u16");
            let Ok(reservation) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else {
                continue;
            };
            // A server that knows nothing of reservations may listen here.
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self {
                    number,
                    _reservation: reservation,
                };
            }
        }
        panic!("no free port among {TRIES} tried from {FIRST} on");
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
