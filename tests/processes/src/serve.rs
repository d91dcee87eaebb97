//! The same operation behind HTTP.

use std::{io, net::Ipv4Addr, time::Duration};

use axum::{Router, extract::Path, http::StatusCode, routing::post};
use tokio::net::TcpListener;

use crate::{body::End, functions, say};

/// Longer than the client's patience.
const BODY: Duration = Duration::from_millis(400);

/// Serves `POST /charge/KEY` on a free port, and says `listening PORT`.
pub async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say(&format!("listening {}", listener.local_addr()?.port()));
    axum::serve(listener, Router::new().route("/charge/{key}", post(charge))).await
}

async fn charge(Path(key): Path<String>) -> (StatusCode, String) {
    match functions::rerun(
        key,
        format!("process-{}", std::process::id()),
        End::After(BODY),
    )
    .await
    {
        Ok(receipt) => (StatusCode::CREATED, receipt),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
