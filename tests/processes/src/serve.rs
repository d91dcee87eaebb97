//! The same operation behind HTTP, by hand and behind the layer.

use std::{io, net::Ipv4Addr, time::Duration};

use axum::{Extension, Router, extract::Path, http::StatusCode, routing::post};
use idempotent_fn::{
    Error, OnCrash,
    http::{IdempotencyKey, IdempotencyLayer},
};
use tokio::net::TcpListener;

use crate::{
    body::{self, End},
    functions, say, setting,
};

/// Longer than the client's patience.
const BODY: Duration = Duration::from_millis(400);

/// Serves `POST /charge/KEY`, and behind the layer `POST /rerun` and `POST /fail`, on a free port.
/// Says `listening PORT`.
pub async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say(&format!("listening {}", listener.local_addr()?.port()));
    let layer = IdempotencyLayer::shared("processes.pay")
        .lease(setting("LEASE", Duration::from_secs(60)))
        .wait(setting("WAIT", Duration::from_secs(50)));
    let app = Router::new()
        .route("/charge/{key}", post(charge))
        .route("/rerun", post(pay).route_layer(layer.clone()))
        .route(
            "/fail",
            post(pay).route_layer(layer.on_crash(OnCrash::Fail)),
        );
    axum::serve(listener, app).await
}

fn process() -> String {
    format!("process-{}", std::process::id())
}

fn end() -> End {
    End::After(setting("BODY", BODY))
}

async fn charge(Path(key): Path<String>) -> (StatusCode, String) {
    match functions::rerun(key, process(), end()).await {
        Ok(receipt) => (StatusCode::CREATED, receipt),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

async fn pay(Extension(key): Extension<IdempotencyKey>) -> Result<(StatusCode, String), Error> {
    let receipt = body::run(key.shared(), process(), end()).await?;
    Ok((StatusCode::CREATED, receipt))
}
