//! Records in a table of Amazon DynamoDB, by three requests of its JSON protocol.
//!
//! The table has one key, `k` (a string). A row has the record (`r`), a version (`v`), and the
//! second from which DynamoDB may delete it (`ttl`; `UpdateTimeToLive` turns that on).
//!
//! **Requests are not signed.** moto, the server that the tests use, does not check signatures;
//! DynamoDB does. To use this there, sign each request in [`DynamoTable::call`] with AWS Signature
//! Version 4 and use TLS, or send the same bodies by the AWS SDK with its retries turned off.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use idempotent_fn::{
    StoreError,
    StoreErrorKind::{Ambiguous, Config, NotSent, Refused, TooLarge},
    key::Key,
    record::Nonce,
    store::{
        Cursor,
        cas::{CasTable, Loaded, Put, Row, Scanned, Swapped, Time},
    },
};
use serde_json::{Value, json};

/// A row has 400 KB at most, with its key and the names of its attributes: give this to
/// [`SharedStore::with_max_result`](idempotent_fn::SharedStore::with_max_result).
pub const MAX_RESULT: usize = 300_000;

/// A table of DynamoDB.
#[derive(Clone)]
pub struct DynamoTable {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoint: String,
    table: String,
    /// How far the clocks of the machines that use the table may be apart: DynamoDB tells no time.
    clocks: Duration,
}

impl DynamoTable {
    pub fn new(endpoint: &str, table: &str, clocks: Duration) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            endpoint: endpoint.to_owned(),
            table: table.to_owned(),
            clocks,
        }
    }

    /// One request. `None`: its condition did not hold.
    pub async fn call(&self, action: &str, mut body: Value) -> Result<Option<Value>, StoreError> {
        body["TableName"] = json!(self.table);
        let request = Request::post(&self.endpoint)
            .header("x-amz-target", format!("DynamoDB_20120810.{action}"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", UNSIGNED)
            .body(Full::from(body.to_string()))
            .map_err(|error| StoreError::new(Config, "no such address").with_source(error))?;
        let response = self.client.request(request).await.map_err(|error| {
            let kind = if error.is_connect() {
                NotSent
            } else {
                Ambiguous
            };
            StoreError::new(kind, "DynamoDB cannot be reached").with_source(error)
        })?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| {
            StoreError::new(Ambiguous, "DynamoDB's answer broke off").with_source(error)
        })?;
        let answer: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        match status {
            StatusCode::OK if answer.is_object() => Ok(Some(answer)),
            StatusCode::BAD_REQUEST => refused(&answer),
            // A 500 or 503 does not say whether the row was written.
            _ => Err(StoreError::new(Ambiguous, "DynamoDB gave no answer of use")),
        }
    }
}

/// Where the signature belongs.
const UNSIGNED: &str = "AWS4-HMAC-SHA256 Credential=none/20260101/us-east-1/dynamodb/aws4_request";

/// What an answer 400 means: nothing was written.
fn refused(answer: &Value) -> Result<Option<Value>, StoreError> {
    let name = answer["__type"].as_str().unwrap_or_default();
    let message = answer["message"].as_str().unwrap_or_default();
    match name.rsplit('#').next().unwrap_or_default() {
        "ConditionalCheckFailedException" => Ok(None),
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded" => {
            Err(StoreError::new(Refused, "DynamoDB throttles the table").transient())
        }
        "ValidationException" if message.contains("Item size") => {
            Err(StoreError::new(TooLarge, "DynamoDB takes 400 KB for a row"))
        }
        other => Err(StoreError::new(Config, format!("DynamoDB answers {other}"))),
    }
}

/// The record of an item. What is none is an empty one: nobody's, and left alone.
fn record(item: &Value) -> Vec<u8> {
    let text = item["r"]["B"].as_str().unwrap_or_default();
    STANDARD.decode(text).unwrap_or_default()
}

impl CasTable for DynamoTable {
    type Version = String;

    async fn load(&self, key: &Key) -> Result<Loaded<String>, StoreError> {
        let body = json!({ "Key": { "k": { "S": key.as_str() } }, "ConsistentRead": true });
        let answer = self.call("GetItem", body).await?.unwrap_or_default();
        let row = answer.get("Item").map(|item| {
            let version = item["v"]["S"].as_str().unwrap_or_default();
            Row::new(record(item), version.to_owned())
        });
        Ok(Loaded::new(row, Time::of_this_machine(self.clocks)))
    }

    async fn swap(
        &self,
        key: &Key,
        expected: Option<&String>,
        put: &Put,
    ) -> Result<Swapped, StoreError> {
        let random =
            Nonce::random().map_err(|error| StoreError::new(NotSent, error.to_string()))?;
        let mut body = json!({ "Item": {
            "k": { "S": key.as_str() },
            "r": { "B": STANDARD.encode(&put.value) },
            "v": { "S": format!("{:032x}", u128::from_be_bytes(*random.as_bytes())) },
            "ttl": { "N": put.delete_at_secs().to_string() },
        }});
        if let Some(version) = expected {
            body["ConditionExpression"] = json!("v = :v");
            body["ExpressionAttributeValues"] = json!({ ":v": { "S": version } });
        } else {
            body["ConditionExpression"] = json!("attribute_not_exists(k)");
        }
        let written = self.call("PutItem", body).await?;
        Ok(written.map_or(Swapped::Conflict, |_| Swapped::Stored))
    }

    async fn scan(
        &self,
        prefix: &str,
        cursor: Option<&Cursor>,
        page: usize,
    ) -> Result<Scanned, StoreError> {
        let mut body = json!({ "ConsistentRead": true, "Limit": page.max(100) });
        if !prefix.is_empty() {
            body["FilterExpression"] = json!("begins_with(k, :p)");
            body["ExpressionAttributeValues"] = json!({ ":p": { "S": prefix } });
        }
        if let Some(cursor) = cursor {
            body["ExclusiveStartKey"] = json!({ "k": { "S": cursor.as_str() } });
        }
        let answer = self.call("Scan", body).await?.unwrap_or_default();
        let key = |item: &Value| item["k"]["S"].as_str().unwrap_or_default().to_owned();
        let items = answer["Items"].as_array().into_iter().flatten();
        let rows = items.map(|item| (key(item), record(item))).collect();
        let next = answer
            .get("LastEvaluatedKey")
            .map(|last| Cursor::new(key(last)));
        Ok(Scanned::new(rows, next, Time::of_this_machine(self.clocks)))
    }
}
